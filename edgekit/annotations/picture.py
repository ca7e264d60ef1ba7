"""One annotated picture, in pixels of the picture as it lies in its file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Polygons = tuple["NDArray[np.float64]", ...]
"""Outlines (points, 2) x, y whose union is one instance."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One object of a picture.

    Attributes:
        box: x1, y1, x2, y2.
        category: Class number of the model, from 0.
        crowd: It stands for a group, in which any number of detections may lie.
        outline: Its shape; () for a box alone.
        runs: Its shape as COCO's runs, {"size": [h, w], "counts": ...}; None where it has an outline or a box alone.
        points: x, y, visible of each point (points, 3); None without.
    """

    box: tuple[float, float, float, float]
    category: int
    crowd: bool = False
    outline: Polygons = ()
    runs: dict[str, Any] | None = None
    points: NDArray[np.float64] | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotatedPicture:
    """A picture with its objects.

    Attributes:
        file: Where the picture lies.
        instances: Its objects; boxes that are shares of the sides, where `shares` is set.
        mask: A PNG whose pixels are class numbers; None without.
        shares: Coordinates are shares of the picture's sides, 0 to 1.
    """

    file: Path
    instances: tuple[Instance, ...] = ()
    mask: Path | None = None
    shares: bool = False
