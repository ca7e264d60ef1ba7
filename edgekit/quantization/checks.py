"""Calibration samples are checked before anything is converted: one message that says what is wrong with the data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgekit.errors import DataError
from edgekit.model import TensorSpec
from edgekit.samples import Samples, is_whole, row_shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ADVICE: Final = "Check the preprocessing of [data] calibration in edgekit.toml."


def check_calibration(folder: Path, inputs: Sequence[TensorSpec]) -> Samples:
    """Returns the opened calibration samples, after checking every row against the model's inputs.

    Args:
        folder: Calibration sample folder.
        inputs: Inputs of the captured model, batch 1.

    Raises:
        DataError: no rows; another number of tensors, shape or dtype than the model takes; and of a float input: NaN or
            infinite values, more than half of the samples zero everywhere, or all values equal.
    """
    samples = Samples.open(folder)
    if samples.count == 0:
        raise DataError(
            "The calibration data has no samples; expected at least 1, better 100. "
            "Check that [data] calibration in edgekit.toml yields input tuples."
        )
    arrays = samples.arrays()
    if len(arrays) != len(inputs):
        raise DataError(
            f"The calibration data has {_count(len(arrays), 'tensor')} a sample; the model takes "
            f"{_count(len(inputs), 'input')} ({', '.join(spec.name for spec in inputs)}). "
            "Yield one tuple with one array for each input, in the model's order."
        )
    for spec, array in zip(inputs, arrays, strict=True):
        _check_form(spec, array)
        if array.dtype.kind == "f":
            _check_values(spec, array)
    return samples


def _check_form(spec: TensorSpec, array: NDArray[Any]) -> None:
    wanted = row_shape(spec.shape)
    if tuple(array.shape[1:]) != wanted:
        batch = "" if is_whole(spec.shape) else " without the batch"
        raise DataError(
            f'Calibration samples of "{spec.name}" have the shape {_shape(array.shape[1:])}{batch}; the '
            f"model takes {_shape(wanted)}. {_ADVICE}"
        )
    if array.dtype.name != spec.dtype:
        raise DataError(
            f'Calibration samples of "{spec.name}" are {array.dtype.name}; the model takes {spec.dtype}. {_ADVICE}'
        )


def _check_values(spec: TensorSpec, array: NDArray[Any]) -> None:
    """Reads the rows one by one: the array is a memory map that may be larger than memory."""
    import numpy as np

    lowest, highest = np.inf, -np.inf
    zero_rows: list[int] = []
    for i, row in enumerate(array):
        low, high = float(row.min()), float(row.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            what = "NaN" if np.isnan(row).any() else "infinite values"
            raise DataError(f'Calibration sample {i} of "{spec.name}" has {what}; expected finite numbers. {_ADVICE}')
        if low == high == 0.0:
            zero_rows.append(i)
        lowest, highest = min(lowest, low), max(highest, high)
    if lowest == highest == 0.0:
        raise DataError(
            f'All values of "{spec.name}" are 0 in {_count(len(array), "calibration sample")}: no range can be '
            f"found from them. {_ADVICE}"
        )
    if lowest == highest:
        raise DataError(
            f'All values of "{spec.name}" in the calibration data are {lowest:g}: no range can be found from a '
            f"constant. {_ADVICE}"
        )
    if zero_rows and len(zero_rows) * 2 > len(array):
        raise DataError(
            f'{len(zero_rows)} of {len(array)} calibration samples of "{spec.name}" are zero everywhere (the first is '
            f"sample {zero_rows[0]}): ranges from them would be wrong. {_ADVICE}"
        )


def _shape(shape: Sequence[int]) -> str:
    return "(" + ", ".join(str(n) for n in shape) + ("," if len(shape) == 1 else "") + ")"


def _count(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"
