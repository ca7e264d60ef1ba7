"""The techniques that make a transformer or a CNN smaller without training, as offers to the planner.

An offer's size and work come from the technique's own estimate. What it is expected to lose is what it lost in
`benchmarks/compression.py`, by family; a family in which nothing was measured is refused. Zeros (`sparsify`) and
codebooks (`share_weights`) are not offered: a plan's size, memory and latency would stay, as the hint of a plan says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, final

from edgekit.model import Family
from edgekit.planner.offers import Estimate, Situation, Stage


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PostTrainingOffer:
    """One technique with settings that were measured.

    Attributes:
        name: The technique's.
        stage: Its place in the pipeline.
        settings: Its settings.
        loss_points: What it lost in the benchmark, in percentage points of the task's metric, by family.
    """

    name: str
    stage: Stage
    settings: Mapping[str, Any]
    loss_points: Mapping[Family, float]

    def why_not(self, situation: Situation) -> str | None:
        """Returns why it cannot be used here, or None if it can."""
        family = situation.analysis.family
        if family not in self.loss_points:
            measured = " and ".join(self.loss_points)
            return f"what it loses was measured for {measured} models only, and this one is of the family {family}"
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
            loss_points=self.loss_points[analysis.family],
            settings=self.settings,
            band=_BAND,
        )


_BAND: Final = 0.1
"""Half width of the band of the factors: ranks are whole, and only layers that gain are changed."""

POST_TRAINING: Final = (
    PostTrainingOffer(name="drop_layers", stage="prune", settings={"count": 1}, loss_points={"transformer": 5.0}),
    PostTrainingOffer(name="prune_heads", stage="prune", settings={"share": 0.25}, loss_points={"transformer": 3.0}),
    PostTrainingOffer(name="factorize", stage="factorize", settings={"keep": 0.8}, loss_points={"transformer": 3.0}),
)
"""In the order in which they would be combined."""
