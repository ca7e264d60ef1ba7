"""What a plan prefers among candidates that fit: accuracy, size, speed, or a balance of them.

A loss of accuracy *cannot be seen* where its band holds zero (nobody could tell the candidate from the float model by
the task's own metric) or, where nothing is predicted, where practice knows of next to none (loss class 0 or 1). The
balance takes the cheapest of those; size and speed take the cheapest of all that fit, whatever their loss within the
limit is.
"""

from __future__ import annotations

import math
from typing import Final

from edgekit.formats.practice import Rule
from edgekit.recipe import Candidate, Preference

_UNSEEN_RANK: Final = 1
"""Loss class up to which practice knows of nothing that a metric shows."""

_STEP: Final = math.log(1.1)
"""Costs are compared in steps of a tenth: a smaller gain is not worth a less exact precision."""

_SPEED_FACTORS: Final = {0: 0.5, 1: 0.8, 2: 1.0, 3: 1.5}
"""Speed class to time over float's, where no latency is predicted (the reasons in `rules.RULES` have the figures)."""


def preference_key(
    prefer: Preference, candidate: Candidate, *, points: float, loss: Rule, speed: Rule, place: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns what decides between candidates that keep the limits equally well; smaller is better.

    Args:
        prefer: What the user prefers.
        candidate: With its predictions.
        points: What it is expected to lose, in percentage points.
        loss: The rule about its accuracy.
        speed: The rule about its speed.
        place: Place of its format in the order of preference.

    Returns:
        What comes before the limits that only warn (the format's place, where accuracy or a balance is preferred), and
        what comes last.
    """
    parity = candidate.prediction("parity")
    # Of two that lose nothing measurable, the one that is nearer to the float outputs.
    exact = (points, -(parity.value or 0) if parity else 0, loss.rank)
    size, time = _value(candidate, "size"), _time(candidate, speed)
    if prefer == "accuracy":
        return (place,), exact
    if prefer == "balanced":
        unseen = loss_is_unseen(candidate, loss)
        return (place,), (0.0 if unseen else points, _steps(size) + _steps(time) if unseen else 0.0, *exact)
    return (), ((size, time) if prefer == "size" else (time, size)) + (place, *exact)


def loss_is_unseen(candidate: Candidate, loss: Rule) -> bool:
    """Returns True if the task's metric could not tell the candidate from the float model."""
    drop = candidate.prediction("accuracy_drop")
    if candidate.technique_points and (drop is None or drop.evidence in ("computed", "expected")):
        return False  # what a technique loses is a bound from experience until it was measured
    if drop is None or drop.value is None:
        return loss.rank <= _UNSEEN_RANK
    return drop.value <= 0 or (drop.low is not None and drop.low <= 0)


def _value(candidate: Candidate, name: str) -> float:
    found = candidate.prediction(name)
    return math.inf if found is None or found.value is None else found.value


def _time(candidate: Candidate, speed: Rule) -> float:
    latency = _value(candidate, "latency")
    return _SPEED_FACTORS[speed.rank] if math.isinf(latency) else latency


def _steps(cost: float) -> float:
    """Returns a cost on a scale of tenths; what is not known is taken for 1."""
    return round(math.log(cost) / _STEP) if 0 < cost < math.inf else 0
