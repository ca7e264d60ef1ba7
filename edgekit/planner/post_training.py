"""The techniques that make a transformer smaller without training, as offers to the planner.

An offer's size and work come from the technique's own estimate. Its loss is a class of `rules.LOSS_POINTS`, the same as
that of 4-bit weights rounded to nearest: nothing is trained, and no benchmark has measured them on a task's metric yet.
So a plan names one only where the budget allows several points, and the export measures what it really loses. Zeros
(`sparsify`) and codebooks (`share_weights`) are not offered: a plan's size, memory and latency would stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, final

from edgekit.model import CapturedKind, Family
from edgekit.planner.offers import Estimate, Situation, Stage
from edgekit.planner.rules import LOSS_POINTS

_LOSS_CLASS: Final = 4
_KINDS: Final[tuple[CapturedKind, ...]] = ("pt2", "onnx")  # an ONNX file can become a torch program


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PostTrainingOffer:
    """One technique with settings that were measured.

    Attributes:
        name: The technique's.
        stage: Its place in the pipeline.
        settings: Its settings.
        families: Whose models it can change.
    """

    name: str
    stage: Stage
    settings: Mapping[str, Any]
    families: tuple[Family, ...]

    def why_not(self, situation: Situation) -> str | None:
        """Returns why it cannot be used here, or None if it can."""
        if situation.analysis.family not in self.families:
            return f"it is for {' and '.join(self.families)} models"
        if not situation.has_calibration:
            return "it needs calibration data and the task has none; give --calibration, or [data] calibration"
        return None

    def estimate(self, situation: Situation) -> Estimate:
        """Returns what it would bring. Cheap: never runs the model."""
        from edgekit.registry import technique

        analysis = situation.analysis
        found = technique(self.name).from_settings(self.settings, "plan").estimate(analysis)
        return Estimate(
            size_factor=found.parameters / max(1, analysis.parameters),
            macs_factor=found.macs / max(1, analysis.macs),
            loss_points=LOSS_POINTS[_LOSS_CLASS],
            settings=self.settings,
            band=_BAND,
        )


_BAND: Final = 0.1
"""Half width of the band of the factors: ranks are whole, and only layers that gain are changed."""

POST_TRAINING: Final = (
    PostTrainingOffer(name="drop_layers", stage="prune", settings={"count": 1}, families=("transformer",)),
    PostTrainingOffer(name="prune_heads", stage="prune", settings={"share": 0.25}, families=("transformer",)),
    PostTrainingOffer(name="factorize", stage="factorize", settings={"keep": 0.8}, families=("transformer",)),
)
"""In the order in which they would be combined."""


def offers_for(kind: CapturedKind, family: Family) -> tuple[PostTrainingOffer, ...]:
    """Returns the offers that a captured model of this kind and family could use at all."""
    return tuple(offer for offer in POST_TRAINING if kind in _KINDS and family in offer.families)
