"""Clips each layer's weights at a few standard deviations: outliers cost integer and 16-bit formats resolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from edgekit.analysis.graph import Analysis
from edgekit.errors import TechniqueError
from edgekit.model import CapturedModel
from edgekit.profiles.profile import DeviceProfile
from edgekit.task.task import Task
from edgekit.techniques.base import Context, Data, Estimate, Technique, TorchModel


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ClipWeights(Technique):
    """Clips the weights of convolutions and linear layers.

    Attributes:
        deviations: Weights stay within so many standard deviations of their layer's mean.
    """

    name: ClassVar[str] = "clip_weights"
    needs: ClassVar[Data] = "nothing"
    keeps_function: ClassVar[bool] = False

    deviations: float = 3.0

    def why_not(self, model: CapturedModel, task: Task, profile: DeviceProfile) -> str | None:
        """Returns why it cannot be used, or None if it can."""
        del model, task, profile
        return None if self.deviations > 0 else f"deviations={self.deviations:g}; expected more than 0"

    def estimate(self, analysis: Analysis) -> Estimate:
        """Returns the time; the number of weights and the cost stay."""
        return Estimate(
            parameters=analysis.parameters,
            macs=analysis.macs,
            seconds=0.1 + 1e-8 * analysis.parameters,
            effect="Fewer outliers among the weights, so finer steps for the others.",
        )

    def apply(self, model: TorchModel, context: Context) -> TorchModel:
        """Returns the model with clipped weights.

        Raises:
            TechniqueError: it has no weights of two dimensions or more.
        """
        from edgekit.techniques.program_editing import with_tensors

        del context
        weights = {name: value for name, value in model.program.state_dict.items() if value.ndim > 1}
        if not weights:
            raise TechniqueError(f"clip_weights cannot be used on {model.facts.source}: it has no weights to clip.")
        changed = {}
        for name, value in weights.items():
            mean, reach = value.mean(), self.deviations * value.std()
            changed[name] = value.clamp(mean - reach, mean + reach)
        return with_tensors(model, changed)
