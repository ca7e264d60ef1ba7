"""How much each layer's precision adds to the error of the outputs, and loses of the metric, one layer at a time.

The float graph is walked once. At each layer the state is forked, the layer alone is rounded, and the rest of the graph
runs on from there: what lies before a layer is never computed again. All samples are kept at the same place of the
graph, so a layer's figure is complete as soon as it was measured and can be saved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from edgekit.recipe import Precision
from edgekit.simulation.float_model import MEMORY_BYTES, FloatModel
from edgekit.simulation.graph_run import FLOAT, Prepared
from edgekit.simulation.placement import Placement

if TYPE_CHECKING:
    from torch import Tensor

LARGEST_COUNT: Final = 32
"""Samples that are worth their time: a layer's noise is an average over all of their outputs' values."""

_LEAST_COUNT: Final = 4


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LayerNoise:
    """What one layer in one precision does to the outputs.

    Attributes:
        module: Dotted name.
        precision: Precision of this layer alone; all others are float.
        noise: sum((float - rounded)^2) / sum(float^2) over all samples, averaged over the outputs.
        points: What it loses of the metric, in percentage points; None where the metric was not taken.
    """

    module: str
    precision: Precision
    noise: float
    points: float | None = None


def sample_count(model: FloatModel) -> int:
    """Returns how many samples are taken: all their states between two nodes must fit into memory."""
    fitting = MEMORY_BYTES // model.live_bytes()
    return min(model.samples.count, max(_LEAST_COUNT, min(LARGEST_COUNT, fitting)))


def measure_layers(
    model: FloatModel,
    placements: Mapping[Precision, Placement],
    prepare: Callable[[Placement], Prepared],
    *,
    lose: Callable[[Sequence[tuple[Tensor, ...]]], float | None],
    known: Mapping[tuple[str, Precision], LayerNoise],
    save: Callable[[LayerNoise], None],
    progress: Callable[[str, float], None],
) -> tuple[LayerNoise, ...]:
    """Returns the noise of each module in each precision.

    Args:
        model: The float model and its samples.
        placements: For each precision, what it rounds where all of the model has it.
        prepare: Rounds the weights of a placement.
        lose: Returns what outputs, one tuple a batch, lose of the metric; None where that is not taken.
        known: Figures of an earlier run that was interrupted.
        save: Callback that gets each figure as it is measured.
        progress: Callback that gets (module, share done).
    """
    import torch

    found: list[LayerNoise] = []
    with torch.inference_mode():
        runs = [model.runner.start(rows) for rows in model.batches(sample_count(model))]
        expected = [model.runner.results(model.runner.advance(run.fork(), FLOAT)) for run in runs]
        order = _in_order(model, placements)
        for done, (module, first) in enumerate(order):
            progress(module, done / len(order))
            for run in runs:
                model.runner.advance(run, FLOAT, until=first)
            for precision, placement in placements.items():
                if module not in placement.modules:
                    continue
                item = known.get((module, precision))
                if item is None:
                    rounded = prepare(placement.of_module(module))
                    outputs = [model.runner.results(model.runner.advance(run.fork(), rounded)) for run in runs]
                    noise = noise_share(expected, outputs)
                    item = LayerNoise(module=module, precision=precision, noise=noise, points=lose(outputs))
                    save(item)
                found.append(item)
    return tuple(found)


def noise_share(expected: Sequence[tuple[Tensor, ...]], found: Sequence[tuple[Tensor, ...]]) -> float:
    """Returns noise power over signal power, averaged over the outputs; 0 for equal outputs.

    Args:
        expected: The float outputs: for each batch one array or tensor (batch, ...) an output.
        found: The others.
    """
    shares: list[float] = []
    for position in range(len(expected[0])):
        signal = sum(float((batch[position].double() ** 2).sum()) for batch in expected)
        noise = sum(
            float(((batch[position].double() - other[position].double()) ** 2).sum())
            for batch, other in zip(expected, found, strict=True)
        )
        shares.append(noise / max(signal, 1e-30))
    return sum(shares) / len(shares)


def _in_order(model: FloatModel, placements: Mapping[Precision, Placement]) -> list[tuple[str, int]]:
    """Returns each module with the index of its first node, in order of execution."""
    first: dict[str, int] = {}
    for placement in placements.values():
        for name, kernel in placement.kernels.items():
            if kernel.module:
                index = model.runner.position[name]
                first[kernel.module] = min(index, first.get(kernel.module, index))
    return sorted(first.items(), key=lambda item: item[1])
