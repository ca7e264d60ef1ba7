"""How much of a task's metric an artifact loses against the float model.

Every metric is reported in percentage points: its value times 100. The drop is metric(float) - metric(artifact) on the
same items, with a 95 % confidence interval that uses the pairing (see each metric's own file).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit import intervals as paired
from edgekit.errors import DataError
from edgekit.metrics.drop import Drop
from edgekit.metrics.drop_text import describe_drop
from edgekit.metrics.joined_outputs import join
from edgekit.metrics.metric import Metric
from edgekit.metrics.metric_data import MetricData
from edgekit.metrics.table import find_metric
from edgekit.model import JoinedOutput
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
    joined: Sequence[JoinedOutput] = (),
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
        joined: Outputs that were split: the metric sees them joined.

    Raises:
        DataError: the outputs or the targets do not fit the metric.
        ConfigError: a `file.py:function` that cannot be loaded.
    """
    data = replace(_data(outputs, reference, evaluation), confidence=confidence)
    data = _whole(data, joined) if joined else data
    if chosen is not None:
        data = _restricted(data, chosen)
    broken = _not_finite(data)
    if broken:
        return Drop(metric=metric, value=math.nan, count=data.items, detail=broken)
    found = find_metric(metric, base)
    _refuse_sizes(found, data)
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
    found = find_metric(metric, base)
    _refuse_sizes(found, data)
    found.check(data)


def _refuse_sizes(metric: Metric, data: MetricData) -> None:
    """Checks that a metric can read outputs whose rows differ in size.

    Raises:
        DataError: it cannot.
    """
    name = data.differing(metric.outputs_read(data.names))
    if name and not metric.takes_sizes:
        raise DataError(
            f'The metric {metric.name} compares rows of one size, and the output "{name}" differs in size from row to '
            "row. Use the metric cosine or agreement, give evaluation data of one size, or omit the check: --without "
            "accuracy. Parity is measured at every size."
        )


def _data(outputs: Samples, reference: Samples | None, evaluation: Samples) -> MetricData:
    for other in (outputs, reference):
        if other is not None and other.count != evaluation.count:
            raise DataError(
                f"{other.folder} holds {other.count} rows of outputs and the evaluation data {evaluation.count}. "
                "They must belong together: run again with an empty output folder."
            )
    if reference is not None and len(reference.names) != len(outputs.names):
        raise DataError(
            f"The artifact has {len(outputs.names)} outputs ({', '.join(outputs.names)}) and the float model "
            f"{len(reference.names)} ({', '.join(reference.names)}). "
            "Compare an artifact with the model it was made from."
        )
    sizes = _sizes(outputs)
    if reference is not None and any(
        _differ(own, float_) for own, float_ in zip(sizes, _sizes(reference), strict=True)
    ):
        raise DataError(
            "The artifact's outputs have other sizes than the float model's on the same rows. Compare an artifact with "
            "the model it was made from."
        )
    return MetricData(
        outputs=outputs.arrays(),
        reference=reference.arrays() if reference is not None else None,
        names=outputs.names,
        targets=evaluation.targets(),
        item_of_row=evaluation.item_of_row(),
        items=evaluation.items,
        input_shapes=tuple((1, *array.shape[1:]) for array in evaluation.kept.arrays()),
        sizes=sizes,
        input_sizes=_sizes(evaluation),
    )


def _whole(data: MetricData, joined: Sequence[JoinedOutput]) -> MetricData:
    """Returns the data with outputs that were split in one piece; these have one size."""
    names, outputs = join(data.names, data.outputs, joined)
    reference = None if data.reference is None else join(data.names, data.reference, joined)[1]
    return replace(data, names=names, outputs=outputs, reference=reference, sizes=(None,) * len(names))


def _sizes(samples: Samples) -> tuple[NDArray[np.int64] | None, ...]:
    """Returns for each tensor the rows' own sizes without the axis of rows, None where all are alike."""
    table, found = samples.sizes(), []
    for place, (array, call) in enumerate(zip(samples.kept.arrays(), samples.shapes(), strict=True)):
        axes = array.ndim - 1
        own = None if table is None else table[:, place, len(call) - axes : len(call)]
        found.append(None if own is None or (own == own[0]).all() else own)
    return tuple(found)


def _differ(first: NDArray[np.int64] | None, second: NDArray[np.int64] | None) -> bool:
    """Returns whether two tables of rows' sizes differ."""
    import numpy as np

    return (first is None) != (second is None) or (
        first is not None and second is not None and not np.array_equal(first, second)
    )


def _restricted(data: MetricData, chosen: NDArray[np.int64]) -> MetricData:
    """Returns the data of some items only, numbered anew."""
    import numpy as np

    return data.of_rows(np.flatnonzero(np.isin(data.item_of_row, chosen)), chosen)


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
