from __future__ import annotations

import numpy as np
import pytest

from edgekit.errors import DataError
from edgekit.model import TensorSpec
from edgekit.quantization.checks import check_calibration
from edgekit.samples import SampleWriter, write_samples

IMAGE = TensorSpec(name="image", shape=(1, 2, 2), dtype="float32")
IDS = TensorSpec(name="ids", shape=(1, 3), dtype="int64")
ADVICE = "Check the preprocessing of [data] calibration in edgekit.toml."


def row(*values, dtype=np.float32):
    return (np.array(values, dtype=dtype).reshape(1, 2, 2),)


GOOD = row(0, 1, 2, 3)


def test_good_samples_are_opened(tmp_path):
    write_samples(tmp_path, ["image"], [GOOD, row(1, 1, 1, 1)])
    assert check_calibration(tmp_path, [IMAGE]).count == 2


def test_token_ids_may_be_zero_everywhere(tmp_path):
    write_samples(tmp_path, ["ids"], [(np.zeros((1, 3), np.int64),)])
    assert check_calibration(tmp_path, [IDS]).count == 1


def test_half_of_the_samples_may_be_zero(tmp_path):
    write_samples(tmp_path, ["image"], [GOOD, row(0, 0, 0, 0)])
    assert check_calibration(tmp_path, [IMAGE]).count == 2


def test_an_empty_set_is_refused(tmp_path):
    with SampleWriter(tmp_path, ["image"]):
        pass
    with pytest.raises(DataError) as caught:
        check_calibration(tmp_path, [IMAGE])
    assert caught.value.message == (
        "The calibration data has no samples; expected at least 1, better 100. "
        "Check that [data] calibration in edgekit.toml yields input tuples."
    )


@pytest.mark.parametrize(
    ("rows", "specs", "message"),
    [
        pytest.param(
            [GOOD],
            [IMAGE, IDS],
            "The calibration data has 1 tensor a sample; the model takes 2 inputs (image, ids). "
            "Yield one tuple with one array for each input, in the model's order.",
            id="a tensor too few",
        ),
        pytest.param(
            [GOOD],
            [TensorSpec(name="image", shape=(1, 4), dtype="float32")],
            f'Calibration samples of "image" have the shape (2, 2) without the batch; the model takes (4,). {ADVICE}',
            id="another shape",
        ),
        pytest.param(
            [row(0, 1, 2, 3, dtype=np.uint8)],
            [IMAGE],
            f'Calibration samples of "image" are uint8; the model takes float32. {ADVICE}',
            id="another dtype",
        ),
        pytest.param(
            [GOOD, row(0, np.nan, 1, 2)],
            [IMAGE],
            f'Calibration sample 1 of "image" has NaN; expected finite numbers. {ADVICE}',
            id="NaN",
        ),
        pytest.param(
            [row(0, -np.inf, 1, 2)],
            [IMAGE],
            f'Calibration sample 0 of "image" has infinite values; expected finite numbers. {ADVICE}',
            id="infinite",
        ),
        pytest.param(
            [row(0, 0, 0, 0)] * 2,
            [IMAGE],
            f'All values of "image" are 0 in 2 calibration samples: no range can be found from them. {ADVICE}',
            id="all zeros",
        ),
        pytest.param(
            [row(0, 0, 0, 0)],
            [IMAGE],
            f'All values of "image" are 0 in 1 calibration sample: no range can be found from them. {ADVICE}',
            id="one sample of zeros",
        ),
        pytest.param(
            [row(2.5, 2.5, 2.5, 2.5)] * 2,
            [IMAGE],
            f'All values of "image" in the calibration data are 2.5: no range can be found from a constant. {ADVICE}',
            id="a constant",
        ),
        pytest.param(
            [GOOD, row(0, 0, 0, 0), row(0, 0, 0, 0)],
            [IMAGE],
            '2 of 3 calibration samples of "image" are zero everywhere (the first is sample 1): ranges from them would '
            f"be wrong. {ADVICE}",
            id="mostly zeros",
        ),
    ],
)
def test_bad_samples_are_refused_with_what_came_and_what_was_expected(tmp_path, rows, specs, message):
    write_samples(tmp_path, [spec.name for spec in specs][: len(rows[0])], rows)
    with pytest.raises(DataError) as caught:
        check_calibration(tmp_path, specs)
    assert caught.value.message == message
