"""The techniques that make a model smaller, as offers to the planner.

An offer's size and work come from the technique's own estimate. Its loss is a class of `rules.LOSS_POINTS`. What is not
trained afterwards has that of 4-bit weights rounded to nearest, and so has a student of a quarter of the work: a plan
names one only where the budget allows several points, and the export measures what it really loses. Channels that leave
and are trained for have that of static INT8. Where the task has no training data, those that train are not offered: a
plan in which nothing fits names them (`rules.HINTS`). Zeros (`sparsify`) and codebooks (`share_weights`) are not
offered: a plan's size, memory and latency would stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, final

from edgekit.model import IMPORTABLE, CapturedKind, Family
from edgekit.planner.offers import OfferEstimate, OfferStage, Situation
from edgekit.planner.rules import LOSS_POINTS
from edgekit.recipe import Candidate

_KINDS: Final[tuple[CapturedKind, ...]] = ("pt2", *sorted(IMPORTABLE))  # all of these can become a torch program


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ListedOffer:
    """One technique with its settings.

    Attributes:
        name: The technique's.
        stage: Its place in the pipeline.
        settings: Its settings.
        families: Whose models it can change.
        loss_class: Key of `rules.LOSS_POINTS`.
    """

    name: str
    stage: OfferStage
    settings: Mapping[str, Any]
    families: tuple[Family, ...]
    loss_class: int = 4

    @property
    def trains(self) -> bool:
        """It needs training data."""
        from edgekit.techniques.base import technique

        return technique(self.name).needs == "training"

    def why_not(self, situation: Situation) -> str | None:
        """Returns why it cannot be used here, or None if it can."""
        if situation.analysis.family not in self.families:
            return f"it is for {' and '.join(self.families)} models"
        if self.trains:
            return None if situation.has_training else "it needs training data and the task has none; give [training]"
        if not situation.has_calibration:
            return "it needs calibration data and the task has none; give --calibration, or [data] calibration"
        return None

    def estimate(self, situation: Situation) -> OfferEstimate:
        """Returns what it would bring. Cheap: never runs the model."""
        from edgekit.techniques.base import technique

        analysis = situation.analysis
        found = technique(self.name).from_settings(self.settings, "plan").estimate(analysis)
        return OfferEstimate(
            size_factor=found.parameters / max(1, analysis.parameters),
            macs_factor=found.macs / max(1, analysis.macs),
            loss_points=LOSS_POINTS[self.loss_class],
            settings=self.settings,
            band=_BAND,
        )


_BAND: Final = 0.1
"""Half width of the band of the factors: ranks are whole, and only layers that gain are changed."""

OFFERS: Final = (
    ListedOffer(name="distill", stage="distil", settings={"student": "pruned", "ratio": 0.25}, families=("cnn",)),
    ListedOffer(name="prune_channels", stage="prune", settings={"ratio": 0.5}, families=("cnn",), loss_class=3),
    ListedOffer(name="drop_layers", stage="prune", settings={"count": 1}, families=("transformer",)),
    ListedOffer(name="prune_heads", stage="prune", settings={"share": 0.25}, families=("transformer",)),
    ListedOffer(name="factorize", stage="factorize", settings={"keep": 0.8}, families=("transformer",)),
)
"""In the order in which they would be combined."""


def needs_calibration(candidate: Candidate) -> bool:
    """Returns True if a candidate's ranges, or a technique before them, come from calibration data."""
    from edgekit.techniques.base import technique

    needs = (technique(step.technique).needs for step in candidate.techniques)
    return candidate.recipe.needs_calibration or "calibration" in needs


def offers_for(kind: CapturedKind, family: Family, *, has_training: bool) -> tuple[ListedOffer, ...]:
    """Returns the offers that a captured model of this kind and family could use at all."""
    if kind not in _KINDS:
        return ()
    return tuple(offer for offer in OFFERS if family in offer.families and (has_training or not offer.trains))
