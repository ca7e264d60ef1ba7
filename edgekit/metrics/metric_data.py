"""What a metric looks at: two models' outputs on the same items, and the targets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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
        sizes: For each output the rows' own sizes (rows, axes) where they differ, else None: a row then lies in the
            corner of its array, zeros behind it. Empty where no output's do.
        input_sizes: The same for each input.
        confidence: Confidence of the interval.
    """

    outputs: tuple[NDArray[Any], ...]
    reference: tuple[NDArray[Any], ...] | None
    names: tuple[str, ...]
    targets: NDArray[Any] | None
    item_of_row: NDArray[np.int64]
    items: int
    input_shapes: tuple[tuple[int, ...], ...] = ()
    sizes: tuple[NDArray[np.int64] | None, ...] = ()
    input_sizes: tuple[NDArray[np.int64] | None, ...] = ()
    confidence: float = CONFIDENCE

    def differing(self, places: Sequence[int]) -> str:
        """Returns the name of the first of these outputs whose rows differ in size, "" where none's do."""
        found = [place for place in places if place < len(self.sizes) and self.sizes[place] is not None]
        return self.names[found[0]] if found else ""

    def of_rows(self, rows: NDArray[np.int64], items: NDArray[np.int64]) -> MetricData:
        """Returns the data of some rows and their items only, numbered anew."""
        import numpy as np

        return replace(
            self,
            outputs=tuple(array[rows] for array in self.outputs),
            reference=tuple(array[rows] for array in self.reference) if self.reference is not None else None,
            targets=self.targets[items] if self.targets is not None else None,
            item_of_row=np.searchsorted(items, self.item_of_row[rows]),
            items=len(items),
            sizes=tuple(None if sizes is None else sizes[rows] for sizes in self.sizes),
            input_sizes=tuple(None if sizes is None else sizes[rows] for sizes in self.input_sizes),
        )

    def groups_of_one_size(self) -> Iterator[tuple[NDArray[np.int64], MetricData]]:
        """Yields rows that are alike in all sizes, and their data cut to these sizes; items are one row each."""
        import numpy as np

        tables = [sizes for sizes in (*self.sizes, *self.input_sizes) if sizes is not None]
        _, groups = np.unique(np.concatenate(tables, axis=1), axis=0, return_inverse=True)
        for group in range(int(groups.max()) + 1):
            rows = np.flatnonzero(groups.reshape(-1) == group)
            data = self.of_rows(rows, rows)
            shapes = zip(data.input_shapes, data.input_sizes, strict=True)
            yield (
                rows,
                replace(
                    data,
                    outputs=_cut(data.outputs, data.sizes),
                    reference=None if data.reference is None else _cut(data.reference, data.sizes),
                    input_shapes=tuple(shape if sizes is None else (1, *map(int, sizes[0])) for shape, sizes in shapes),
                    sizes=(),
                    input_sizes=(),
                ),
            )


def _cut(arrays: Sequence[NDArray[Any]], sizes: Sequence[NDArray[np.int64] | None]) -> tuple[NDArray[Any], ...]:
    """Returns arrays whose rows are of one size without the zeros behind it."""
    return tuple(
        array if own is None else array[(slice(None), *map(slice, own[0]))]
        for array, own in zip(arrays, sizes, strict=True)
    )
