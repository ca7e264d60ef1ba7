from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgekit.errors import DataError, UsageError
from edgekit.in_memory.image_input import with_image_input
from edgekit.model import CapturedModel, State, TensorSpec
from edgekit.samples import Samples, SampleWriter
from edgekit.task.image_input import (
    IMAGE_INPUT_KEY,
    ImageInput,
    as_pixels,
    embedded_image_input,
    requested_image_input,
    snapped,
)
from edgekit.task.task import ImagePreprocessing, Task

FIRST = TensorSpec(name="x", shape=(1, 3, 4, 6), dtype="float32", layout="NCHW")
LAST = TensorSpec(name="x", shape=(1, 4, 6, 3), dtype="float32", layout="NHWC")
GREY = TensorSpec(name="x", shape=(1, 4, 6, 1), dtype="float32", layout="NHWC")
IMAGENET = ImagePreprocessing(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))


def pixels(channels: int = 3, count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 4, 6, channels), np.uint8)


@pytest.mark.parametrize(
    ("spec", "steps"),
    [
        (FIRST, IMAGENET),
        (LAST, IMAGENET),
        (FIRST, replace(IMAGENET, color="bgr")),
        (LAST, ImagePreprocessing()),
        (GREY, ImagePreprocessing(mean=(127.0,), std=(128.0,), color="bgr")),
    ],
    ids=["channels first", "channels last", "bgr", "0 to 1", "grey"],
)
def test_pixels_come_back_from_what_the_preprocessing_made_of_them(spec: TensorSpec, steps: ImagePreprocessing) -> None:
    image = ImageInput(spec=spec, steps=steps)
    given = pixels(image.channels)
    values = image.values(given)
    assert values.shape[1:] == spec.shape[1:]
    assert np.array_equal(image.pixels(values), given)
    assert np.array_equal(image.pixels(values, "NCHW"), given.transpose(0, 3, 1, 2))


def test_bgr_values_begin_with_blue() -> None:
    image = ImageInput(spec=FIRST, steps=ImagePreprocessing(color="bgr", mean=(0.0,), std=(1.0,)))
    given = pixels()
    assert np.array_equal(image.values(given)[:, 0], given[..., 2])


def test_values_that_no_pixels_became_are_refused() -> None:
    image = ImageInput(spec=FIRST, steps=ImagePreprocessing())
    wrong = np.full((1, 3, 4, 6), 2.0, np.float32)
    message = (
        'The data of the input "x" is not what the preprocessing makes of pixels: its values stand for pixels from '
        "510.0 to 510.0, and pixels go from 0 to 255. Correct mean and std in [data.preprocessing] (they are in units "
        "of pixels), or export without --image-input."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        image.pixels(wrong)


def test_an_artifact_says_what_it_takes_and_others_say_nothing() -> None:
    image = ImageInput(spec=FIRST, steps=replace(IMAGENET, resize=256))
    assert embedded_image_input({IMAGE_INPUT_KEY: image.to_text()}) == image
    assert embedded_image_input({}) is None
    for odd in ("{", "[]", '{"input": {}}', json.dumps({"input": 3, "preprocessing": None})):
        assert embedded_image_input({IMAGE_INPUT_KEY: odd}) is None


def test_an_artifact_says_how_its_outputs_are_read() -> None:
    head = (("decoder", "retinanet"), ("rows_first", True))
    image = ImageInput(spec=FIRST, steps=IMAGENET, task="detection", head=head)
    assert embedded_image_input({IMAGE_INPUT_KEY: image.to_text()}) == image
    odd = json.dumps({**json.loads(image.to_text()), "head": {"decoder": ["yolov8"]}})
    assert embedded_image_input({IMAGE_INPUT_KEY: odd}) is None
    classifier = ImageInput(spec=FIRST, steps=IMAGENET, task="classification")
    assert "task" not in json.loads(classifier.to_text())


def written(folder: Path, values: np.ndarray) -> Samples:
    with SampleWriter(folder, ["x", "scale"]) as writer:
        for i, row in enumerate(values):
            # Two rows are one item.
            writer.add((row[None], np.float32([[i]])), item=i // 2)
        for item in range(len(values) // 2):
            writer.add_item(item, f"slice {item}")
    return Samples.open(folder)


def test_samples_become_pixels_with_their_items_targets_and_slices(tmp_path: Path) -> None:
    image = ImageInput(spec=FIRST, steps=IMAGENET)
    given = pixels(count=4)
    made = as_pixels(written(tmp_path / "a", image.values(given)), image, "NHWC", tmp_path / "b")
    assert np.array_equal(made.arrays()[0], given)
    assert made.item_of_row().tolist() == [0, 0, 1, 1]
    assert made.targets().tolist() == [0, 1]
    assert made.slices() == ("slice 0", "slice 1")
    assert as_pixels(made, image, "NHWC", tmp_path / "c") is made


def test_snapped_samples_are_whole_pixels(tmp_path: Path) -> None:
    image = ImageInput(spec=FIRST, steps=ImagePreprocessing(std=(1.0,)))
    uneven = np.random.default_rng(1).uniform(0, 255, (2, 3, 4, 6)).astype(np.float32)
    made = snapped(written(tmp_path / "a", uneven), image, tmp_path / "b")
    assert np.array_equal(made.arrays()[0], np.rint(uneven))


def captured(*inputs: TensorSpec, **changes) -> CapturedModel:
    made = CapturedModel(
        name="net", source="m.py:build", source_kind="torch", kind="pt2", path=Path("net.pt2"), inputs=inputs,
        outputs=(), digest="", parameters=0, macs=0, family="cnn", metadata={"labels": "cat\ndog"},
    )  # fmt: skip
    return replace(made, **changes)


def task(**changes) -> Task:
    stated = {"preprocessing": IMAGENET, "preprocessing_stated": True, "image_input": True, "image_input_stated": True}
    return Task(model="m.py:build", base=Path(), **{**stated, **changes})


def test_the_requested_input_has_the_tasks_steps_and_the_labels() -> None:
    found = requested_image_input(task(), captured(FIRST))
    assert found == ImageInput(spec=FIRST, steps=IMAGENET, labels=("cat", "dog"))
    assert requested_image_input(task(metadata={"labels": "a\nb"}), captured(FIRST)).labels == ("a", "b")
    assert requested_image_input(task(image_input=False), captured(FIRST)) is None


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (captured(TensorSpec(name="ids", shape=(1, 8), dtype="int64")), "ids (1, 8) int64"),
        (captured(FIRST, LAST), "x (1, 3, 4, 6) float32, x (1, 4, 6, 3) float32"),
        (captured(FIRST, states=(State(input="h", output="g"),)), "x (1, 3, 4, 6) float32, and keeps 1 states"),
    ],
    ids=["tokens", "two pictures", "states"],
)
def test_a_model_that_takes_no_picture_is_refused_where_it_was_requested(model: CapturedModel, found: str) -> None:
    message = (
        f"m.py:build takes {found}. An image input needs a model without states and with one float32 picture of 1 or 3 "
        "channels and a fixed size, NCHW or NHWC, among its inputs: export without --image-input."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        requested_image_input(task(), model)
    assert requested_image_input(task(image_input_stated=False), model) is None


def test_without_preprocessing_there_is_no_image_input() -> None:
    message = (
        'Nothing says how pixels become the input "x" of m.py:build. Add [data.preprocessing] with mean and std to the '
        "task file, or export without --image-input."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        requested_image_input(task(preprocessing_stated=False), captured(FIRST))


def test_the_python_keyword_is_a_word_or_the_preprocessing() -> None:
    start = task(preprocessing=ImagePreprocessing(), preprocessing_stated=False, image_input=False)
    assert with_image_input(start, None) is start
    assert with_image_input(start, True).image_input
    made = with_image_input(start, {"mean": (1.0, 2.0, 3.0), "std": 4, "color": "bgr"})
    assert made.preprocessing == ImagePreprocessing(mean=(1.0, 2.0, 3.0), std=(4.0,), color="bgr")
    assert (made.preprocessing_stated, made.image_input, made.image_input_stated) == (True, True, True)


def test_a_wrong_preprocessing_of_the_keyword_is_reported() -> None:
    with pytest.raises(UsageError, match=r"^image_input has 1 fault:\n") as caught:
        with_image_input(task(), {"std": 0})
    advice = "It takes what [data.preprocessing] of a task file does: resize, letterbox, mean, std, color."
    assert caught.value.message.endswith(advice)
