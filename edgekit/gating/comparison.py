"""Changes against a baseline, as checks: the same figures of the same content, compared so that noise is no regression.

An artifact with the same bytes, run by the same runtime on the same data, has not changed, whatever a stopwatch says.
Accuracy is compared item by item. Latency is compared by figures of the device where both exports have them, else by
timing both artifacts in turn on this machine. Figures with a band are compared with a band.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, final

from edgekit import intervals as paired
from edgekit.budget import CHANGE_SUFFIX, Limit
from edgekit.checks import Basis, Check, judge
from edgekit.gating.baseline import Baseline, FormatRecord
from edgekit.gating.interleaved_timing import CONFIDENCE, TimedRounds, estimate_ratio
from edgekit.metrics.item_scores import decode_scores
from edgekit.units import format_value

Timing = Callable[[FormatRecord, FormatRecord], TimedRounds]
"""Times the artifacts of two records in turn: (new, old)."""

_TIMED: Final = ("latency", "latency_p95")
_RELATIVE: Final = ("size", "download", "memory", *_TIMED)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """What came of comparing one figure; `value` is None where it could not be compared, and `detail` says why."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    basis: Basis = "measured"
    measured_on: str = ""
    detail: str


def compare(
    now: Sequence[FormatRecord],
    data_sha256: str | None,
    baseline: Baseline,
    limits: Sequence[Limit],
    timing: Timing,
) -> tuple[Check, ...]:
    """Returns one check for each format and each limit.

    Args:
        now: The formats of the export that is judged.
        data_sha256: Hash of its evaluation data.
        baseline: What to compare with.
        limits: On changes.
        timing: Times two artifacts in turn.
    """
    same_data = data_sha256 is not None and data_sha256 == baseline.data.get("evaluation")
    checks: list[Check] = []
    for record in now:
        old = baseline.find(record.runtime, record.precision)
        for limit in limits:
            change = (
                _Change(detail=f"The baseline has no {record.runtime} {record.precision}.")
                if old is None
                else _change(limit.name.removesuffix(CHANGE_SUFFIX), record, old, same_data=same_data, timing=timing)
            )
            checks.append(_judged(change, limit, record.runtime))
    return tuple(checks)


def without_baseline(runtimes: Sequence[str], limits: Sequence[Limit], reason: str) -> tuple[Check, ...]:
    """Returns the checks where there is no baseline: not measured, each with the reason."""
    return tuple(_judged(_Change(detail=reason), limit, runtime) for runtime in runtimes for limit in limits)


def _judged(change: _Change, limit: Limit, runtime: str) -> Check:
    return judge(
        limit.name,
        change.value,
        limit,
        low=change.low,
        high=change.high,
        basis=change.basis,
        measured_on=change.measured_on,
        detail=change.detail,
        runtime=runtime,
    )


def _change(figure: str, new: FormatRecord, old: FormatRecord, *, same_data: bool, timing: Timing) -> _Change:
    same_content = new.sha256 == old.sha256 and new.ran_by == old.ran_by
    depends_on_data = figure in ("accuracy", "slice_drop", "parity")
    if same_content and (same_data or not depends_on_data):
        return _Change(
            value=0.0, measured_on="file", detail="The same bytes as the baseline's, run by the same runtime."
        )
    if depends_on_data and not same_data:
        return _Change(detail="The evaluation data is not the baseline's. Set a new baseline: edgekit baseline set DIR")
    if figure == "accuracy":
        return _accuracy(new, old)
    if figure in _TIMED and not _both_of_the_device(figure, new, old):
        return _timed(figure, new, old, timing)
    return _figures(figure, new, old)


def _both_of_the_device(figure: str, new: FormatRecord, old: FormatRecord) -> bool:
    figures = new.figure(figure), old.figure(figure)
    return all(check is not None and check.basis != "predicted" for check in figures)


def _figures(figure: str, new: FormatRecord, old: FormatRecord) -> _Change:
    """Compares two figures that were measured apart from each other."""
    now, then = new.figure(figure), old.figure(figure)
    if now is None or then is None or now.value is None or then.value is None:
        return _Change(detail=f"{'This export' if now is None else 'The baseline'} has no figure of it.")
    if now.basis != then.basis or (figure in _TIMED and now.measured_on != then.measured_on):
        return _Change(
            detail=f"It is {now.basis} ({now.measured_on or 'nowhere'}) now and was {then.basis} "
            f"({then.measured_on or 'nowhere'}) in the baseline: they do not compare."
        )
    detail = f"{format_value(now.value, now.unit)} now, {format_value(then.value, then.unit)} in the baseline."
    if figure not in _RELATIVE:
        value, width = now.value - then.value, math.hypot(_half_width(now), _half_width(then))
    elif then.value == 0:
        return _Change(detail=f"The baseline's figure is {format_value(0, then.unit)}: no change in percent exists.")
    else:
        ratio = now.value / then.value
        # In this order 2100 against 2000 bytes is 5 % exactly, and a change that is on its limit keeps it.
        value = 100 * (now.value - then.value) / then.value
        width = 100 * ratio * math.hypot(_half_width(now) / (now.value or 1), _half_width(then) / then.value)
    return _Change(
        value=value,
        low=value - width if width else None,
        high=value + width if width else None,
        basis=now.basis,
        measured_on=now.measured_on,
        detail=detail,
    )


def _half_width(check: Check) -> float:
    """Returns half of a figure's band at CONFIDENCE; 0 where it is exact.

    The band of a prediction is the error of the model behind it, and that is the same for both figures: it cancels.
    """
    if check.low is None or check.high is None or check.basis == "predicted":
        return 0.0
    wider = paired.normal_quantile(CONFIDENCE) / paired.normal_quantile(paired.CONFIDENCE)
    return (check.high - check.low) / 2 * wider


def _timed(figure: str, new: FormatRecord, old: FormatRecord, timing: Timing) -> _Change:
    """Compares by timing both artifacts in turn, here and now."""
    predicted = [check.basis == "predicted" for check in (new.figure(figure), old.figure(figure)) if check is not None]
    if figure != "latency":
        return _Change(
            detail="Neither export has the device's figure, and on this machine only the median is compared: "
            "limit the regression of latency."
        )
    if old.file is None:
        if predicted == [True, True]:
            return _figures(figure, new, old)
        return _Change(
            detail="Timings of two occasions do not compare, and the baseline's artifact was not kept, so it cannot be "
            "timed in turn with this one. Set the baseline with: edgekit baseline set DIR --keep-artifacts"
        )
    timed = timing(new, old)
    if timed.missing:
        return _Change(detail=timed.missing)
    estimate = estimate_ratio(timed.rounds)
    return _Change(
        value=100 * (estimate.ratio - 1),
        low=100 * (estimate.low - 1),
        high=100 * (estimate.high - 1),
        measured_on=f"host: {timed.host}",
        detail=f"Both artifacts timed in turn on {timed.host}: {estimate.pairs} pairs in {estimate.rounds} processes, "
        f"{100 * CONFIDENCE:.0f} % interval.",
    )


def _accuracy(new: FormatRecord, old: FormatRecord) -> _Change:
    """Compares the artifacts' own values of the metric, item by item where the metric is a mean over items."""
    now, then = new.accuracy, old.accuracy
    if not now or not then:
        return _Change(detail=f"{'This export' if not now else 'The baseline'} has no value of the metric.")
    if now["metric"] != then["metric"]:
        return _Change(detail=f"The metric is {now['metric']}; the baseline's was {then['metric']}.")
    if now["value"] is None or then["value"] is None:
        return _Change(value=math.nan, detail="The metric is not a number.")
    detail = f"{now['metric']} {now['value']:.2f} now, {then['value']:.2f} in the baseline, on {now['count']} items"
    ours, theirs = now.get("items"), then.get("items")
    if not ours or not theirs or ours["count"] != theirs["count"]:
        change = _figures("accuracy_drop", new, old)
        value = now["value"] - then["value"]
        if change.low is None or change.high is None:
            return _Change(value=value, measured_on=new.ran_by, detail=f"{detail}; not compared item by item.")
        half = (change.high - change.low) / 2
        return _Change(
            value=value,
            low=value - half,
            high=value + half,
            measured_on=new.ran_by,
            detail=f"{detail}; not compared item by item.",
        )
    return _paired(new, old, detail)


def _paired(new: FormatRecord, old: FormatRecord, detail: str) -> _Change:
    import numpy as np

    ours, theirs = decode_scores(new.accuracy["items"]), decode_scores(old.accuracy["items"])
    count = len(ours)
    if "float32" in (new.accuracy["items"]["kind"], old.accuracy["items"]["kind"]):
        interval = paired.mean_interval(100 * (ours - theirs), CONFIDENCE)
        smallest: float | None = (interval.high - interval.low) / 2
    else:
        won, lost = int(np.sum(ours > theirs)), int(np.sum(ours < theirs))
        interval = paired.paired_difference_interval(won, lost, count, CONFIDENCE).scaled(100)
        least = paired.smallest_paired_difference(won, count, CONFIDENCE)
        smallest = None if least is None else 100 * least
        detail += f": {lost} lost, {won} won"
    if smallest is not None and math.isfinite(smallest):
        detail += f"; the smallest loss that {count} items can show is {smallest:.2g} pp"
    return _Change(
        value=100 * float(np.mean(ours - theirs)),
        low=interval.low,
        high=interval.high,
        measured_on=new.ran_by,
        detail=f"{detail}.",
    )
