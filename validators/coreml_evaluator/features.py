"""The model's interface: inputs, outputs and states, and how arrays that a caller gives are checked against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import DataError
from edgekit.validators.coreml_evaluator.number_formats import BY_NAME

KINDS = {"f": "floating-point", "i": "integer", "u": "integer", "b": "boolean"}
"""NumPy's kinds of numbers, for messages."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One input, output or state.

    Attributes:
        name: Its name.
        shape: Size of each dimension, None where it may vary.
        dtype: Element type (`fp16`, `fp32`, `int32`; `string` or `int64` for a class label).
        kind: `tensor`, `image` (also given as an array, in the shape here), `state`, `label` or `probabilities`.
        default: What fills an optional input that is not given; None where it is required.
        colour: Order of an image's channels: `RGB`, `BGR`, `GRAY` (8 bits each) or `GRAY16` (16-bit float); "" for what
            is no image.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    kind: str = "tensor"
    default: float | None = None
    colour: str = ""

    @property
    def shape_text(self) -> str:
        """The shape for a person: `[1, 3, ?, ?]`."""
        return "[" + ", ".join("?" if size is None else str(size) for size in self.shape) + "]"


def checked_inputs(features: tuple[Feature, ...], given: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Returns the arrays that a caller gave, in the declared types, optional ones filled in.

    Numbers of the same kind are converted (float64 to fp32, int64 to int32), since data sets hold those.

    Raises:
        DataError: An input is missing, unknown, or of another shape or kind than declared.
    """
    names = [feature.name for feature in features]
    unknown = [name for name in given if name not in names]
    if unknown:
        raise DataError(f"The model has no input {_quoted(unknown)}. Its inputs are {_quoted(names)}.")
    missing = [feature.name for feature in features if feature.name not in given and feature.default is None]
    if missing:
        raise DataError(f"The input {_quoted(missing)} is missing. The model's inputs are {_quoted(names)}.")
    return {feature.name: _checked(feature, given.get(feature.name)) for feature in features}


def _checked(feature: Feature, array: NDArray[Any] | None) -> NDArray[Any]:
    dtype = np.dtype(BY_NAME[feature.dtype].numpy_name)
    if array is None:
        sizes = tuple(1 if size is None else size for size in feature.shape)
        return np.full(sizes, feature.default, dtype)
    array = np.asarray(array)
    if feature.shape == () and array.shape == (1,):  # Core ML hands a scalar over as one element
        array = array.reshape(())
    fits = len(array.shape) == len(feature.shape) and all(
        want is None or want == have for want, have in zip(feature.shape, array.shape, strict=False)
    )
    if not fits:
        raise DataError(
            f'Input "{feature.name}" got an array of shape {list(array.shape)}; the model takes {feature.shape_text}.'
        )
    if KINDS.get(array.dtype.kind) != KINDS[dtype.kind]:
        raise DataError(
            f'Input "{feature.name}" got an array of {array.dtype}; the model takes {feature.dtype} '
            f"({KINDS[dtype.kind]}). Convert it before."
        )
    converted = array.astype(dtype)
    if dtype.kind in "iu" and not np.array_equal(converted, array):
        raise DataError(
            f'Input "{feature.name}" holds {_first_misfit(converted, array)}, which {feature.dtype} cannot hold. '
            "Give values in range."
        )
    return converted


def _first_misfit(converted: NDArray[Any], array: NDArray[Any]) -> int:
    return int(array[converted != array].reshape(-1)[0])


def _quoted(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names) or "none"
