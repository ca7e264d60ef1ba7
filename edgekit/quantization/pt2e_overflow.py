"""Which layers leave float16's range: found on calibration data before a graph computes in 16 bits."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from edgekit.quantization.pt2e_graph import FloatGraph, constant_of, is_float_tensor, modules_of
from edgekit.quantization.pt2e_plan import label_of
from edgekit.quantization.pt2e_ranges import calibrate
from edgekit.samples import Samples
from edgekit.workers.worker import Progress

LARGEST_HALF: Final = 65504.0
"""Largest finite float16."""

_MARGIN: Final = 2.0  # other data than the calibration samples reaches further


def find_overflows(graph: FloatGraph, calibration: Path, progress: Progress) -> dict[str, tuple[str, float]]:
    """Returns what comes within a factor of 2 of the largest float16, or beyond it.

    Returns:
        By node name: (dotted name of the module it lies in, "" where it lies in none; its largest absolute value).
    """
    nodes = {node.name: node for node in graph.module.graph.nodes}
    floats = [name for name, node in nodes.items() if node.op != "get_attr" and is_float_tensor(node)]
    ranges = calibrate(graph, floats, {}, Samples.open(calibration), "minmax", progress).ranges
    reach = {name: max(-found.low, found.high) for name, found in ranges.items()}
    for node in nodes.values():
        constant = constant_of(graph.module, node)
        if constant is not None and constant.is_floating_point() and constant.numel():
            for user in node.users:
                reach[user.name] = max(reach.get(user.name, 0.0), float(constant.abs().max()))
    return {
        name: ((*modules_of(nodes[name]), "")[0], value)
        for name, value in reach.items()
        if value * _MARGIN > LARGEST_HALF
    }


def overflow_words(graph: FloatGraph, found: dict[str, tuple[str, float]]) -> str:
    """Returns the overflowing operators for a message: `scale (aten.mul.Tensor) reaches 1.2e+05`, the first three."""
    labels = {node.name: label_of(node) for node in graph.module.graph.nodes}
    words = [f"{labels[name]} reaches {value:.2g}" for name, (_, value) in found.items()]
    return ", ".join(words[:3]) + (f" and {len(words) - 3} more" if len(words) > 3 else "")
