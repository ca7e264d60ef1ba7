"""Trains low-rank updates of the weights alone, then adds them to the weights.

W' = W + (a / r) * B A with B (outputs, r) and A (r, inputs), B starting at 0 (Hu et al., "LoRA: Low-Rank Adaptation of
Large Language Models", 2021, section 4.1). Few numbers are trained, so a large model recovers from pruning or from
4-bit weights with little memory and little data, and cannot forget much. The update is merged: the graph stays.

After 4-bit rounding, the update is trained against the rounding: W' is rounded again in every step, so what is merged
still lies where the rounding leaves it (`bits=4`, groups along the inputs as recipes have them).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, final

from edgekit.analysis.graph import Analysis
from edgekit.errors import TechniqueError
from edgekit.model import CapturedModel
from edgekit.profiles.profile import DeviceProfile
from edgekit.task.task import Task
from edgekit.techniques.base import TYPICAL_SAMPLES, Context, Data, Estimate, Technique, TorchModel
from edgekit.training.imitation import Outputs

if TYPE_CHECKING:
    from torch import Tensor

_SECONDS_PER_MAC: Final = 5e-9


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LoraRecovery(Technique):
    """Recovers accuracy by low-rank updates that are merged into the weights.

    Attributes:
        rank: Rank of the updates.
        alpha: Weight of the update is alpha / rank.
        bits: 16 trains float weights; 4 rounds them to 4 bits in each step, in groups.
        group_size: Neighbouring inputs that share a scale with 4 bits.
        epochs: 0 for as many as the task names.
        learning_rate: The highest one, of AdamW.
        teacher: `file.py:function` that returns the network before it was pruned or rounded; `none` learns from your
            loss alone.
        teacher_share: Weight of imitating that network.
        outputs: What is imitated: `logits`, `embeddings` or `sequence` (logits at each position).
    """

    name: ClassVar[str] = "lora_recovery"
    needs: ClassVar[Data] = "training"
    keeps_function: ClassVar[bool] = False

    rank: int = 8
    alpha: float = 16.0
    bits: Literal[16, 4] = 16
    group_size: int = 32
    epochs: int = 0
    learning_rate: float = 1e-3
    teacher: str = "none"
    teacher_share: float = 0.5
    outputs: Outputs = "logits"

    def why_not(self, model: CapturedModel, task: Task, profile: DeviceProfile) -> str | None:
        """Returns why it cannot be used, or None if it can."""
        del task, profile
        if model.family == "rnn":
            return "a recurrent model's captured graph cannot be trained in batches"
        if self.rank < 1 or self.alpha <= 0 or self.group_size < 1:
            return (
                f"rank={self.rank}, alpha={self.alpha:g} and group_size={self.group_size}: expected at least 1, more "
                "than 0, and at least 1"
            )
        return None

    def estimate(self, analysis: Analysis) -> Estimate:
        """Returns the time; weights and cost stay."""
        return Estimate(
            parameters=analysis.parameters,
            macs=analysis.macs,
            seconds=3 * max(1, self.epochs) * TYPICAL_SAMPLES * analysis.macs * _SECONDS_PER_MAC,
            effect="Wins back accuracy after pruning or rounding with few trained numbers.",
        )

    def apply(self, model: TorchModel, context: Context) -> TorchModel:
        """Returns the model with the trained updates merged.

        Raises:
            TechniqueError: it has no layer with a matrix to update, or cannot be trained in batches.
        """
        from edgekit.techniques.program_editing import open_graph, with_tensors
        from edgekit.techniques.recovery import frozen_graph, recover, schedule_of, trainable_graph
        from edgekit.techniques.user_network import capture_user_network
        from edgekit.training.low_rank_update import insert_updates

        graph_module = trainable_graph(model, open_graph(model), self.name)
        for parameter in graph_module.parameters():
            parameter.requires_grad_(False)
        group = self.group_size if self.bits == 4 else None
        updates = insert_updates(graph_module, self.rank, self.alpha, group, context.seed)
        if not updates:
            raise TechniqueError(
                f"lora_recovery cannot be used on {model.facts.source}: it has no linear layer and no convolution with "
                f"constant weights of more than rank={self.rank} inputs and outputs."
            )
        guide = None
        if self.teacher != "none":
            guide = frozen_graph(capture_user_network(model, self.teacher, context, {}))
        schedule = schedule_of(
            context, epochs=self.epochs, learning_rate=self.learning_rate, optimizer="adamw", weight_decay=0.0
        )
        recover(
            graph_module,
            context,
            schedule,
            name=self.name,
            run="updates",
            teacher=guide,
            teacher_share=self.teacher_share,
            outputs=self.outputs,
        )
        merged: dict[str, Tensor] = {}
        for name, where in updates.items():
            update: Any = graph_module.get_submodule(where)
            merged[name] = update.merged(graph_module.get_parameter(name))
        return with_tensors(model, merged)
