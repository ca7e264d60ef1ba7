"""Moves the outliers of a transformer's activations into its weights, without a change to what the model computes.

Some channels of a layer normalization's output are ten times as large as the others. Where a token's 384 values share
one grid that is found at run time, they make its step ten times as wide. SmoothQuant (Xiao et al., "SmoothQuant:
Accurate and Efficient Post-Training Quantization for Large Language Models", 2023, eq. 3 and 4) divides each channel of
a linear layer's input by s and multiplies the weights that read it:

    Y = (X / s) (s W^T),    s_j = max |X_j|^a / max |W_j|^(1 - a)

A layer normalization takes 1 / s into its own scale and shift, which costs nothing. Who else reads it (a residual
addition) gets the product with s. A value that is computed otherwise, as a GELU's, is divided by an operator of its
own.

With `method=awq` the factors are those with which 4-bit weights lose least (see `scale_search`), for use before
`round_weights:bits=4`. What an attention puts out is then scaled too, in the layer that makes its values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Literal, final

from edgekit.analysis.graph import Analysis
from edgekit.errors import TechniqueError
from edgekit.model import CapturedModel
from edgekit.profiles.profile import DeviceProfile
from edgekit.task.task import Task
from edgekit.techniques.base import Context, Data, Estimate, Technique, TorchModel
from edgekit.techniques.transformer_blocks import Attention
from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule

_SECONDS_PER_MAC: Final = 5e-9
_LARGEST_FACTOR: Final = 256.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SmoothActivations(Technique):
    """Scales the inputs of linear layers so that one grid serves all of their channels.

    Attributes:
        strength: The paper's alpha: 0.5 shares the difficulty between activations and weights.
        inserts_products: Also smooth inputs that no normalization makes, by an operator of their own. On MiniLM that
            loses 1 dB: what a GELU or an attention writes has no outlier channels worth it.
        method: `migrate` evens out activations for 8-bit grids, `awq` searches the factors that suit narrow weights.
        bits: Bits of the weights to suit; `awq` only.
        group_size: Columns of the weights that share a scale, 0 for one scale per output; `awq` only.
    """

    name: ClassVar[str] = "smooth_activations"
    needs: ClassVar[Data] = "calibration"
    keeps_function: ClassVar[bool] = True

    strength: float = 0.5
    inserts_products: bool = False
    method: Literal["migrate", "awq"] = "migrate"
    bits: Literal[8, 4] = 4
    group_size: int = 32

    def why_not(self, model: CapturedModel, task: Task, profile: DeviceProfile) -> str | None:
        """Returns why it cannot be used, or None if it can."""
        del task, profile
        if model.family == "cnn":
            return "it smooths what linear layers read, and this model is convolutional; equalize is for those"
        if self.group_size < 0:
            return f"group_size={self.group_size}; expected at least 0"
        return None if 0 < self.strength < 1 else f"strength={self.strength:g}; expected between 0 and 1"

    def estimate(self, analysis: Analysis) -> Estimate:
        """Returns the time; size and cost stay but for one product a smoothed value."""
        return Estimate(
            parameters=analysis.parameters,
            macs=analysis.macs,
            seconds=100 * analysis.macs * _SECONDS_PER_MAC,
            effect="Activations quantized token by token lose less to outlier channels.",
        )

    def apply(self, model: TorchModel, context: Context) -> TorchModel:
        """Returns the model with smoothed inputs.

        Raises:
            TechniqueError: it has no linear layer with constant weights.
        """
        from edgekit.techniques.program_editing import capture_graph, model_rows, open_graph
        from edgekit.techniques.transformer_blocks import find_attentions

        graph = open_graph(model)
        readers = _linear_readers(graph)
        if not readers:
            raise TechniqueError(
                f"smooth_activations cannot be used on {model.facts.source}: no linear layer with constant weights of "
                "its own reads a computed value."
            )
        attentions = {item.joined: item for item in find_attentions(graph)[0]} if self.method == "awq" else {}
        chosen = {
            value: layers
            for value, layers in readers.items()
            if self.inserts_products or value in attentions or _is_normalization(graph, value)
        }
        samples = context.calibration()
        rows = model_rows(model, samples, range(samples.count))
        factors = self._searched if self.method == "awq" else self._migrated
        for value, found in factors(graph, chosen, rows, context).items():
            if value in attentions:
                _smooth_values(graph, attentions[value], found)
            else:
                _smooth(graph, value, chosen[value], found, normalization=_is_normalization(graph, value))
        return capture_graph(model, graph)

    def _migrated(
        self,
        graph: GraphModule,
        chosen: Mapping[Node, Sequence[Node]],
        rows: Iterable[tuple[Tensor, ...]],
        context: Context,
    ) -> dict[Node, Tensor]:
        """Returns s of each channel, (C,) float32, for each value, by SmoothQuant's rule."""
        from edgekit.techniques.value_ranges import channel_ranges

        axes = {value: len(value.meta["val"].shape) - 1 for value in chosen}
        reach = channel_ranges(graph, axes, rows, context.progress)
        return {value: self._factors(graph, layers, reach[value]) for value, layers in chosen.items()}

    def _searched(
        self,
        graph: GraphModule,
        chosen: Mapping[Node, Sequence[Node]],
        rows: Iterable[tuple[Tensor, ...]],
        context: Context,
    ) -> dict[Node, Tensor]:
        """Returns s of each channel, (C,) float32, for each value, by AWQ's search."""
        from edgekit.techniques.scale_search import best_factors
        from edgekit.techniques.value_ranges import channel_moments
        from edgekit.torch_program.graph_nodes import attribute

        moments = channel_moments(graph, chosen.keys(), rows, context.progress)
        found: dict[Node, Tensor] = {}
        for i, (value, layers) in enumerate(chosen.items()):
            context.progress(f"searching the scales of {value.name}", i / len(chosen))
            weights = [attribute(graph, layer.args[1]).detach().double() for layer in layers]
            fits = self.group_size if self.group_size and weights[0].shape[1] % self.group_size == 0 else 0
            factors = best_factors(weights, *moments[value], self.bits, fits)
            found[value] = factors.clamp(1 / _LARGEST_FACTOR, _LARGEST_FACTOR).float()
        return found

    def _factors(self, graph: GraphModule, layers: Sequence[Node], reach: Tensor) -> Tensor:
        """Returns s of each channel, (C,) float32, with geometric mean 1."""
        import torch

        from edgekit.torch_program.graph_nodes import attribute

        weights = [attribute(graph, layer.args[1]).detach().abs() for layer in layers]
        shares = [weight.amax(dim=0) / weight.amax(dim=0).mean() for weight in weights]
        read = torch.stack(shares).amax(dim=0).clamp(min=1e-5)
        logs = self.strength * reach.clamp(min=1e-5).log() - (1 - self.strength) * read.log()
        return (logs - logs.mean()).exp().clamp(1 / _LARGEST_FACTOR, _LARGEST_FACTOR)


def _linear_readers(graph: GraphModule) -> dict[Node, list[Node]]:
    """Returns the computed values that linear layers with weights of their own read, with those layers."""
    from edgekit.torch_program.graph_nodes import attribute, operator_name

    uses: dict[str, int] = {}
    for node in graph.graph.nodes:
        if node.op == "get_attr":
            uses[str(node.target)] = uses.get(str(node.target), 0) + len(node.users)
    readers: dict[Node, list[Node]] = {}
    for node in graph.graph.nodes:
        if operator_name(node) != "linear" or attribute(graph, node.args[1]) is None:
            continue
        if uses[str(node.args[1].target)] == 1 and node.args[0].op == "call_function":
            readers.setdefault(node.args[0], []).append(node)
    return readers


def _is_normalization(graph: GraphModule, value: Node) -> bool:
    """Returns whether a value is a layer normalization over the last axis, with a scale and a shift of its own."""
    from edgekit.torch_program.graph_nodes import attribute, operator_name

    if operator_name(value) != "layer_norm" or len(value.args[1]) != 1 or len(value.args) < 4:
        return False
    return all(attribute(graph, item) is not None and len(item.users) == 1 for item in value.args[2:4])


def _smooth(graph: GraphModule, value: Node, layers: Sequence[Node], factors: Tensor, *, normalization: bool) -> None:
    """Divides `value` by `factors` for its linear readers, and multiplies their weights."""
    import torch

    from edgekit.techniques.program_editing import add_buffer, set_tensor
    from edgekit.torch_program.graph_nodes import attribute

    for layer in layers:
        name = str(layer.args[1].target)
        set_tensor(graph, name, attribute(graph, layer.args[1]).detach() * factors)
    others = [user for user in value.users if user not in layers]
    if normalization:
        for item in value.args[2:4]:
            set_tensor(graph, str(item.target), attribute(graph, item).detach() / factors)
        if not others:
            return
        product = _product_after(value, add_buffer(graph, value, "unsmoothed", factors))
        for user in others:
            user.replace_input_with(value, product)
        return
    product = _product_after(value, add_buffer(graph, value, "smoothed", torch.reciprocal(factors)))
    for layer in layers:
        layer.replace_input_with(value, product)


def _smooth_values(graph: GraphModule, attention: Attention, factors: Tensor) -> None:
    """Divides what an attention puts out by `factors` in the layer that makes its values, and multiplies the readers.

    Exact, because the attention's weights sum up tokens and leave channels apart.
    """
    from edgekit.techniques.program_editing import set_tensor, tensor_of

    source, out = attention.sources[2], attention.out
    for node in source.args[1:]:
        if node is not None:
            tensor = tensor_of(graph, str(node.target)).detach()
            set_tensor(graph, str(node.target), tensor / factors.reshape(-1, *[1] * (tensor.ndim - 1)))
    name = str(out.args[1].target)
    set_tensor(graph, name, tensor_of(graph, name).detach() * factors)


def _product_after(value: Node, factors: Node) -> Node:
    import torch

    with factors.graph.inserting_after(factors):
        product = factors.graph.call_function(torch.ops.aten.mul.Tensor, (value, factors))
    product.meta = {key: item for key, item in value.meta.items() if key in ("nn_module_stack", "val")}
    return product
