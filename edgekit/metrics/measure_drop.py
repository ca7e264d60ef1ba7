"""How much of a task's metric an artifact loses against the float model.

Every metric is reported in percentage points: its value times 100. The drop is metric(float) - metric(artifact) on the
same items, with a 95 % confidence interval that uses the pairing (see each metric's own file).
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit import intervals as paired
from edgekit.errors import DataError
from edgekit.metrics.drop import Drop
from edgekit.metrics.drop_text import describe_drop
from edgekit.metrics.metric_data import MetricData
from edgekit.metrics.table import find_metric
from edgekit.samples import Samples

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def measure_drop(
    metric: str,
    outputs: Samples,
    reference: Samples | None,
    evaluation: Samples,
    base: Path = Path(),
    *,
    chosen: NDArray[np.int64] | None = None,
    confidence: float = paired.CONFIDENCE,
) -> Drop:
    """Returns what `outputs` lose of `metric` against `reference`.

    Args:
        metric: One of `registry.metric_names()`, or `file.py:function`.
        outputs: The artifact's outputs, rows as in `evaluation`.
        reference: The float model's outputs; None gives the artifact's own value and no drop.
        evaluation: For targets and for which rows make an item.
        base: Folder that a relative `file.py:function` starts from.
        chosen: Indices of the evaluation items to look at, ascending; None for all.
        confidence: Confidence of the interval.

    Raises:
        DataError: the outputs or the targets do not fit the metric.
        ConfigError: a `file.py:function` that cannot be loaded.
    """
    data = replace(_data(outputs, reference, evaluation), confidence=confidence)
    if chosen is not None:
        data = _restricted(data, chosen)
    broken = _not_finite(data)
    if broken:
        return Drop(metric=metric, value=math.nan, count=data.items, detail=broken)
    found = find_metric(metric, base)
    drop = found.measure(data)
    return replace(drop, detail=describe_drop(drop, found))


def check_metric(metric: str, reference: Samples, evaluation: Samples, base: Path = Path()) -> None:
    """Checks that `metric` can be computed for this model and data, by computing it on the float model's outputs.

    Raises:
        DataError: the outputs or the targets do not fit the metric, or the float model's outputs are not finite.
        ConfigError: a `file.py:function` that cannot be loaded.
    """
    data = _data(reference, reference, evaluation)
    broken = _not_finite(data)
    if broken:
        raise DataError(f"{broken} Check the model and its preprocessing: nothing can be compared with such outputs.")
    find_metric(metric, base).check(data)


def _data(outputs: Samples, reference: Samples | None, evaluation: Samples) -> MetricData:
    for other in (outputs, reference):
        if other is not None and other.count != evaluation.count:
            raise DataError(
                f"{other.folder} holds {other.count} rows of outputs and the evaluation data {evaluation.count}. "
                "They must belong together: run again with an empty output folder."
            )
    if outputs.sizes() is not None:
        raise DataError(
            "The outputs differ in size from row to row, and a metric compares outputs of one size. Give evaluation "
            "data of one size, or omit the check: --without accuracy. Parity is measured at every size."
        )
    if reference is not None and len(reference.names) != len(outputs.names):
        raise DataError(
            f"The artifact has {len(outputs.names)} outputs ({', '.join(outputs.names)}) and the float model "
            f"{len(reference.names)} ({', '.join(reference.names)}). "
            "Compare an artifact with the model it was made from."
        )
    return MetricData(
        outputs=outputs.arrays(),
        reference=reference.arrays() if reference is not None else None,
        names=outputs.names,
        targets=evaluation.targets(),
        item_of_row=evaluation.item_of_row(),
        items=evaluation.items,
        input_shapes=tuple((1, *array.shape[1:]) for array in evaluation.arrays()),
    )


def _restricted(data: MetricData, chosen: NDArray[np.int64]) -> MetricData:
    """Returns the data of some items only, numbered anew."""
    import numpy as np

    rows = np.flatnonzero(np.isin(data.item_of_row, chosen))
    return replace(
        data,
        outputs=tuple(array[rows] for array in data.outputs),
        reference=tuple(array[rows] for array in data.reference) if data.reference is not None else None,
        targets=data.targets[chosen] if data.targets is not None else None,
        item_of_row=np.searchsorted(chosen, data.item_of_row[rows]),
        items=len(chosen),
    )


def _not_finite(data: MetricData) -> str:
    """Returns a sentence that says how many outputs are NaN or infinite, "" where none is."""
    import numpy as np

    for who, arrays in (("float model's", data.reference or ()), ("artifact's", data.outputs)):
        for name, array in zip(data.names, arrays, strict=False):
            if array.dtype.kind != "f":
                continue
            bad = ~np.isfinite(np.asarray(array)).reshape(len(array), -1)
            if bad.any():
                return (
                    f'The {who} output "{name}" is NaN or infinite in {int(bad.any(1).sum())} of {len(array)} rows '
                    f"({int(bad.sum())} of {bad.size} values)."
                )
    return ""
