"""Trains a captured graph with rounding inside. Runs in a worker that has torch; see `qat`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, cast, final

from edgekit.errors import DataError, TechniqueError
from edgekit.model import LearnedRange
from edgekit.quantization.pt2e_graph import FloatGraph, read_float_graph, results_of, target_of
from edgekit.quantization.pt2e_plan import (
    LINEAR,
    TRANSPOSED_CONVOLUTIONS,
    QuantizationPlan,
    parted_grids,
    plan_quantization,
)
from edgekit.quantization.pt2e_quantization import tensor_grids
from edgekit.quantization.pt2e_ranges import calibrate
from edgekit.quantization.ranges import Grid, Range
from edgekit.quantization.statistics import TensorStatistics
from edgekit.recipe import Recipe
from edgekit.samples import Samples
from edgekit.simulation.realisation import realisation_of
from edgekit.techniques.base import Context, TorchModel
from edgekit.techniques.program_editing import with_tensors
from edgekit.techniques.recovery import frozen_graph, recover, schedule_of, trainable_graph
from edgekit.techniques.training_settings import TrainingSettings

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from torch.fx import GraphModule

    from edgekit.training.fake_quantization import FakeActivation, FakeWeight

_RECIPE: Final = Recipe(default="int8_static")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Rounded:
    """A graph with rounding in it.

    Attributes:
        module: torch.fx.GraphModule whose rounding is made of submodules.
        weights: Name of a weight to the submodule that rounds it.
        activations: Group of tensors to the submodule that rounds them.
        plan: Which tensors are rounded.
    """

    module: GraphModule
    weights: Mapping[str, str]
    activations: Mapping[str, str]
    plan: QuantizationPlan

    def ranges(self) -> dict[str, Range]:
        """Returns the range of each rounded tensor, by node name."""
        found: dict[str, Range] = {}
        for name, group in self.plan.group_of.items():
            if group in self.activations:
                rounds = cast("FakeActivation", self.module.get_submodule(self.activations[group]))
                scale = rounds.scale()
                found[name] = Range(low=scale * rounds.low, high=scale * rounds.high)
        return found


class QatSettings(TrainingSettings, Protocol):
    """The settings of `qat.Qat` that training reads."""

    @property
    def weight_bits(self) -> Literal[8, 4]:
        """Bits of a weight."""
        ...

    @property
    def runtime(self) -> str:
        """Runtime whose kernels decide what is fused."""
        ...

    @property
    def learned_ranges(self) -> bool:
        """Whether the steps of activations are learned."""
        ...


def train_rounded(technique: QatSettings, model: TorchModel, context: Context) -> TorchModel:
    """Returns the model after training; see `qat.Qat.apply`."""
    samples = context.samples
    if samples is None:
        raise DataError(
            "qat starts from ranges on calibration data and the task names none. Give [data] calibration in "
            "edgekit.toml: a function, an .npz file or a folder of images."
        )
    graph = float_graph(model)
    trainable_graph(model, graph.module, technique.name)  # before the rounding hides which tensors are weights
    context.progress("finding ranges to start from", None)
    rounded = insert_rounding(technique, model, graph, samples, context)
    teacher = frozen_graph(model) if technique.teacher_share else None
    schedule = schedule_of(
        context,
        epochs=technique.epochs,
        learning_rate=technique.learning_rate,
        optimizer=technique.optimizer,
        weight_decay=0.0,  # decay would move weights off their grid again and again
        relative=True,
    )
    recover(
        rounded.module,
        context,
        schedule,
        name=technique.name,
        run="rounded",
        teacher=teacher,
        teacher_share=technique.teacher_share,
        temperature=technique.temperature,
        outputs=technique.outputs,
    )
    changed = with_tensors(model, baked_weights(model, rounded))
    context.progress("looking at the trained ranges", None)
    found = learned_ranges(changed, rounded.ranges(), samples)
    return replace(changed, facts=replace(changed.facts, learned_ranges=found))


def float_graph(model: TorchModel) -> FloatGraph:
    """Returns the simplified graph that converters plan their grids on, of a program that need not be on disk."""
    import torch

    with tempfile.TemporaryDirectory(prefix="edgekit-qat-") as folder:
        path = Path(folder) / "float.pt2"
        torch.export.save(model.program, str(path))
        return read_float_graph(replace(model.facts, path=path, learned_ranges=()))


def insert_rounding(
    technique: QatSettings, model: TorchModel, graph: FloatGraph, samples: Samples, context: Context
) -> Rounded:
    """Writes rounding into a simplified float graph, in place, and returns it.

    Raises:
        TechniqueError: no layer of it would be integers.
    """
    from edgekit.training.fake_quantization import FakeActivation, FakeWeight

    plan, grids = planned_grids(graph, technique.runtime, samples, context)
    nodes = {node.name: node for node in graph.module.graph.nodes}
    weighted = [nodes[name] for name in plan.weighted if name in plan.integer]
    if not weighted:
        raise TechniqueError(
            f"qat cannot be used on {model.facts.source}: no layer of it has integer kernels with fixed ranges."
        )
    weights: dict[str, str] = {}
    for node in weighted:
        source = node.args[1]
        axis = 1 if target_of(node) in TRANSPOSED_CONVOLUTIONS else 0
        weight = _tensor(graph.module, source.target)
        bits = technique.weight_bits
        name = _add(graph.module, f"round_{source.name}", FakeWeight(weight, axis, bits))
        weights[source.target] = name
        with graph.module.graph.inserting_before(node):
            node.update_arg(1, graph.module.graph.call_module(name, (source,)))
    activations: dict[str, str] = {}
    readers = plan.integer | plan.transparent
    for name, grid in grids.items():
        group = plan.group_of[name]
        if group not in activations:
            rounds = FakeActivation(grid.scale, grid.zero_point, learned=technique.learned_ranges)
            activations[group] = _add(graph.module, f"round_{group}_values", rounds)
        node = nodes[name]
        # What an integer operator makes is integers for all; a float value is rounded for integer readers alone.
        users = [user for user in node.users if name in plan.integer or user.name in readers]
        with graph.module.graph.inserting_after(node):
            made = graph.module.graph.call_module(activations[group], (node,))
            made.meta = dict(node.meta)
        for user in users:
            user.replace_input_with(node, made)
    graph.module.graph.lint()
    graph.module.recompile()
    return Rounded(module=graph.module, weights=weights, activations=activations, plan=plan)


def planned_grids(
    graph: FloatGraph, runtime: str, samples: Samples, context: Context
) -> tuple[QuantizationPlan, dict[str, Grid]]:
    """Returns which tensors static INT8 rounds in a runtime, and the grid of each that its converter writes."""
    realisation = realisation_of(runtime)
    plan = plan_quantization(graph.module, _RECIPE, realisation.fusion)
    ranges = calibrate(graph, plan.ranged, {}, samples, _RECIPE.ranges, context.progress).ranges
    plan = parted_grids(plan, ranges)
    grids = dict(tensor_grids(plan, ranges, symmetric=False))
    if realisation.float_results:
        for node in results_of(graph.module):
            if target_of(node) == LINEAR:
                grids.pop(node.name, None)
    return plan, grids


def baked_weights(model: TorchModel, rounded: Rounded) -> dict[str, Tensor]:
    """Returns the trained weights and biases by name, weights on their grids."""
    known = {**model.program.state_dict, **model.program.constants}
    found: dict[str, Tensor] = {}
    for name, tensor in rounded.module.state_dict().items():
        if name in known and name not in rounded.weights:
            found[name] = tensor.detach()
    for name, module in rounded.weights.items():
        fake = cast("FakeWeight", rounded.module.get_submodule(module))
        found[name] = fake.bake(_tensor(rounded.module, name).detach())
    return found


def learned_ranges(model: TorchModel, wanted: Mapping[str, Range], samples: Samples) -> tuple[LearnedRange, ...]:
    """Returns the trained ranges with what their tensors are known by: extremes and mean in the float model.

    Args:
        model: With the weights that converters will see.
        wanted: The ranges, by node of the simplified float graph.
        samples: The calibration samples, all of which converters run too.
    """
    import torch

    graph = float_graph(model)
    statistics = {name: TensorStatistics(name) for name in wanted}

    class Observer(torch.fx.Interpreter):  # type: ignore[misc]  # torch is Any here
        def run_node(self, n: torch.fx.Node) -> Any:
            value = super().run_node(n)
            if n.name in statistics:
                statistics[n.name].update(value.detach().numpy())
            return value

    observer = Observer(graph.module)
    dtypes = [node.meta["val"].dtype for node in graph.module.graph.nodes if node.op == "placeholder"]
    with torch.no_grad():
        for row in samples.rows():
            observer.run(*(torch.from_numpy(array.copy()).to(dtype) for array, dtype in zip(row, dtypes, strict=True)))
    return tuple(
        LearnedRange(
            minimum=statistics[name].minimum,
            maximum=statistics[name].maximum,
            mean=statistics[name].mean,
            low=found.low,
            high=found.high,
        )
        for name, found in wanted.items()
    )


def _tensor(module: GraphModule, name: str) -> Tensor:
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _add(module: GraphModule, name: str, rounds: nn.Module) -> str:
    module.add_submodule(name, rounds)
    return name
