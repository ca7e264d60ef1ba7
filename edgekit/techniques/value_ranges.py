"""Ranges of the channels of a captured graph's values on calibration data. Runs in a worker that has torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgekit.worker import Progress


def channel_ranges(
    graph_module: Any, wanted: Mapping[Any, int], rows: Iterable[Sequence[Any]], progress: Progress
) -> dict[Any, Any]:
    """Returns the largest absolute value of each channel, (C,) float32, of each wanted node.

    Args:
        graph_module: Captured graph.
        wanted: Node to the axis of its channels.
        rows: One tensor (1, ...) for each input.
        progress: Told how far it is.
    """
    import torch

    found: dict[Any, Any] = {}

    class Watcher(torch.fx.Interpreter):  # type: ignore[misc]  # torch is Any here
        def run_node(self, n: Any) -> Any:
            value = super().run_node(n)
            axis = wanted.get(n)
            if axis is not None:
                reach = value.abs().transpose(0, axis).flatten(1).amax(dim=1)
                found[n] = torch.maximum(found[n], reach) if n in found else reach
            return value

    watcher = Watcher(graph_module)
    watcher.extra_traceback = False
    with torch.no_grad():
        for i, row in enumerate(rows):
            progress(f"looking at sample {i + 1}", None)
            watcher.run(*row)
    return found
