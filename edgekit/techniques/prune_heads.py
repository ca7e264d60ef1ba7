"""Cuts out those attention heads without which a transformer's outputs change least.

A head's importance is the change of the model's outputs on calibration samples when that head alone puts out nothing
(Michel et al., "Are Sixteen Heads Really Better than One?", 2019, section 3). The least important go, in all layers
together or the same number in each; at least one stays in every layer. What the others put out is then fitted by least
squares to what the layer's output was, so that they make up for the lost ones as far as they can (the problem that
Kurtic et al., "ZipLM", 2023, solve for whole structures). Queries, keys, values and the output projection get thinner,
so the model is smaller and faster on any hardware.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Final, Literal, final

from edgekit.analysis.graph import Analysis, Operator
from edgekit.errors import TechniqueError
from edgekit.model import CapturedModel
from edgekit.profiles.profile import DeviceProfile
from edgekit.task.task import Task
from edgekit.techniques.base import Context, Data, Estimate, Technique, TorchModel
from edgekit.techniques.layer_walk import Layer, NewWeights
from edgekit.techniques.transformer_blocks import Attention
from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule

    from edgekit.techniques.output_error import OutputError

_PROBES: Final = 8  # samples; a head's importance is an average over all values of their outputs
_TYPICAL_HEADS: Final = 100
_SECONDS_PER_MAC: Final = 5e-11  # one forward pass, one core
_SECONDS_PER_REFIT_MAC: Final = 4e-8


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PruneHeads(Technique):
    """Cuts out attention heads.

    Attributes:
        share: Share of all heads that go.
        spread: `global` takes the least important of the whole model, `layer` the same number in each layer.
    """

    name: ClassVar[str] = "prune_heads"
    needs: ClassVar[Data] = "calibration"
    keeps_function: ClassVar[bool] = False

    share: float = 0.25
    spread: Literal["global", "layer"] = "global"

    def why_not(self, model: CapturedModel, task: Task, profile: DeviceProfile) -> str | None:
        """Returns why it cannot be used, or None if it can."""
        del task, profile
        if model.family not in ("transformer", "mixed"):
            return "it cuts out attention heads, and this model has no attention"
        return None if 0 < self.share < 1 else f"share={self.share:g}; expected more than 0 and less than 1"

    def estimate(self, analysis: Analysis) -> Estimate:
        """Returns size and cost where the attention's four layers are those that are as wide as they are high."""
        square = [
            operator
            for operator in analysis.operators
            if operator.kernel == "linear" and _is_square(analysis, operator)
        ]
        products = [operator for operator in analysis.operators if operator.kernel == "attention_matmul"]
        weights = sum(analysis.weights[operator.weights[0]].count for operator in square)
        return Estimate(
            parameters=analysis.parameters - int(self.share * weights),
            macs=analysis.macs - int(self.share * sum(operator.macs for operator in (*square, *products))),
            seconds=analysis.macs * (_TYPICAL_HEADS * _PROBES * _SECONDS_PER_MAC + _SECONDS_PER_REFIT_MAC) + 1,
            effect="Fewer attention heads: a somewhat smaller and faster model on any hardware.",
        )

    def apply(self, model: TorchModel, context: Context) -> TorchModel:
        """Returns the model with fewer heads.

        Raises:
            TechniqueError: no attention has heads that can be distinguished, or none can go.
        """
        from edgekit.techniques.program_editing import capture_graph, open_graph
        from edgekit.techniques.transformer_blocks import find_attentions

        graph = open_graph(model)
        attentions, reasons = find_attentions(graph)
        attentions = tuple(item for item in attentions if item.heads > 1)
        if not attentions:
            why = f" ({'; '.join(reasons)})" if reasons else ""
            raise TechniqueError(
                f"prune_heads cannot be used on {model.facts.source}: it has no attention of several heads that can be "
                f"distinguished{why}."
            )
        kept = self._kept(graph, attentions, model, context)
        if all(len(heads) == item.heads for heads, item in zip(kept, attentions, strict=True)):
            raise TechniqueError(
                f"prune_heads changes nothing in {model.facts.source}: share={self.share:g} is less than one of its "
                f"{sum(item.heads for item in attentions)} heads. Ask for more, or leave it out."
            )
        fitted = _refitted(graph, attentions, kept, model, context)
        saved = 0
        for item, heads in zip(attentions, kept, strict=True):
            if len(heads) < item.heads:
                saved += _cut(graph, item, heads, fitted)
        changed = capture_graph(model, graph)
        return replace(changed, facts=replace(model.facts, parameters=model.facts.parameters - saved))

    def _kept(
        self, graph: GraphModule, attentions: Sequence[Attention], model: TorchModel, context: Context
    ) -> list[list[int]]:
        """Returns which heads of each attention stay."""
        from edgekit.techniques.output_error import OutputError
        from edgekit.techniques.program_editing import spread_rows

        error = OutputError(graph, spread_rows(model, context.calibration(), _PROBES))
        importance: list[list[float]] = []
        for i, item in enumerate(attentions):
            context.progress(f"measuring the heads of {item.out.name}", i / len(attentions))
            importance.append([_error_without(graph, item, head, error) for head in range(item.heads)])
        return heads_to_keep(importance, self.share, self.spread)


def heads_to_keep(
    importance: Sequence[Sequence[float]], share: float, spread: Literal["global", "layer"]
) -> list[list[int]]:
    """Returns the indices of the heads that stay in each layer, at least one.

    Args:
        importance: Importance of each head of each layer.
        share: Share of the heads to cut out.
        spread: Whether layers compete.
    """
    protected = [max(range(len(layer)), key=layer.__getitem__) for layer in importance]
    kept = [set(range(len(layer))) for layer in importance]
    if spread == "layer":
        for i, layer in enumerate(importance):
            order = sorted((head for head in kept[i] if head != protected[i]), key=layer.__getitem__)
            kept[i] -= set(order[: int(share * len(layer))])
    else:
        every = [(layer[head], i, head) for i, layer in enumerate(importance) for head in range(len(layer))]
        free = sorted(item for item in every if item[2] != protected[item[1]])
        for _, i, head in free[: int(share * len(every))]:
            kept[i].discard(head)
    return [sorted(heads) for heads in kept]


def _is_square(analysis: Analysis, operator: Operator) -> bool:
    shape = analysis.weights[operator.weights[0]].shape if operator.weights else ()
    return len(shape) == 2 and shape[0] == shape[1]


def _columns(item: Attention, heads: Sequence[int]) -> list[int]:
    """Returns the channels of some heads."""
    return [head * item.width + i for head in heads for i in range(item.width)]


def _error_without(graph: GraphModule, item: Attention, head: int, error: OutputError) -> float:
    """Returns the outputs' error when nobody reads a head; the weights are as before afterwards."""
    from edgekit.techniques.program_editing import set_tensor, tensor_of

    name = str(item.out.args[1].target)
    before = tensor_of(graph, name).detach().clone()
    without = before.clone()
    without[:, _columns(item, [head])] = 0
    set_tensor(graph, name, without)
    found = float(error.of(graph))
    set_tensor(graph, name, before)
    return found


def _refitted(
    graph: GraphModule,
    attentions: Sequence[Attention],
    kept: Sequence[Sequence[int]],
    model: TorchModel,
    context: Context,
) -> Mapping[str, Tensor]:
    """Returns the output projections (outputs, all heads' channels), zero for lost heads, and their biases, by name."""
    from edgekit.techniques.layer_moments import Moments
    from edgekit.techniques.layer_walk import LayerWalk
    from edgekit.techniques.program_editing import spread_rows
    from edgekit.techniques.sparse_masks import refit

    wanted = {str(item.out.args[1].target): (item, heads) for item, heads in zip(attentions, kept, strict=True)}

    def learn(layer: Layer, share: float) -> NewWeights:
        context.progress(f"refitting {layer.name}", share)
        if layer.name not in wanted or len(wanted[layer.name][1]) == wanted[layer.name][0].heads:
            return NewWeights(weight=layer.weight, bias=layer.bias)
        weight, moments = layer.form.problems(layer.weight.double()), Moments.of(layer)
        mask = weight.new_zeros(weight.shape).bool()
        mask[:, :, _columns(*wanted[layer.name])] = True
        found = refit(moments.best_fit(weight), mask, moments.hessian)
        return NewWeights(weight=found[0].float(), bias=moments.bias(layer, weight, found))

    walk = LayerWalk(graph, rounds_activations=False)
    return walk.run(spread_rows(model, context.calibration(), walk.sample_limit()), learn)


def _cut(graph: GraphModule, item: Attention, heads: Sequence[int], fitted: Mapping[str, Tensor]) -> int:
    """Removes all heads but some from an attention; returns how many weights that saves."""
    from edgekit.techniques.program_editing import tensor_beside, tensor_of

    columns = _columns(item, heads)
    saved = 0

    def put(node: Node, value: Tensor) -> None:
        nonlocal saved
        name = str(node.target)
        saved += tensor_of(graph, name).numel() - value.numel()
        tensor_beside(graph, name, name.rpartition(".")[2], value.clone())

    for source, reshape in zip(item.sources, item.reshapes, strict=True):
        for node in source.args[1:]:
            if node is not None:
                put(node, tensor_of(graph, str(node.target)).detach()[columns])
        sizes = list(reshape.args[1])
        sizes[2:] = [len(heads), item.width]
        reshape.args = (reshape.args[0], sizes)
    item.joined.args = (item.joined.args[0], [*item.joined.args[1][:-1], len(heads) * item.width])
    put(item.out.args[1], fitted[str(item.out.args[1].target)][:, columns])
    if len(item.out.args) > 2 and item.out.args[2] is not None:
        put(item.out.args[2], fitted[str(item.out.args[2].target)])
    return saved
