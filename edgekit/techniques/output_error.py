"""How far a changed graph's outputs are from the float model's, on a few calibration samples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule


@final
class OutputError:
    """Holds some samples and the float model's outputs for them.

    Args:
        graph_module: The float model's captured graph.
        rows: One tensor (1, ...) for each input.
    """

    def __init__(self, graph_module: GraphModule, rows: Iterable[Sequence[Tensor]]) -> None:
        self._rows = list(rows)
        self._expected = self._outputs(graph_module)

    def of(self, graph_module: GraphModule) -> float:
        """Returns sum((float - changed)^2) / sum(float^2) over all samples, averaged over the outputs."""
        from edgekit.simulation.sensitivity import noise_share

        return noise_share(self._expected, self._outputs(graph_module))

    def _outputs(self, graph_module: GraphModule) -> list[tuple[Tensor, ...]]:
        import torch

        found: list[tuple[Tensor, ...]] = []
        with torch.no_grad():
            for row in self._rows:
                result = graph_module(*row)
                found.append(tuple(result) if isinstance(result, tuple | list) else (result,))
        return found
