from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekit.model import TensorSpec
from edgekit.pipeline.lint import Finding, describe_inputs, lint, spread
from edgekit.samples import Samples, write_samples

IMAGE = TensorSpec(name="image", shape=(1, 3, 4, 4), dtype="float32", layout="NCHW")
WRITE = Callable[[np.ndarray], Samples]


@pytest.fixture
def write(tmp_path: Path) -> WRITE:
    numbers = itertools.count()
    return lambda array: write_samples(
        tmp_path / str(next(numbers)), ["image"], [(array[i : i + 1],) for i in range(len(array))]
    )


def images(count: int, seed: int, *, means: tuple[float, ...] = (0.5, 0.45, 0.4)) -> np.ndarray:
    generator = np.random.default_rng(seed)
    noise = 0.2 * generator.standard_normal((count, 3, 4, 4))
    return (noise + np.asarray(means)[:, None, None]).astype(np.float32)


def only(found: tuple[Finding, ...]) -> Finding:
    (finding,) = found
    return finding


def test_good_data_gives_no_finding(write: WRITE) -> None:
    assert lint(write(images(100, 0)), write(images(300, 1)), [IMAGE]) == ()


@pytest.mark.parametrize(("count", "reported"), [(100, False), (99, True)], ids=["on", "below"])
def test_few_samples_are_reported(write: WRITE, count: int, reported: bool) -> None:
    found = lint(write(images(count, 0)), write(images(300, 1)), [IMAGE])
    assert bool(found) == reported
    if reported:
        assert only(found).message == (
            "The calibration data has 99 samples; 100 to 500 are usual. Ranges from few samples miss what the device "
            "will see."
        )


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda x: x * 255, id="pixels that were not scaled"),
        pytest.param(lambda x: (x - 0.45) / 0.2, id="normalized once more"),
        pytest.param(lambda x: x - 0.5, id="a mean that was not subtracted"),
    ],
)
def test_another_scaling_than_the_evaluations_is_reported(
    write: WRITE, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    found = only(lint(write(change(images(100, 0)).astype(np.float32)), write(images(300, 1)), [IMAGE]))
    assert found.rule == "range"
    assert found.message.endswith("One of the two was not scaled or normalized as the other: check the preprocessing.")


def test_the_message_about_the_range_has_both_sets_figures(write: WRITE) -> None:
    ours, theirs = np.zeros((100, 3, 4, 4), np.float32), np.zeros((100, 3, 4, 4), np.float32)
    for i in range(100):
        ours[i], theirs[i] = 2.55 * i, (i + 0.5) / 100
    found = only(lint(write(ours), write(theirs), [IMAGE]))
    assert found.message == (
        "Input \"image\": the calibration's values are 0 to 252.4 (mean 126.2, deviation 73.6), the evaluation's 0.005 "
        "to 0.995 (mean 0.5, deviation 0.289). One of the two was not scaled or normalized as the other: check the "
        "preprocessing."
    )


def test_values_beyond_the_calibrations_range_are_reported(write: WRITE) -> None:
    narrow = np.clip(images(100, 0), 0.2, 0.8)
    found = only(lint(write(narrow), write(images(300, 1)), [IMAGE]))
    assert found.rule == "clipping"
    assert found.message.startswith('Input "image": ')
    assert found.message.endswith(
        "% of the evaluation's values lie outside the calibration's range 0.2 to 0.8 and would be clipped. Give "
        "samples that reach as far as what the device will see."
    )


def test_swapped_channels_are_reported(write: WRITE) -> None:
    found = only(lint(write(images(100, 0)[:, ::-1]), write(images(300, 1)), [IMAGE]))
    assert found.rule == "channel_order"
    assert found.message.endswith("one looks like the other in reverse. Check for RGB against BGR.")


def test_grey_images_have_no_channel_order(write: WRITE) -> None:
    grey = (0.5, 0.5, 0.5)
    assert lint(write(images(100, 0, means=grey)), write(images(300, 1, means=grey)), [IMAGE]) == ()


@pytest.mark.parametrize(
    ("channels", "words"),
    [
        pytest.param([1], "channel 1 holds one value only in all 100 calibration samples: nothing is learnt about its "
                     "range.", id="one"),
        pytest.param([0, 2], "channels 0, 2 hold one value only in all 100 calibration samples: nothing is learnt "
                     "about their range.", id="two"),
    ],
)  # fmt: skip
def test_constant_channels_are_reported(write: WRITE, channels: list[int], words: str) -> None:
    array = images(100, 0)
    array[:, channels] = 0.45
    assert lint(write(array), None, [IMAGE]) == (Finding(rule="constant_channel", message=f'Input "image": {words}'),)


def test_copies_are_counted(write: WRITE) -> None:
    array = images(100, 0)
    array[90:] = array[:10]
    assert only(lint(write(array), None, [IMAGE])).message == (
        "10 of 100 calibration samples are copies of others: they add nothing to the ranges. Give different samples."
    )


def test_samples_of_the_evaluation_are_reported(write: WRITE) -> None:
    evaluation = images(300, 1)
    calibration = images(100, 0)
    calibration[:7] = evaluation[100:107]
    assert only(lint(write(calibration), write(evaluation), [IMAGE])).message == (
        "7 of 100 calibration samples are in the evaluation data too: the measured accuracy is flattered. Take them "
        "out of one of the two."
    )


def test_a_class_that_was_never_calibrated_is_reported(write: WRITE) -> None:
    classes = (np.arange(100) % 3, np.arange(300) % 4)
    assert only(lint(write(images(100, 0)), write(images(300, 1)), [IMAGE], classes)).message == (
        "The float model sees class 3 often in the evaluation data and nowhere in the calibration data, where 5 "
        "samples or more of each were to be expected. Calibrate on samples of all classes."
    )


def test_a_rare_class_may_be_missing_by_chance(write: WRITE) -> None:
    seen = np.zeros(300, int)
    seen[:14] = 1  # 4.7 of 100 were to be expected
    assert lint(write(images(100, 0)), write(images(300, 1)), [IMAGE], (np.zeros(100, int), seen)) == ()
    seen[:15] = 1
    assert len(lint(write(images(100, 0)), write(images(300, 1)), [IMAGE], (np.zeros(100, int), seen))) == 1


def test_token_ids_have_no_range(write: WRITE) -> None:
    spec = TensorSpec(name="ids", shape=(1, 8), dtype="int64")
    generator = np.random.default_rng(0)
    ids = generator.integers(0, 1000, (100, 8))
    assert lint(write(ids), write(generator.integers(500, 9000, (100, 8))), [spec]) == ()


def test_the_spread_of_channels_is_that_of_numpy() -> None:
    array = images(70, 3)
    values = spread(array, 1)
    np.testing.assert_allclose(values.means, array.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(values.deviations, array.std((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(values.deviation, array.std(), rtol=1e-5)


def test_reports_tell_the_range_of_both_sets(write: WRITE) -> None:
    (facts,) = describe_inputs(write(np.ones((2, 3, 4, 4), np.float32)), None, [IMAGE])
    assert facts == {
        "name": "image",
        "calibration": {"low": 1.0, "high": 1.0, "mean": 1.0, "deviation": 0.0},
        "evaluation": None,
    }
