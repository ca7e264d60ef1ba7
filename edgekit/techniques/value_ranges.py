"""Ranges and moments of a captured graph's channels on calibration data. Runs in a worker that has torch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.torch_program.torch_protocols import Node
from edgekit.workers.worker import Progress

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.fx import GraphModule


def channel_ranges(
    graph_module: GraphModule, wanted: Mapping[Node, int], rows: Iterable[Sequence[Tensor]], progress: Progress
) -> dict[Node, Tensor]:
    """Returns the largest absolute value of each channel, (C,) float32, of each wanted node.

    Args:
        graph_module: Captured graph.
        wanted: Node to the axis of its channels.
        rows: One tensor (1, ...) for each input.
        progress: Callback that gets how far it is.
    """
    import torch

    found: dict[Node, Tensor] = {}

    def look(node: Node, value: Tensor) -> None:
        if node in wanted:
            reach = value.abs().transpose(0, wanted[node]).flatten(1).amax(dim=1)
            found[node] = torch.maximum(found[node], reach) if node in found else reach

    _watch(graph_module, look, rows, progress)
    return found


def channel_moments(
    graph_module: GraphModule, wanted: Collection[Node], rows: Iterable[Sequence[Tensor]], progress: Progress
) -> dict[Node, tuple[Tensor, Tensor]]:
    """Returns mean |x| (C,) and the covariance of x (C, C), both float64, of each wanted node's last axis.

    Args:
        graph_module: Captured graph.
        wanted: Nodes.
        rows: One tensor (1, ...) for each input.
        progress: Callback that gets how far it is.
    """
    sums: dict[Node, tuple[Tensor, Tensor, Tensor]] = {}
    counts: dict[Node, int] = {}

    def look(node: Node, value: Tensor) -> None:
        if node not in wanted:
            return
        flat = value.reshape(-1, value.shape[-1])
        own = (flat.abs().double().sum(dim=0), flat.double().sum(dim=0), (flat.t() @ flat).double())
        before = sums.get(node, (0.0, 0.0, 0.0))
        sums[node] = (before[0] + own[0], before[1] + own[1], before[2] + own[2])
        counts[node] = counts.get(node, 0) + flat.shape[0]

    _watch(graph_module, look, rows, progress)
    found: dict[Node, tuple[Tensor, Tensor]] = {}
    for node, (reach, first, second) in sums.items():
        mean = first / counts[node]
        found[node] = (reach / counts[node], second / counts[node] - mean[:, None] * mean)
    return found


def _watch(
    graph_module: GraphModule,
    look: Callable[[Node, Tensor], None],
    rows: Iterable[Sequence[Tensor]],
    progress: Progress,
) -> None:
    """Runs the graph on all rows and shows `look` each node's value."""
    import torch

    class Observer(torch.fx.Interpreter):  # type: ignore[misc]  # torch is Any here
        def run_node(self, n: torch.fx.Node) -> Any:
            value = super().run_node(n)
            look(n, value)
            return value

    observer = Observer(graph_module)
    observer.extra_traceback = False
    with torch.no_grad():
        for i, row in enumerate(rows):
            progress(f"looking at sample {i + 1}", None)
            observer.run(*row)
