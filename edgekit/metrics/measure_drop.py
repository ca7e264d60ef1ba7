"""Metrics of a task, and how much of the metric an artifact loses against the float model.

Every metric is reported in percentage points: its value times 100. The drop is metric(float) - metric(artifact) on
the same items, with a 95 % confidence interval that uses the pairing:

    top1        share of items whose highest score is the target's class; interval: Tango's paired score interval
    agreement   share of items where artifact and float model have the same highest score; interval: Wilson's
    cosine      mean cosine similarity with the float model's output; interval: Student's t
    spearman    rank correlation between the cosine similarity of an item's two outputs and its target; interval:
        bootstrap
    file.py:f   f(outputs, targets) -> float, larger is better; interval: bootstrap over items
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from edgekit import intervals as paired
from edgekit.errors import DataError
from edgekit.metrics.drop import Drop
from edgekit.metrics.drop_text import describe_drop
from edgekit.metrics.metric_function import FUNCTION_SUFFIX, MetricFunction
from edgekit.samples import Samples

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

METRICS: Final = ("top1", "agreement", "cosine", "spearman")
"""The built-in metrics; everything else is a user's `file.py:function`."""

RESAMPLES: Final = 1000
SLOW_RESAMPLES: Final = 200
SLOW_SECONDS: Final = 0.02
"""A user's metric that takes longer than this is resampled less often, so that judging stays a matter of seconds."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Data:
    """What a metric looks at, and the confidence of its interval. Arrays (rows, ...), one an output."""

    outputs: tuple[NDArray[Any], ...]
    reference: tuple[NDArray[Any], ...] | None
    names: tuple[str, ...]
    targets: NDArray[Any] | None
    item_of_row: NDArray[np.int64]
    items: int
    confidence: float = paired.CONFIDENCE


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
        metric: One of METRICS, or `file.py:function`.
        outputs: The artifact's outputs, rows as in `evaluation`.
        reference: The float model's outputs; None gives the artifact's own value and no drop.
        evaluation: For targets and for which rows make an item.
        base: Folder that a relative `file.py:function` starts from.
        chosen: Indices of the evaluation items to look at, ascending; None for all.
        confidence: Of the interval.

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
    judge = {"top1": _top1, "agreement": _agreement, "cosine": _cosine, "spearman": _spearman}.get(metric)
    drop = judge(data) if judge else _user_metric(metric, data, base)
    return replace(drop, detail=describe_drop(drop))


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
    if metric == "top1":
        _correct(data.outputs[0], _labels(data), data.names[0])
    elif metric == "agreement":
        _scores("agreement", data.outputs[0], data.names[0])
    elif metric == "spearman":
        _pairs(data)
    elif metric != "cosine":
        _call(_load(metric, base), metric, data.outputs, data.targets)


def _data(outputs: Samples, reference: Samples | None, evaluation: Samples) -> _Data:
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
    return _Data(
        outputs=outputs.arrays(),
        reference=reference.arrays() if reference is not None else None,
        names=outputs.names,
        targets=evaluation.targets(),
        item_of_row=evaluation.item_of_row(),
        items=evaluation.items,
    )


def _restricted(data: _Data, chosen: NDArray[np.int64]) -> _Data:
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


def _not_finite(data: _Data) -> str:
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


def _scores(metric: str, array: NDArray[Any], name: str) -> NDArray[Any]:
    """Returns class scores (rows, classes) of an output, sizes of 1 dropped."""
    sizes = [size for size in array.shape[1:] if size != 1]
    if len(sizes) != 1:
        shape = (1, *array.shape[1:])
        other = "a regression's error" if not sizes else "cosine, or another measure"
        raise DataError(
            f'The metric {metric} needs class scores, shape (1, classes); output "{name}" has shape {shape}. '
            f'Set [data] metric to {other} as "metrics.py:function".'
        )
    return array.reshape(len(array), sizes[0])


def _labels(data: _Data) -> NDArray[np.int64]:
    """Returns one class index a row, shape (rows,)."""
    import numpy as np

    targets = data.targets
    if targets is None:
        raise DataError(
            "The metric top1 needs targets and the evaluation data has none. "
            "Yield (inputs, class index) from [data] evaluation, or use the metric agreement."
        )
    rows = len(data.item_of_row)
    flat = targets.reshape(-1)
    whole = flat.astype(np.int64) if flat.dtype.kind in "iufb" else None
    if flat.size != rows or whole is None or not np.array_equal(whole, flat):
        raise DataError(
            f"The metric top1 needs one class index for each of {rows} rows; the targets are {targets.dtype} of shape "
            f"{targets.shape}. Yield a whole number with each input."
        )
    return whole


def _correct(array: NDArray[Any], labels: NDArray[np.int64], name: str) -> NDArray[np.bool_]:
    scores = _scores("top1", array, name)
    classes = scores.shape[1]
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(
            f'The targets hold classes {labels.min()} to {labels.max()}; output "{name}" has {classes} classes, '
            f"0 to {classes - 1}. Use the model's own class numbers."
        )
    right: NDArray[np.bool_] = scores.argmax(1) == labels
    return right


def _top1(data: _Data) -> Drop:
    import numpy as np

    labels = _labels(data)
    right = _correct(data.outputs[0], labels, data.names[0])
    count = len(right)
    own = 100 * float(right.mean())
    if data.reference is None:
        return Drop(
            metric="top1", value=None, artifact_value=own, count=count, detail="", scores=right.astype(np.float64)
        )
    float_right = _correct(data.reference[0], labels, data.names[0])
    lost, won = int(np.sum(float_right & ~right)), int(np.sum(right & ~float_right))
    interval = paired.paired_difference_interval(lost, won, count, data.confidence).scaled(100)
    smallest = paired.smallest_paired_difference(won, count, data.confidence)
    return Drop(
        metric="top1",
        value=100 * (lost - won) / count,
        low=interval.low,
        high=interval.high,
        detectable=None if smallest is None else 100 * smallest,
        float_value=100 * float(float_right.mean()),
        artifact_value=own,
        count=count,
        detail="",
        scores=right.astype(np.float64),
    )


def _agreement(data: _Data) -> Drop:
    import numpy as np

    own = _scores("agreement", data.outputs[0], data.names[0])
    if data.reference is None:
        return Drop(metric="agreement", value=None, count=len(own), detail="")
    theirs = _scores("agreement", data.reference[0], data.names[0])
    same = own.argmax(1) == theirs.argmax(1)
    differ = int(np.sum(~same))
    interval = paired.wilson_interval(differ, len(own), data.confidence).scaled(100)
    return Drop(
        metric="agreement",
        value=100 * differ / len(own),
        low=interval.low,
        high=interval.high,
        # A share that many items miss altogether with a probability of 5 % or less (the rule of three).
        detectable=100 * (1 - (1 - data.confidence) ** (1 / len(own))),
        float_value=100.0,
        artifact_value=100 * (1 - differ / len(own)),
        count=len(own),
        detail="",
        scores=same.astype(np.float64),
    )


def _cosine(data: _Data) -> Drop:
    import numpy as np

    count = len(data.outputs[0])
    if data.reference is None:
        return Drop(metric="cosine", value=None, count=count, detail="")
    # The worst output of each row: a model whose second output is broken must not hide behind its first.
    similarity = np.min(
        [_row_cosine(a, b) for a, b in zip(data.outputs, data.reference, strict=True) if a.dtype.kind == "f"], axis=0
    )
    loss = 100 * (1 - similarity)
    interval = paired.mean_interval(loss, data.confidence)
    return Drop(
        metric="cosine",
        value=float(loss.mean()),
        low=max(0.0, interval.low),
        high=min(200.0, interval.high),
        detectable=(interval.high - interval.low) / 2 if math.isfinite(interval.high) else None,
        float_value=100.0,
        artifact_value=100 * float(similarity.mean()),
        count=count,
        detail="",
        scores=similarity,
    )


def _row_cosine(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.float64]:
    """Returns the cosine similarity of rows (rows, ...); 1 for two zero vectors, 0 for one."""
    import numpy as np

    if first[0].size != second[0].size:
        raise DataError(
            f"An output has shape {(1, *first.shape[1:])} in the artifact and {(1, *second.shape[1:])} in the float "
            "model. Compare an artifact with the model it was made from."
        )
    a = np.asarray(first, np.float64).reshape(len(first), -1)
    b = np.asarray(second, np.float64).reshape(len(second), -1)
    lengths = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    product = lengths[0] * lengths[1]
    both_zero = (lengths[0] == 0) & (lengths[1] == 0)
    similarity = np.sum(a * b, axis=1) / np.where(product > 0, product, 1.0)
    return np.where(both_zero, 1.0, np.clip(similarity, -1.0, 1.0))


def _pairs(data: _Data) -> NDArray[np.int64]:
    """Returns the two rows of each item, shape (items, 2)."""
    import numpy as np

    counts = np.bincount(data.item_of_row, minlength=data.items)
    targets = data.targets
    if (counts != 2).any() or targets is None or targets.size != data.items:
        has = "no targets" if targets is None else f"targets of shape {targets.shape}"
        raise DataError(
            f"The metric spearman needs items of two rows each and one number for each item; the evaluation data has "
            f"{data.items} items with {counts.min()} to {counts.max()} rows and {has}. "
            "Yield (inputs of batch 2, similarity) from [data] evaluation."
        )
    return np.argsort(data.item_of_row, kind="stable").reshape(-1, 2)


def _spearman(data: _Data) -> Drop:
    import numpy as np

    pairs = _pairs(data)
    target = np.asarray(data.targets, np.float64).reshape(-1)

    def similarities(arrays: tuple[NDArray[Any], ...]) -> NDArray[np.float64]:
        first = np.asarray(arrays[0])
        return _row_cosine(first[pairs[:, 0]], first[pairs[:, 1]])

    own = similarities(data.outputs)
    theirs = similarities(data.reference) if data.reference is not None else None

    def value(similarity: NDArray[np.float64], chosen: NDArray[np.int64]) -> float:
        return paired.rank_correlation(similarity[chosen], target[chosen])

    return _bootstrapped(
        "spearman",
        lambda chosen: value(own, chosen),
        None if theirs is None else lambda chosen: value(theirs, chosen),
        data,
        same=theirs is not None and np.array_equal(own, theirs),
    )


def _user_metric(metric: str, data: _Data, base: Path) -> Drop:
    import numpy as np

    function = _load(metric, base)
    order = np.argsort(data.item_of_row, kind="stable")
    starts = np.searchsorted(data.item_of_row[order], np.arange(data.items + 1))

    def over(arrays: tuple[NDArray[Any], ...]) -> Callable[[NDArray[np.int64]], float]:
        loaded = tuple(np.asarray(array) for array in arrays)

        def value(chosen: NDArray[np.int64]) -> float:
            rows = np.concatenate([order[starts[i] : starts[i + 1]] for i in chosen])
            targets = data.targets[chosen] if data.targets is not None else None
            return _call(function, metric, tuple(array[rows] for array in loaded), targets)

        return value

    same = data.reference is not None and all(
        np.array_equal(a, b) for a, b in zip(data.outputs, data.reference, strict=True)
    )
    theirs = over(data.reference) if data.reference is not None else None
    return _bootstrapped(metric, over(data.outputs), theirs, data, same=same)


def _load(metric: str, base: Path) -> Callable[..., Any]:
    from edgekit.task.user_code import load_object

    if isinstance(metric, MetricFunction):
        return metric.function
    if metric.endswith(FUNCTION_SUFFIX):
        raise DataError(
            f"The metric {metric} is a function of the process that called edgekit, and this is judged in another one. "
            'Give it as text: "metrics.py:function".'
        )
    if ":" not in metric:
        raise DataError(
            f'"{metric}" is not a metric: accepted are {", ".join(METRICS)}, or a function of your own as '
            '"metrics.py:function".'
        )
    function = load_object(metric, base, "[data] metric")
    if not callable(function):
        raise DataError(f"{metric} is {type(function).__name__} and not a function (outputs, targets) -> float.")
    loaded: Callable[..., Any] = function
    return loaded


def _call(
    function: Callable[..., Any], metric: str, outputs: tuple[NDArray[Any], ...], targets: NDArray[Any] | None
) -> float:
    """Returns what a user's metric says. It gets the one output's array, or a tuple of them where there are several."""
    try:
        value = function(outputs[0] if len(outputs) == 1 else outputs, targets)
    except Exception as error:
        raise DataError(
            f"The metric {metric} failed with {type(error).__name__}: {error}. It is called with (outputs, targets): "
            f"arrays of shape {', '.join(str(array.shape) for array in outputs)} and "
            f"{targets.shape if targets is not None else None}."
        ) from error
    try:
        return float(value)
    except (TypeError, ValueError):
        raise DataError(
            f"The metric {metric} returned {type(value).__name__}; expected one number, larger is better."
        ) from None


def _bootstrapped(
    metric: str,
    own: Callable[[NDArray[np.int64]], float],
    theirs: Callable[[NDArray[np.int64]], float] | None,
    data: _Data,
    *,
    same: bool,
) -> Drop:
    """Returns the drop of a figure over all items, with its interval from resampling the items."""
    import numpy as np

    items = data.items
    everything = np.arange(items)
    started = time.perf_counter()
    own_value = own(everything)
    resamples = RESAMPLES if time.perf_counter() - started < SLOW_SECONDS else SLOW_RESAMPLES
    if theirs is None:
        return Drop(metric=metric, value=None, artifact_value=100 * own_value, count=items, detail="")
    float_value = theirs(everything)
    drop = 100 * (float_value - own_value)
    if same:
        # Not an estimate: the same outputs lose nothing on any data.
        interval = paired.Interval(low=drop, high=drop)
    else:
        interval = paired.bootstrap_interval(
            lambda chosen: theirs(chosen) - own(chosen), items, resamples=resamples, confidence=data.confidence
        ).scaled(100)
    known = math.isfinite(interval.low) and math.isfinite(interval.high)
    return Drop(
        metric=metric,
        value=drop,
        # Without an interval a kept limit is not proven, and a missed one stays missed.
        low=interval.low if known else drop,
        high=interval.high if known else math.inf,
        detectable=(interval.high - interval.low) / 2 if known else None,
        float_value=100 * float_value,
        artifact_value=100 * own_value,
        count=items,
        detail="",
    )
