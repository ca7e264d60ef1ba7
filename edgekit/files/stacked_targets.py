"""Targets of evaluation items as one array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgekit.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def stacked_targets(targets: Sequence[Any]) -> NDArray[Any]:
    """Returns one array (items, ...); tables of different length are filled up with rows of NaN.

    Raises:
        DataError: their shapes differ.
    """
    import numpy as np

    arrays = [np.asarray(target) for target in targets]
    if len({array.shape for array in arrays}) > 1 and _are_tables(arrays):
        return _filled_up(arrays)
    odd = next((i for i, array in enumerate(arrays) if array.shape != arrays[0].shape), None)
    if odd is not None:
        raise DataError(
            f"The target of item {odd} has shape {arrays[odd].shape}; the ones before have {arrays[0].shape}. "
            "All targets must be alike."
        )
    return np.stack(arrays)


def _are_tables(arrays: Sequence[NDArray[Any]]) -> bool:
    """Returns whether all are tables of numbers with the same columns; one without rows may have any."""
    return all(array.ndim == 2 and array.dtype.kind in "iuf" for array in arrays) and (
        len({array.shape[1] for array in arrays if len(array)}) <= 1
    )


def _filled_up(tables: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """Returns tables of different length as one array (items, rows, columns), filled up with rows of NaN."""
    import numpy as np

    columns = max(tables, key=len).shape[1]
    filled = np.full((len(tables), max(len(table) for table in tables), columns), np.nan)
    for item, table in enumerate(tables):
        if len(table):
            filled[item, : len(table)] = table
    return filled
