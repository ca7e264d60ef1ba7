"""A drop of a metric in words: value, count, interval, and what that many items can show."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgekit.metrics.drop import Drop
    from edgekit.metrics.metric import Metric


def describe_drop(drop: Drop, metric: Metric) -> str:
    """Returns the detail of a check of this drop, one sentence."""
    things = metric.things
    own = "not known" if drop.artifact_value is None else f"{drop.artifact_value:.2f}"
    if drop.value is None:
        return f"{drop.metric} {own} on {drop.count} {things}; no float model to compare with. Name it with --model."
    if drop.low is None or drop.high is None or not math.isfinite(drop.high):
        band = "no interval can be given"
    else:
        band = f"95 % interval of the drop {drop.low:.2f} to {drop.high:.2f} pp"
    head = metric.sentence.format(
        metric=drop.metric,
        own=own,
        share=(drop.artifact_value or 0) / 100,
        float="" if drop.float_value is None else f"{drop.float_value:.2f}",
        count=drop.count,
        things=things,
    )
    text = f"{head}; {band}"
    if drop.detectable is not None:
        text += f"; the smallest drop that {drop.count} {things} can show is {drop.detectable:.2g} pp"
    return text + "."
