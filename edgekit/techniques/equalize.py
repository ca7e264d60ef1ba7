"""Evens out the ranges of channels that share one grid, without a change to what the float model computes.

Cross-layer equalization (Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019,
section 4.1): a positively homogeneous function lets a channel be divided by s > 0 in the layer that writes it and
multiplied by s in the layers that read it. They balance the ranges of the two weights, r1 and r2, by s = sqrt(r1 / r2)
(eq. 11), because their weights have one scale for a whole tensor. Here a written weight has a scale for each channel,
so its range costs nothing; what shares one grid is the activation. So r1 is the range of the channel's activation on
calibration data and r2 the largest weight that reads it.

ReLU6 is not positively homogeneous. Replacing it by ReLU, as other tools do, loses 29 points of top-1 on
EfficientNet-Lite0; a clamp with a bound for each channel is no longer fused by any runtime. So channels that pass a
clamp stay as they are (there, the clamp has evened them out already), and what is scaled is exact: see
`channel_spaces`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, final

from edgekit.analysis.graph import Analysis
from edgekit.errors import TechniqueError
from edgekit.model import CapturedModel
from edgekit.profiles.profile import DeviceProfile
from edgekit.task.task import Task
from edgekit.techniques.base import Context, Data, Estimate, Technique, TorchModel
from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule

    from edgekit.techniques.channel_spaces import ChannelSpace

_SECONDS_PER_MAC: Final = 5e-9
_LARGEST_FACTOR: Final = 64.0  # a channel that is nearly dead would otherwise be blown up without bound


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Equalize(Technique):
    """Scales channels between layers so that activations with one grid have channels of like range.

    Attributes:
        strength: 0 leaves everything, 0.5 balances activations against weights, 1 evens out activations alone.
    """

    name: ClassVar[str] = "equalize"
    needs: ClassVar[Data] = "calibration"
    keeps_function: ClassVar[bool] = True

    strength: float = 0.5

    def why_not(self, model: CapturedModel, task: Task, profile: DeviceProfile) -> str | None:
        """Returns why it cannot be used, or None if it can."""
        del task, profile
        if model.family == "rnn":
            return "it scales channels between convolutions and linear layers, and this model is recurrent"
        return None if 0 < self.strength <= 1 else f"strength={self.strength:g}; expected more than 0 and at most 1"

    def estimate(self, analysis: Analysis) -> Estimate:
        """Returns the time; size and cost stay."""
        return Estimate(
            parameters=analysis.parameters,
            macs=analysis.macs,
            seconds=100 * analysis.macs * _SECONDS_PER_MAC,
            effect="Channels of very different range share a grid with less loss.",
        )

    def apply(self, model: TorchModel, context: Context) -> TorchModel:
        """Returns the model with scaled channels.

        Raises:
            TechniqueError: no channels may be scaled without a change to the function.
        """
        from edgekit.techniques.channel_spaces import find_channel_spaces
        from edgekit.techniques.program_editing import model_rows, open_graph, with_tensors
        from edgekit.techniques.value_ranges import channel_ranges

        graph = open_graph(model)
        spaces = find_channel_spaces(graph)
        if not spaces:
            raise TechniqueError(
                f"equalize cannot be used on {model.facts.source}: no channels lead from layers to layers through "
                "ReLU, additions and pooling alone, so none can be scaled without a change to what the model computes."
            )
        samples = context.calibration()
        wanted = {tensor: axis for space in spaces for tensor, axis in space.tensors.items()}
        ranges = channel_ranges(graph, wanted, model_rows(model, samples, range(samples.count)), context.progress)
        tensors: dict[str, Tensor] = {}
        for space in spaces:
            factors = self._factors(graph, space, ranges)
            _scale(graph, space, factors, tensors)
        return with_tensors(model, tensors)

    def _factors(self, graph: GraphModule, space: ChannelSpace, ranges: Mapping[Node, Tensor]) -> Tensor:
        """Returns s of each channel, (C,) float64, with geometric mean 1."""
        import torch

        reach = torch.stack([ranges[tensor] for tensor in space.tensors]).amax(dim=0).double()
        read = torch.stack([_column_ranges(graph, node) for node in space.readers]).amax(dim=0)
        alive = (reach > 0) & (read > 0)
        if not bool(alive.any()):
            return torch.ones_like(reach)
        logs = torch.where(alive, self.strength * reach.log() - (1 - self.strength) * read.log(), torch.zeros(()))
        logs = torch.where(alive, logs - logs[alive].mean(), torch.zeros(()).double())
        return logs.exp().clamp(1 / _LARGEST_FACTOR, _LARGEST_FACTOR)


def _column_ranges(graph: GraphModule, node: Node) -> Tensor:
    """Returns the largest weight with which a layer reads each channel, (C,) float64."""
    from edgekit.techniques.channel_spaces import is_depthwise
    from edgekit.torch_program.graph_nodes import attribute

    weight = attribute(graph, node.args[1]).detach().double().abs()
    if is_depthwise(graph, node):
        return weight.flatten(1).amax(dim=1)
    # Each output has a scale of its own: what counts is a weight's share of its output's largest.
    weight = weight / weight.flatten(1).amax(dim=1).clamp(min=1e-30).reshape(-1, *[1] * (weight.ndim - 1))
    return weight.transpose(0, 1).flatten(1).amax(dim=1)


def _scale(graph: GraphModule, space: ChannelSpace, factors: Tensor, tensors: dict[str, Tensor]) -> None:
    """Divides what the writers write and multiplies what the readers read; new values go into `tensors` by name."""
    from edgekit.techniques.channel_spaces import is_depthwise
    from edgekit.torch_program.graph_nodes import attribute

    def current(node: Node) -> Tensor:
        old: Tensor = attribute(graph, node)
        return tensors.get(node.target, old).detach().double()

    for node in space.writers:
        weight = current(node.args[1])
        tensors[node.args[1].target] = weight / factors.reshape(-1, *[1] * (weight.ndim - 1))
        if len(node.args) > 2 and node.args[2] is not None:
            tensors[node.args[2].target] = current(node.args[2]) / factors
    for node in space.readers:
        weight = current(node.args[1])
        axis = 0 if is_depthwise(graph, node) else 1
        tensors[node.args[1].target] = weight * factors.reshape(*[1] * axis, -1, *[1] * (weight.ndim - 1 - axis))
