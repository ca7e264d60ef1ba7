"""Low-rank updates of the weights of a captured graph. Runs in a worker that has torch; see `lora_recovery`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import nn

from edgekit.torch_program.graph_nodes import attribute, operator_name

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule

_LAYERS: Final = frozenset({"linear", "conv1d", "conv2d"})
_HIGH: Final = 7  # of a 4-bit grid


class LowRankUpdate(nn.Module):  # type: ignore[misc]  # torch is Any here
    """Returns a weight with its update: W + alpha / rank * B A, rounded to 4 bits where requested.

    Args:
        shape: (outputs, inputs, ...) of the weight; what comes after the outputs is one axis to it.
        rank: r.
        alpha: a.
        group_size: Neighbouring inputs with one 4-bit scale; None leaves the weight float.
        generator: Generator of A's first values; B starts at 0.
    """

    def __init__(
        self, shape: tuple[int, ...], rank: int, alpha: float, group_size: int | None, generator: torch.Generator
    ) -> None:
        super().__init__()
        columns = int(torch.Size(shape[1:]).numel())
        self.share = alpha / rank
        self.group_size = group_size if group_size is not None and columns % group_size == 0 else None
        # As a linear layer starts: uniform within 1 / sqrt(inputs) (Hu et al. use Kaiming's for A).
        self.down = nn.Parameter((torch.rand(rank, columns, generator=generator) * 2 - 1) / columns**0.5)
        self.up = nn.Parameter(torch.zeros(shape[0], rank))

    def forward(self, weight: Tensor) -> Tensor:
        """Returns the updated weight, in the weight's shape."""
        updated = weight.flatten(1) + self.share * (self.up @ self.down)
        if self.group_size is not None:
            groups = updated.reshape(-1, self.group_size)
            scale = (groups.detach().abs().amax(dim=1, keepdim=True) / _HIGH).clamp(min=1e-30)
            levels = groups / scale
            updated = (levels + (torch.round(levels) - levels).detach()) * scale
        return updated.reshape(weight.shape)

    def merged(self, weight: Tensor) -> Tensor:
        """Returns the updated weight without gradients."""
        with torch.no_grad():
            return self(weight.detach())


def insert_updates(
    graph_module: GraphModule, rank: int, alpha: float, group_size: int | None, seed: int
) -> dict[str, str]:
    """Puts an update behind the weight of each layer that is large enough, in place.

    Args:
        graph_module: A captured graph.
        rank: Layers need more outputs and more inputs than this.
        alpha: See `LowRankUpdate`.
        group_size: The same.
        seed: Random seed of the first values.

    Returns:
        Name of each weight to the submodule that updates it.
    """
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, str] = {}
    for node in list(graph_module.graph.nodes):
        if operator_name(node) not in _LAYERS or len(node.args) < 2:
            continue
        source = node.args[1]
        weight = attribute(graph_module, source)
        if weight is None or min(weight.shape[0], weight[0].numel()) <= rank or len(source.users) != 1:
            continue
        name = f"update_{source.name}"
        graph_module.add_submodule(name, LowRankUpdate(tuple(weight.shape), rank, alpha, group_size, generator))
        with graph_module.graph.inserting_before(node):
            node.update_arg(1, graph_module.graph.call_module(name, (source,)))
        found[source.target] = name
    graph_module.recompile()
    return found
