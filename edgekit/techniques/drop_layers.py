"""Leaves out those layers of a transformer without which its outputs change least.

A layer is dropped by letting what reads its output read its input instead (Sajjad et al., "On the Effect of Dropping
Layers of Pre-trained Transformer Models", 2020; Fan et al., "Reducing Transformer Depth on Demand", 2019). Which one is
measured: each is left out by itself, and the one that changes the outputs least on calibration samples goes. Then the
others are measured again without it, as they may have to make up for each other. The model gets smaller and faster on
any hardware, about in proportion, and loses accuracy at once; training that recovers some of it is another technique.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Final, Literal, final

from edgekit.analysis.graph import Analysis
from edgekit.errors import TechniqueError
from edgekit.model import CapturedModel
from edgekit.profiles.profile import DeviceProfile
from edgekit.task.task import Task
from edgekit.techniques.base import Context, Data, Estimate, Technique, TorchModel

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import GraphModule

    from edgekit.techniques.output_error import OutputError
    from edgekit.techniques.transformer_blocks import Part

_PROBES: Final = 16  # samples; a layer's importance is an average over all values of their outputs
_SECONDS_PER_MAC: Final = 5e-11  # one forward pass, one core
_TYPICAL_LAYERS: Final = 12


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DropLayers(Technique):
    """Leaves out layers of a transformer, or single residual blocks.

    Attributes:
        count: How many.
        unit: A whole layer (attention and what follows it), or one residual block.
    """

    name: ClassVar[str] = "drop_layers"
    needs: ClassVar[Data] = "calibration"
    keeps_function: ClassVar[bool] = False

    count: int = 1
    unit: Literal["layer", "block"] = "layer"

    def why_not(self, model: CapturedModel, task: Task, profile: DeviceProfile) -> str | None:
        """Returns why it cannot be used, or None if it can."""
        del task, profile
        if model.family not in ("transformer", "mixed"):
            return "it leaves out layers of a transformer, and this model has no attention"
        return None if self.count >= 1 else f"count={self.count}; expected at least 1"

    def estimate(self, analysis: Analysis) -> Estimate:
        """Returns size and cost where every layer is alike and there are as many as there are attentions."""
        products = sum(operator.kernel == "attention_matmul" for operator in analysis.operators)
        layers = max(1, products // 2)  # scores and values are a product each
        share = min(self.count, layers) / layers * (1.0 if self.unit == "layer" else 0.5)
        weights = sum(
            analysis.weights[operator.weights[0]].count
            for operator in analysis.operators
            if operator.kernel == "linear" and operator.weights
        )
        return Estimate(
            parameters=analysis.parameters - int(share * weights),
            macs=analysis.macs - int(share * analysis.macs),
            seconds=self.count * _TYPICAL_LAYERS * _PROBES * analysis.macs * _SECONDS_PER_MAC + 1,
            effect="Fewer layers: smaller and faster on any hardware, at a loss that only training can recover.",
        )

    def apply(self, model: TorchModel, context: Context) -> TorchModel:
        """Returns the model with fewer layers.

        Raises:
            TechniqueError: it has no residual blocks with attention, or not more than are to be left out.
        """
        from edgekit.techniques.output_error import OutputError
        from edgekit.techniques.program_editing import capture_graph, open_graph, spread_rows
        from edgekit.techniques.transformer_blocks import find_parts

        graph = open_graph(model)
        total = len(find_parts(graph, self.unit))
        if total <= self.count:
            raise TechniqueError(
                f"drop_layers cannot leave out {self.count} of {model.facts.source}: it has {total} {self.unit}s "
                "around residual additions, and at least one has to stay."
            )
        error = OutputError(graph, spread_rows(model, context.calibration(), _PROBES))
        for dropped in range(self.count):
            parts = find_parts(graph, self.unit)
            errors: list[float] = []
            for i, part in enumerate(parts):
                context.progress(f"leaving out {part.title}", (dropped + i / len(parts)) / self.count)
                errors.append(_error_without(graph, part, error))
            _leave_out(graph, parts[errors.index(min(errors))])
            # Torch's fused attention counts as random, as it can drop values: it would stay with nobody to read it.
            graph.graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output"))
        changed = capture_graph(model, graph)
        saved = _stored(model.program) - _stored(changed.program)
        return replace(changed, facts=replace(model.facts, parameters=model.facts.parameters - saved))


def _error_without(graph: GraphModule, part: Part, error: OutputError) -> float:
    """Returns the outputs' error without a part, and puts it back."""
    readers = [(reader, reader.args, reader.kwargs) for reader in part.end.users]
    _leave_out(graph, part)
    found = float(error.of(graph))
    for reader, arguments, keywords in readers:
        reader.args, reader.kwargs = tuple(arguments), dict(keywords)
    graph.recompile()
    return found


def _leave_out(graph: GraphModule, part: Part) -> None:
    """Lets what reads the end of a part read its start."""
    part.end.replace_all_uses_with(part.start)
    graph.recompile()


def _stored(program: ExportedProgram) -> int:
    return sum(int(tensor.numel()) for tensor in program.state_dict.values())
