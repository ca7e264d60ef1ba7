"""What the planner asks a technique that changes the float model: can it be used here, and what would it bring.

A plan lists techniques as steps before the quantization. Their order is fixed: distil, prune, factorize, quantize, each
on what the one before left. How many may be combined follows from how much loss is allowed: under 2 points only
quantization, from 2 points on one technique before it, over 5 points all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, Protocol, final

from edgekit.analysis.graph import Analysis
from edgekit.budget import Budget
from edgekit.profiles.profile import DeviceProfile
from edgekit.recipe import Candidate, Prediction, Rejection, Step

OfferStage = Literal["distil", "prune", "factorize"]

ORDER: Final[tuple[OfferStage, ...]] = ("distil", "prune", "factorize")

ONE_TECHNIQUE_POINTS: Final = 2.0
"""Allowed loss from which on one technique before the quantization is worth its training."""

ALL_TECHNIQUES_POINTS: Final = 5.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What a technique may look at before it answers.

    Attributes:
        analysis: The model's costed graph.
        profile: The device.
        has_calibration: The task has calibration data.
        has_training: The task has training data.
    """

    analysis: Analysis
    profile: DeviceProfile
    has_calibration: bool
    has_training: bool


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class OfferEstimate:
    """What a technique is expected to bring; nothing was run for it.

    Attributes:
        size_factor: Bytes of weights after it over before.
        macs_factor: Work after it over before.
        loss_points: What it is expected to lose, in percentage points, beside what quantization loses.
        settings: With which settings, as the step shows them.
        band: Half width of the 90 % band of the factors, as a share.
    """

    size_factor: float
    macs_factor: float
    loss_points: float
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    band: float = 0.2


class TechniqueOffer(Protocol):
    """A technique as the planner sees it."""

    @property
    def name(self) -> str:
        """The step's name in a plan: `prune_channels`."""
        ...

    @property
    def stage(self) -> OfferStage:
        """Its place in the pipeline."""
        ...

    def why_not(self, situation: Situation) -> str | None:
        """Returns why it cannot be used here, or None if it can."""
        ...

    def estimate(self, situation: Situation) -> OfferEstimate:
        """Returns what it would bring. Cheap: never runs the model."""
        ...


def pipelines(
    offers: Sequence[TechniqueOffer], situation: Situation, budget: Budget
) -> tuple[tuple[tuple[TechniqueOffer, ...], ...], tuple[Rejection, ...]]:
    """Returns the ordered pipelines that come before a quantization, the empty one first, and what is rejected."""
    limit = budget.get("accuracy_drop")
    allowed = limit.value if limit else 1.0
    usable: list[TechniqueOffer] = []
    refused: list[Rejection] = []
    for offer in sorted(offers, key=lambda item: ORDER.index(item.stage)):
        reason = offer.why_not(situation)
        if reason is None and allowed < ONE_TECHNIQUE_POINTS:
            reason = (
                f"worth it from {ONE_TECHNIQUE_POINTS:g} points of allowed loss on, and {allowed:g} points are allowed"
            )
        if reason is None:
            usable.append(offer)
        else:
            refused.append(Rejection(candidate=offer.name, reason=reason))
    made: list[tuple[TechniqueOffer, ...]] = [(), *((offer,) for offer in usable)]
    if allowed > ALL_TECHNIQUES_POINTS and len(usable) > 1:
        made.append(tuple(usable))
    return tuple(made), tuple(refused)


def with_techniques(candidate: Candidate, offers: Sequence[TechniqueOffer], situation: Situation) -> Candidate:
    """Returns the candidate with the offers' steps before its own and its predictions scaled by their estimates."""
    for offer in reversed(offers):
        estimate = offer.estimate(situation)
        step = Step(technique=offer.name, settings=estimate.settings)
        predictions = tuple(_scaled(item, estimate, offer.name) for item in candidate.predictions)
        points = candidate.technique_points + estimate.loss_points
        steps = (step, *candidate.steps)
        candidate = replace(candidate, steps=steps, predictions=predictions, technique_points=points)
    return candidate


def _scaled(item: Prediction, estimate: OfferEstimate, name: str) -> Prediction:
    if item.value is None:
        return item
    low, high = item.value if item.low is None else item.low, item.value if item.high is None else item.high
    basis = f"{item.basis}; estimated effect of {name}"
    if item.name == "accuracy_drop":
        loss = estimate.loss_points
        return replace(item, value=item.value + loss, low=low, high=high + 2 * loss, basis=basis)
    factor = {"size": estimate.size_factor, "download": estimate.size_factor}.get(item.name, estimate.macs_factor)
    if item.name not in ("size", "download", "latency", "latency_p95"):
        # Memory holds weights and activations: it shrinks by the weaker of the two effects at least.
        factor = max(estimate.size_factor, estimate.macs_factor)
    return replace(
        item,
        value=item.value * factor,
        low=low * factor * (1 - estimate.band),
        high=high * factor * (1 + estimate.band),
        basis=basis,
    )
