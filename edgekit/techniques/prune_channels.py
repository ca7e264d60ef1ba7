"""Removes whole channels, so that dense hardware gains: fewer multiply-accumulates, a smaller file, less memory.

Channels that depend on each other leave together (`dependency_groups`: Fang et al., "DepGraph: Towards Any Structural
Pruning", 2023). What a channel is worth is estimated by `channel_importance` (Molchanov et al., 2019; Li et al., 2017).
Channels leave in steps with training in between (Han et al., "Learning both Weights and Connections", 2015): what is
left makes up for what has gone, and the next step judges what has become of it.

With `rewind`, what is left starts again from the values that the network had early in its training, and is trained from
there ("lottery ticket": Frankle & Carbin, 2019, section 1; rewound to an early step and not to the start: Frankle et
al., "Linear Mode Connectivity and the Lottery Ticket Hypothesis", 2020, section 3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, ClassVar, Final, Literal, final

from edgekit.analysis.graph import Analysis
from edgekit.errors import TechniqueError
from edgekit.model import CapturedModel
from edgekit.profiles.profile import DeviceProfile
from edgekit.registry import DEFAULT_FORMAT
from edgekit.task.task import Task
from edgekit.techniques.base import TYPICAL_SAMPLES, Context, Data, Estimate, Technique, TorchModel
from edgekit.training.imitation import Outputs
from edgekit.training.schedule import Optimizer

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule

    from edgekit.techniques.dependency_groups import Dependencies

_SECONDS_PER_MAC: Final = 5e-9
_TAYLOR_BATCHES: Final = 16
_TRIES: Final = 24  # halvings of the choice: far finer than one channel
_LATENCY_TRIES: Final = 6  # each one captures the network anew


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PruneChannels(Technique):
    """Removes the least important channels until a target is met, and trains what is left.

    Attributes:
        ratio: Cost afterwards over cost before.
        target: Which cost: `macs`, `size` (number of weights) or `latency` (predicted for `device` and `runtime`).
        importance: What tells the worth of a channel.
        scope: `global` ranks all channels together, `layer` takes the same share of each group.
        multiple: Numbers of channels are multiples of it, because kernels compute so many at a time.
        least: Share of its channels that each group keeps at least.
        steps: In how many steps channels leave.
        step_epochs: Epochs of training after each step but the last.
        epochs: Epochs after the last one; 0 for as many as the task names.
        learning_rate: The highest one.
        optimizer: `sgd` or `adamw`.
        teacher_share: Weight of imitating the unpruned model while training; 0 for none.
        temperature: Temperature of soft targets while imitating.
        outputs: What is imitated: `logits`, `embeddings` or `sequence` (logits at each position).
        rewind: `file.py:function` that returns the network as it was early in its training; `none` goes on from now.
        device: Device of the target `latency`.
        runtime: Runtime of the target `latency`.
    """

    name: ClassVar[str] = "prune_channels"
    needs: ClassVar[Data] = "training"
    keeps_function: ClassVar[bool] = False

    ratio: float = 0.5
    target: Literal["macs", "size", "latency"] = "macs"
    importance: Literal["taylor", "l1", "l2", "random"] = "taylor"
    scope: Literal["global", "layer"] = "global"
    multiple: int = 8
    least: float = 0.125
    steps: int = 1
    step_epochs: int = 1
    epochs: int = 0
    learning_rate: float = 0.01
    optimizer: Optimizer = "sgd"
    teacher_share: float = 0.5
    temperature: float = 2.0
    outputs: Outputs = "logits"
    rewind: str = "none"
    device: str = "none"
    runtime: str = DEFAULT_FORMAT

    def why_not(self, model: CapturedModel, task: Task, profile: DeviceProfile) -> str | None:
        """Returns why it cannot be used, or None if it can."""
        del task, profile
        if model.family == "rnn":
            return "it removes channels of convolutions and linear layers, and this model is recurrent"
        if not 0 < self.ratio < 1:
            return f"ratio={self.ratio:g}; expected more than 0 and less than 1"
        if self.multiple < 1 or self.steps < 1 or not 0 <= self.least <= 1 or not 0 <= self.teacher_share <= 1:
            return (
                f"multiple={self.multiple}, steps={self.steps}, least={self.least:g} and teacher_share="
                f"{self.teacher_share:g}: expected at least 1, at least 1, and 0 to 1 twice"
            )
        if self.target == "latency" and self.device == "none":
            return "target=latency needs device=NAME: a latency is a device's"
        return None

    def estimate(self, analysis: Analysis) -> Estimate:
        """Returns what the target says; cost and size fall about alike where channels leave everywhere."""
        epochs = (self.epochs or 1) + (self.steps - 1) * self.step_epochs
        return Estimate(
            parameters=round(analysis.parameters * self.ratio),
            macs=round(analysis.macs * self.ratio),
            seconds=3 * epochs * TYPICAL_SAMPLES * analysis.macs * self.ratio * _SECONDS_PER_MAC,
            effect="Fewer channels: smaller and faster on any hardware, without special kernels.",
        )

    def apply(self, model: TorchModel, context: Context) -> TorchModel:
        """Returns the model with fewer channels, trained.

        Raises:
            TechniqueError: no channel can be removed, the target cannot be met, or training fails.
        """
        from edgekit.techniques.recovery import frozen_graph

        teacher = frozen_graph(model) if self.teacher_share else None
        early = self._early(model, context) if self.rewind != "none" else None
        reached = model
        full = self._cost(model, context)
        for step in range(1, self.steps + 1):
            # The same share leaves in every step, so that no step hurts more than the others.
            limit = full * self.ratio ** (step / self.steps)
            context.progress(f"choosing channels, step {step} of {self.steps}", None)
            reached, early = self._remove(reached, early, limit, context)
            epochs = self.epochs if step == self.steps else self.step_epochs
            start = early if early is not None and step == self.steps else reached
            reached = self._train(start, context, teacher, epochs, f"step-{step}")
        return reached

    def _remove(
        self, model: TorchModel, early: TorchModel | None, limit: float, context: Context
    ) -> tuple[TorchModel, TorchModel | None]:
        """Returns the model without its least important channels, and its early self without the same ones."""
        from edgekit.techniques.channel_choice import choose_counts, cost_of, strongest
        from edgekit.techniques.dependency_groups import Dependencies
        from edgekit.techniques.program_editing import open_graph

        graph_module = open_graph(model)
        dependencies = Dependencies(graph_module)
        groups = {index: group.channels for index, group in dependencies.free().items() if group.channels > 1}
        if not groups:
            raise TechniqueError(
                f"prune_channels cannot be used on {model.facts.source}: every channel of it is an output, or passes "
                "an operator that mixes channels, so none can be removed by itself."
            )
        importance = {index: values for index, values in self._importance(model, context).items() if index in groups}

        def cost(counts: Mapping[int, int]) -> float:
            if self.target == "latency":
                return self._cost(_without(model, dependencies, strongest(importance, counts)), context)
            found = cost_of(graph_module, dependencies, counts)
            return found.macs if self.target == "macs" else found.parameters

        counts = choose_counts(
            importance,
            groups,
            cost,
            limit,
            scope=self.scope,
            multiple=self.multiple,
            least=self.least,
            tries=_LATENCY_TRIES if self.target == "latency" else _TRIES,
        )
        if cost(counts) > limit:
            raise TechniqueError(
                f"prune_channels cannot bring {model.facts.source} to {self.ratio:g} of its {self.target}: with "
                f"least={self.least:g} and multiple={self.multiple} it is {cost(counts) / limit * self.ratio:.2f} at "
                "best. Lower them, or ask for less."
            )
        kept = strongest(importance, counts)
        return _without(model, dependencies, kept), None if early is None else _without(early, dependencies, kept)

    def _importance(self, model: TorchModel, context: Context) -> dict[int, Tensor]:
        import torch

        from edgekit.techniques.channel_choice import normalised
        from edgekit.techniques.channel_importance import magnitudes, taylor
        from edgekit.techniques.dependency_groups import Dependencies
        from edgekit.techniques.program_editing import open_graph
        from edgekit.techniques.recovery import trainable_graph

        graph_module = open_graph(model)
        dependencies = Dependencies(graph_module)
        if self.importance == "taylor":
            data = context.training_data()
            trainable_graph(model, graph_module, self.name)
            batches = islice(data.epoch(0, context.seed), _TAYLOR_BATCHES)
            return taylor(graph_module, dependencies, data, batches)
        if self.importance == "random":
            generator = torch.Generator().manual_seed(context.seed)
            return {
                index: torch.rand(group.channels, generator=generator, dtype=torch.float64)
                for index, group in dependencies.free().items()
            }
        return normalised(magnitudes(graph_module, dependencies, 1 if self.importance == "l1" else 2))

    def _train(
        self, model: TorchModel, context: Context, teacher: GraphModule | None, epochs: int, run: str
    ) -> TorchModel:
        from edgekit.techniques.program_editing import capture_graph, open_graph
        from edgekit.techniques.recovery import normalized_graph, recover, schedule_of, settled

        if not epochs and not context.training_data().epochs:
            return model
        graph_module = normalized_graph(model, open_graph(model), context, self.name)
        schedule = schedule_of(context, epochs=epochs, learning_rate=self.learning_rate, optimizer=self.optimizer)
        recover(
            graph_module,
            context,
            schedule,
            name=self.name,
            run=run,
            teacher=teacher,
            teacher_share=self.teacher_share,
            temperature=self.temperature,
            outputs=self.outputs,
        )
        return capture_graph(model, settled(graph_module))

    def _cost(self, model: TorchModel, context: Context) -> float:
        """Returns the cost of a model in the target's unit."""
        from edgekit.techniques.channel_choice import cost_of
        from edgekit.techniques.dependency_groups import Dependencies
        from edgekit.techniques.program_editing import open_graph

        if self.target == "latency":
            from edgekit.techniques.predicted_latency import predicted_latency

            return predicted_latency(model, self.device, self.runtime, context)
        graph_module = open_graph(model)
        found = cost_of(graph_module, Dependencies(graph_module), {})
        return found.macs if self.target == "macs" else found.parameters

    def _early(self, model: TorchModel, context: Context) -> TorchModel:
        """Returns the network as it was early in its training, captured.

        Raises:
            TechniqueError: it is not the same network.
        """
        from edgekit.techniques.user_network import capture_user_network, same_graph

        early = capture_user_network(model, self.rewind, context, {})
        if not same_graph(model.program, early.program):
            raise TechniqueError(
                f"prune_channels: rewind={self.rewind} returned another network than {model.facts.source}; expected "
                "the same layers with the values that they had early in training."
            )
        return early


def _without(model: TorchModel, dependencies: Dependencies, kept: Mapping[int, Tensor]) -> TorchModel:
    """Returns a model, which has the graph that the groups were found in, without some channels."""
    from edgekit.techniques.channel_removal import remove_channels
    from edgekit.techniques.program_editing import capture_graph, open_graph

    graph_module = open_graph(model)
    remove_channels(graph_module, dependencies, kept)
    return capture_graph(model, graph_module)
