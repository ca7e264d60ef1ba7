"""Values of tensors at a few thousand fixed positions, over a few samples: what tensors are recognised by."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, final

import numpy as np

from edgekit.debugging.layouts import Layout, positions, positions_in, possible_layouts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vector = NDArray[np.float64]

_POSITIONS: Final = 2048


@final
class Signatures:
    """The signatures of an artifact's tensors, as tensors of the float graph would have them.

    Args:
        values: The artifact's values by name, for each sample.
    """

    def __init__(self, values: Sequence[Mapping[str, NDArray[np.float32]]]) -> None:
        self._values = values
        self._own: dict[tuple[tuple[int, ...], str, Layout], Vector] = {}
        self._groups: dict[tuple[int, ...], tuple[list[tuple[str, Layout]], NDArray[np.float64]]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {name: array.shape for name, array in values[0].items()}

    def exact(self, shape: tuple[int, ...], samples: Sequence[NDArray[np.float32]]) -> Vector:
        """Returns the signature of a float tensor, given its value for each sample."""
        places = positions(math.prod(shape), _POSITIONS)
        return np.concatenate([value.reshape(-1)[places] for value in samples]).astype(np.float64)

    def own(self, shape: tuple[int, ...], tensor: str, layout: Layout) -> Vector:
        """Returns the signature of an artifact's tensor as a float tensor of `shape` would have it."""
        key = (shape, tensor, layout)
        if key not in self._own:
            places = positions_in(shape, self.shapes[tensor], layout, _POSITIONS)
            parts = [values[tensor].reshape(-1)[places] for values in self._values]
            self._own[key] = np.concatenate(parts).astype(np.float64)
        return self._own[key]

    def agreements(self, shape: tuple[int, ...], exact: Vector) -> list[tuple[str, Layout, float]]:
        """Returns (tensor, layout, correlation with `exact`) of every tensor that can hold a value of `shape`."""
        if shape not in self._groups:
            found_names: list[tuple[str, Layout]] = [
                (name, layout)
                for name, own in self.shapes.items()
                if math.prod(own) == math.prod(shape)
                for layout in possible_layouts(shape, own)
            ]
            directions: NDArray[np.float64] = np.zeros((len(found_names), exact.size))
            for i, (name, layout) in enumerate(found_names):
                directions[i] = _direction(self.own(shape, name, layout))
            self._groups[shape] = (found_names, directions)
        names, directions = self._groups[shape]
        wanted = _direction(exact)
        if not wanted.any():  # a constant has no direction: it is found by its value
            return [(name, layout, correlation(exact, self.own(shape, name, layout))) for name, layout in names]
        found = directions @ wanted
        return [(name, layout, float(found[i])) for i, (name, layout) in enumerate(names)]


def correlation(exact: Vector, own: Vector) -> float:
    """Returns Pearson's correlation; 1 for two equal constants, 0 where one alone is constant or has NaN."""
    left, right = _direction(exact), _direction(own)
    if not left.any() and not right.any():
        return 1.0 if np.allclose(exact, own, rtol=1e-3, atol=1e-6) else 0.0
    return float(left @ right)


def _direction(values: Vector) -> Vector:
    """Returns the values without their mean at length 1; zeros for a constant and for what is not finite."""
    if not np.isfinite(values).all():
        return np.zeros_like(values)
    centred = values - values.mean()
    length = float(np.linalg.norm(centred))
    return centred / length if length > 1e-9 * max(1e-9, float(np.linalg.norm(values))) else np.zeros_like(values)
