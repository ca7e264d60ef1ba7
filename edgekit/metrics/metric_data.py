"""What a metric looks at: two models' outputs on the same items, and the targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from edgekit.intervals import CONFIDENCE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MetricData:
    """What a metric looks at. Arrays (rows, ...), one an output.

    Attributes:
        outputs: The artifact's outputs.
        reference: The float model's; None without one.
        names: Names of the outputs.
        targets: One an item, (items, ...); None without targets.
        item_of_row: Item of each row, (rows,).
        items: Number of items.
        input_shapes: One shape (1, ...) a model input: a decoder needs the size of the picture.
        confidence: Confidence of the interval.
    """

    outputs: tuple[NDArray[Any], ...]
    reference: tuple[NDArray[Any], ...] | None
    names: tuple[str, ...]
    targets: NDArray[Any] | None
    item_of_row: NDArray[np.int64]
    items: int
    input_shapes: tuple[tuple[int, ...], ...] = ()
    confidence: float = CONFIDENCE
