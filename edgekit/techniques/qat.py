"""Trains with rounded weights and activations, so that the integers that come out are the ones that were trained.

Quantization-aware training (Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", 2018, section 3) with learned steps (Esser et al., "Learned Step Size Quantization",
2020; see `fake_quantization`). Batch norms are folded already, so what is rounded is what is stored.

Which tensors are rounded is decided by the converters' own rules (`pt2e_plan`): after fused activations, one grid for
what only moves values. Weights are left on their grid exactly, so every converter finds these integers again; the
learned ranges of activations travel beside the model (`CapturedModel.learned_ranges`) and take the place of calibrated
ones. So a converted artifact computes what was trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, Literal, final

from edgekit.analysis.graph import Analysis
from edgekit.model import CapturedModel
from edgekit.profiles.profile import DeviceProfile
from edgekit.registry import DEFAULT_FORMAT
from edgekit.simulation.realisation import why_not_simulated
from edgekit.task.task import Task
from edgekit.techniques.base import TYPICAL_SAMPLES, Context, Data, Estimate, Technique, TorchModel
from edgekit.training.imitation import Outputs
from edgekit.training.schedule import Optimizer

_SECONDS_PER_MAC: Final = 1e-8  # rounding costs about as much as computing


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Qat(Technique):
    """Trains with the rounding of static INT8, or of 4-bit weights, inside.

    Attributes:
        weight_bits: 8, or 4: fifteen levels a channel, stored in int8, so that only the download shrinks further.
        runtime: Format whose kernels decide what is fused: Core ML's fuse more than the others.
        learned_ranges: Learn the steps of activations; else the calibrated ones stay.
        epochs: 0 for as many as the task names.
        learning_rate: The highest one; with `adamw`, a share of each weight tensor's size.
        optimizer: `adamw` or `sgd`.
        teacher_share: Weight of imitating the float model while training; 0 for none.
        temperature: Temperature of soft targets while imitating.
        outputs: What is imitated: `logits`, `embeddings` or `sequence` (logits at each position).
    """

    name: ClassVar[str] = "qat"
    needs: ClassVar[Data] = "training"
    keeps_function: ClassVar[bool] = False

    weight_bits: Literal[8, 4] = 8
    runtime: str = DEFAULT_FORMAT
    learned_ranges: bool = True
    epochs: int = 0
    learning_rate: float = 0.001
    optimizer: Optimizer = "adamw"
    teacher_share: float = 0.5
    temperature: float = 2.0
    outputs: Outputs = "logits"

    def why_not(self, model: CapturedModel, task: Task, profile: DeviceProfile) -> str | None:
        """Returns why it cannot be used, or None if it can."""
        if model.family == "rnn":
            return "a recurrent model's captured graph cannot be trained in batches"
        if not 0 <= self.teacher_share <= 1:
            return f"teacher_share={self.teacher_share:g}; expected 0 to 1"
        if reason := why_not_simulated(self.runtime, "pt2"):
            return reason
        options = profile.options.get(self.runtime, {})
        if not options.get("per_channel", True) or options.get("symmetric_activations", False):
            return f"{profile.name} wants other grids than this trains with: a scale a channel, affine activations"
        if task.calibration is None:
            return "its ranges start from calibration data and the task has none; give [data] calibration"
        return None

    def estimate(self, analysis: Analysis) -> Estimate:
        """Returns the time; weights and cost stay."""
        return Estimate(
            parameters=analysis.parameters,
            macs=analysis.macs,
            seconds=4 * max(1, self.epochs) * TYPICAL_SAMPLES * analysis.macs * _SECONDS_PER_MAC,
            effect="Integers that were trained as integers lose less than rounded ones.",
        )

    def apply(self, model: TorchModel, context: Context) -> TorchModel:
        """Returns the model with its weights on their grids, and its learned ranges.

        Raises:
            TechniqueError: nothing of it can be rounded, or it cannot be trained in batches.
            DataError: calibration or training data does not fit.
        """
        from edgekit.techniques.rounded_training import train_rounded

        return train_rounded(self, model, context)
