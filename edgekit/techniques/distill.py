"""Trains a smaller network, the student, to do what the model does.

Offline, the model is the teacher: loss = (1 - a) * yours + a * T^2 * KL(teacher / T || student / T) (Hinton, Vinyals,
Dean, "Distilling the Knowledge in a Neural Network", 2015, section 2), and features of like resolution may be imitated
too (Romero et al., "FitNets", 2015). Where the student is more than 4 times smaller, networks in between are taught
first, each the teacher of the next (Mirzadeh et al., "Improved Knowledge Distillation via Teacher Assistant", 2020,
section 4.1): a student learns little from a teacher that is far beyond it.

Online, two students of the same kind learn from each other and from your loss, without a teacher: loss_1 = yours +
KL(p_2 || p_1), loss_2 = yours + KL(p_1 || p_2) (Zhang et al., "Deep Mutual Learning", 2018, eq. 6 and 7).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Final, Literal, final

from edgekit.analysis.graph import Analysis
from edgekit.errors import TechniqueError
from edgekit.model import CapturedModel
from edgekit.profiles.profile import DeviceProfile
from edgekit.task.task import Task
from edgekit.techniques.base import TYPICAL_SAMPLES, Context, Data, Estimate, Technique, TorchModel
from edgekit.techniques.distillation import SELF
from edgekit.training.imitation import Outputs
from edgekit.training.schedule import Optimizer

_SECONDS_PER_MAC: Final = 5e-9
_FAR: Final = 4.0
"""Times smaller from which on a network in between helps."""

PRUNED: Final = "pruned"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Distill(Technique):
    """Trains a smaller network in the model's place.

    Attributes:
        student: `file.py:function` that builds it; `pruned` makes it of the model by taking channels out; `self` trains
            the model itself on.
        width: Passed to the function as `width`, 0 for not at all.
        depth: Passed to the function as `depth`, 0 for not at all.
        ratio: Multiply-accumulates of a `pruned` student over the model's.
        mode: `offline` learns from the model, `online` from a second student that learns at the same time.
        teacher_share: Weight of the imitation against your loss, 0 to 1.
        temperature: Temperature of soft targets.
        outputs: `logits`, `embeddings` or `sequence` (logits at each position).
        feature_share: Weight of features inside, 0 for none.
        teacher_width: The model's own `width`: lets a student that is more than 4 times smaller be taught by networks
            of widths in between. 0 teaches it directly.
        epochs: 0 for as many as the task names; networks in between get as many.
        learning_rate: The highest one.
        optimizer: `sgd` or `adamw`.
    """

    name: ClassVar[str] = "distill"
    needs: ClassVar[Data] = "training"
    keeps_function: ClassVar[bool] = False

    student: str = PRUNED
    width: float = 0.0
    depth: int = 0
    ratio: float = 0.25
    mode: Literal["offline", "online"] = "offline"
    teacher_share: float = 0.9
    temperature: float = 4.0
    outputs: Outputs = "logits"
    feature_share: float = 0.0
    teacher_width: float = 0.0
    epochs: int = 0
    learning_rate: float = 0.02
    optimizer: Optimizer = "sgd"

    def why_not(self, model: CapturedModel, task: Task, profile: DeviceProfile) -> str | None:
        """Returns why it cannot be used, or None if it can."""
        del task, profile
        if self.student not in (SELF, PRUNED) and ":" not in self.student:
            return f'student="{self.student}"; expected file.py:function, pruned or self'
        if model.family == "rnn" and self.student in (SELF, PRUNED):
            return "a recurrent model's captured graph cannot be trained in batches; give student=file.py:function"
        if not 0 < self.ratio < 1 or not 0 <= self.teacher_share <= 1 or self.temperature <= 0:
            return (
                f"ratio={self.ratio:g}, teacher_share={self.teacher_share:g} and temperature={self.temperature:g}: "
                "expected between 0 and 1, 0 to 1, and more than 0"
            )
        if self.mode == "online" and ":" not in self.student:
            return "mode=online needs student=file.py:function: two students must be made that differ"
        return None

    def estimate(self, analysis: Analysis) -> Estimate:
        """Returns what a pruned student would be; of a function's student the graph says nothing."""
        share = self.ratio if self.student == PRUNED else 1.0
        return Estimate(
            parameters=round(analysis.parameters * share),
            macs=round(analysis.macs * share),
            seconds=(1 + 3 * share) * max(1, self.epochs) * TYPICAL_SAMPLES * analysis.macs * _SECONDS_PER_MAC,
            effect="A smaller network that has learned from this one.",
        )

    def apply(self, model: TorchModel, context: Context) -> TorchModel:
        """Returns the trained student.

        Raises:
            TechniqueError: the student does not fit the model's inputs and outputs, or is no smaller.
        """
        teacher = model
        widths = self._widths(model, context)
        for index, width in enumerate(widths):
            taught = replace(self, width=width)
            teacher = taught._teach(model, teacher, context, f"student-{index}")  # noqa: SLF001  its own class
        return teacher

    def _widths(self, model: TorchModel, context: Context) -> list[float]:
        """Returns the widths of the networks in between, and the student's own last."""
        if ":" not in self.student:
            return [self.width]
        from edgekit.techniques.user_network import build_user_network

        small = sum(p.numel() for p in build_user_network(self.student, context, self.arguments()).parameters())
        large = sum(p.numel() for p in model.program.parameters())
        if small >= large:
            raise TechniqueError(
                f"distill: {self.student} has {small:,} weights and its teacher {model.facts.source} {large:,}. A "
                "student must be smaller: give a smaller width or depth."
            )
        if not self.teacher_width or self.mode == "online" or large / small <= _FAR:
            return [self.width]
        between = (self.width * self.teacher_width) ** 0.5  # geometric: each step shrinks by the same factor
        middle = float(round(between)) if float(self.width).is_integer() else between
        return [middle, self.width] if self.width < middle < self.teacher_width else [self.width]

    def arguments(self) -> Mapping[str, float | int]:
        """Returns what the student's function is called with."""
        width = int(self.width) if float(self.width).is_integer() else self.width
        given = {"width": width, "depth": self.depth}
        return {name: value for name, value in given.items() if value}

    def _teach(self, model: TorchModel, teacher: TorchModel, context: Context, run: str) -> TorchModel:
        from edgekit.techniques.distillation import teach

        if self.student == PRUNED:
            return self._teach_pruned(teacher, context)
        return teach(self, model, teacher, context, run)

    def _teach_pruned(self, teacher: TorchModel, context: Context) -> TorchModel:
        """Returns the model with fewer channels; beyond 4 times, what is left after each step teaches the next one."""
        from edgekit.techniques.prune_channels import PruneChannels

        steps = 2 if 1 / self.ratio > _FAR else 1
        for step in range(steps):
            pruning = PruneChannels(
                ratio=self.ratio ** (1 / steps),
                epochs=self.epochs,
                learning_rate=self.learning_rate,
                optimizer=self.optimizer,
                teacher_share=self.teacher_share,
                temperature=self.temperature,
                outputs=self.outputs,
            )
            kept = context.checkpoints / f"pruned-{step}" if context.checkpoints is not None else None
            teacher = pruning.apply(teacher, replace(context, checkpoints=kept))
        return teacher
