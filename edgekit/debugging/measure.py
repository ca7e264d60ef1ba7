"""Measures every matched layer: what it inherits, what it adds itself, and what that does to the outputs.

For one sample, F is the float model's value of a layer, A the artifact's, and H what the *float* layer makes of the
artifact's own inputs. Then A - F = (A - H) + (H - F): the layer's own error and the inherited one.

What a layer contributes to the final error: its own error is added to the float value, F + (A - H), and the rest of the
float model is run on from there. That is the noise of this layer alone, carried exactly by the float model through all
its nonlinearities. Contributions are powers, so their shares add up to 1; that their sum comes near the measured error
of the outputs (they would be equal if errors were small and independent) is shown beside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from edgekit.debugging.float_graph import FloatGraphRun, Values, as_array
from edgekit.debugging.inspector import StoredGrid
from edgekit.debugging.layouts import in_layout
from edgekit.debugging.matching import Match
from edgekit.quantization.activation_ranges import seen_through

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    Array = NDArray[np.float32]

_MOST_EVALUATIONS: Final = 20_000
"""Nodes that are run for the contributions on one sample; beyond, only the layers with the most error are carried."""


@final
@dataclass(slots=True, kw_only=True)
class LayerTotals:
    """Sums over samples for one layer. Powers are sums of squares.

    Attributes:
        signal: Energy of F.
        total: Energy of A - F.
        own: Energy of A - H.
        count: Values.
        beyond: Values of H outside the grid by more than half a step.
        seen: Smallest and largest F.
        used: Smallest and largest A.
        channel_seen: Smallest and largest F of each channel, (2, channels).
        channel_used: The same of A.
        damage: Power of the change of the outputs that this layer's own error makes, relative to the outputs.
        carried: Samples for which that was measured.
    """

    signal: float = 0.0
    total: float = 0.0
    own: float = 0.0
    count: int = 0
    beyond: int = 0
    seen: tuple[float, float] = (np.inf, -np.inf)
    used: tuple[float, float] = (np.inf, -np.inf)
    channel_seen: Array | None = None
    channel_used: Array | None = None
    damage: float = 0.0
    carried: int = 0

    def add(self, exact: Array, given: Array, own: Array, grid: StoredGrid | None) -> None:
        """Adds one sample.

        Args:
            exact: F, (1, ...).
            given: H, the same shape.
            own: A, the same shape.
            grid: That A is stored on.
        """
        self.signal += _power(exact)
        self.total += _power(own - exact)
        self.own += _power(own - given)
        self.count += exact.size
        if grid is not None:
            half = grid.scale / 2
            self.beyond += int(np.count_nonzero((given < grid.low - half) | (given > grid.high + half)))
        self.channel_seen = _widened(self.channel_seen, exact)
        self.channel_used = _widened(self.channel_used, own)
        self.seen = (float(self.channel_seen[0].min()), float(self.channel_seen[1].max()))
        self.used = (float(self.channel_used[0].min()), float(self.channel_used[1].max()))

    def dead_channels(self) -> tuple[int, int]:
        """Returns (channels that vary in the float model and are constant in the artifact, all channels)."""
        if self.channel_seen is None or self.channel_used is None:
            return 0, 0
        spread = self.channel_seen[1] - self.channel_seen[0]
        dead = (spread > 1e-6 * max(float(spread.max()), 1e-30)) & (self.channel_used[1] == self.channel_used[0])
        return int(dead.sum()), int(dead.size)


@final
@dataclass(slots=True, kw_only=True)
class Totals:
    """Sums over all samples.

    Attributes:
        layers: By node name.
        output_damage: Power of the error of the outputs on the samples that carried contributions, relative.
        output_total: The same on all samples.
        samples: How many were run.
        float_outputs: The float model's outputs, one tuple a sample; none where the artifact's were not all found.
        artifact_outputs: The artifact's, in the float model's layout.
    """

    layers: dict[str, LayerTotals] = field(default_factory=dict[str, LayerTotals])
    output_damage: float = 0.0
    output_total: float = 0.0
    samples: int = 0
    float_outputs: list[tuple[Array, ...]] = field(default_factory=list["tuple[Array, ...]"])
    artifact_outputs: list[tuple[Array, ...]] = field(default_factory=list["tuple[Array, ...]"])


def measure_sample(
    graph: FloatGraphRun,
    matches: Mapping[str, Match],
    grids: Mapping[str, StoredGrid | None],
    row: Sequence[NDArray[Any]],
    values: Mapping[str, Array],
    totals: Totals,
    *,
    carry: bool,
) -> None:
    """Adds one sample to `totals`.

    Args:
        graph: The float model.
        matches: By node name.
        grids: By tensor name.
        row: The sample's inputs.
        values: The artifact's values.
        totals: Changed.
        carry: Measure what each layer's own error does to the outputs.
    """
    exact = graph.run(row)
    hybrid = graph.start(row)
    errors: dict[str, Tensor] = {}
    for node in graph.nodes:
        hybrid[node.name] = graph.evaluate(node.name, hybrid)
        match = matches.get(node.name)
        if match is None:
            continue
        own = artifact_value(match, node.shape, values)
        errors[node.name] = own - hybrid[node.name]
        layer = totals.layers.setdefault(node.name, LayerTotals())
        grid = grids[match.tensor]
        wanted, given = (on_stored_range(graph, node.name, as_array(item[node.name]), grid) for item in (exact, hybrid))
        layer.add(wanted, given, own.numpy(), grid)
        hybrid[node.name] = own
    damage = _relative({name: hybrid[name] - exact[name] for name in graph.outputs if name in matches}, exact)
    if all(name in matches for name in graph.outputs):
        totals.float_outputs.append(tuple(as_array(exact[name]) for name in graph.outputs))
        totals.artifact_outputs.append(tuple(as_array(hybrid[name]) for name in graph.outputs))
    totals.output_total += damage
    totals.samples += 1
    if carry:
        totals.output_damage += damage
        _carry(graph, exact, errors, totals)


def artifact_value(match: Match, shape: tuple[int, ...], values: Mapping[str, Array]) -> Tensor:
    """Returns the artifact's value of a node as a torch tensor in the float model's layout."""
    import torch

    return torch.from_numpy(np.array(in_layout(values[match.tensor], shape, match.layout)))


def on_stored_range(graph: FloatGraphRun, name: str, values: Array, grid: StoredGrid | None) -> Array:
    """Returns a node's float values without what its grid cuts off and the activation that reads it would not miss."""
    activation = graph.activations.get(name)
    if grid is None or activation is None:
        return values
    return seen_through(values, grid.low, grid.high, activation)


def _carry(graph: FloatGraphRun, exact: Values, errors: Mapping[str, Tensor], totals: Totals) -> None:
    """Adds to each layer what its own error alone does to the outputs."""
    most = max(1, 2 * _MOST_EVALUATIONS // max(1, len(graph.nodes)))
    ranked = sorted(errors, key=lambda name: -_loudness(errors[name], exact[name]))
    for name in ranked[:most]:
        layer = totals.layers[name]
        layer.damage += _damage(graph, exact, name, errors[name])
        layer.carried += 1


def _damage(graph: FloatGraphRun, exact: Values, name: str, error: Tensor) -> float:
    changed: Values = {name: exact[name] + error}
    start = next(i for i, node in enumerate(graph.nodes) if node.name == name)
    for node in graph.nodes[start + 1 :]:
        if any(source in changed for source in node.sources):
            mixed = {source: changed.get(source, exact[source]) for source in node.sources}
            changed[node.name] = graph.evaluate(node.name, mixed)
    return _relative({out: changed[out] - exact[out] for out in graph.outputs if out in changed}, exact)


def _relative(errors: Mapping[str, Tensor], exact: Values) -> float:
    """Returns the power of the outputs' errors, each relative to its output's own power."""
    return sum(
        _power(as_array(error)) / max(_power(as_array(exact[name])), 1e-30)
        for name, error in errors.items()
        if error.dtype.is_floating_point
    )


def _loudness(error: Tensor, exact: Tensor) -> float:
    return _power(as_array(error)) / max(_power(as_array(exact)), 1e-30)


def _power(array: NDArray[Any]) -> float:
    flat = array.reshape(-1)
    return float(np.dot(flat, flat))


def _widened(bounds: Array | None, values: Array) -> Array:
    """Returns the bounds (2, channels) widened by one more sample; channels are axis 1."""
    axes = tuple(i for i in range(values.ndim) if i != 1) if values.ndim > 1 else ()
    finite = np.nan_to_num(values)  # a range of NaN would say nothing
    low, high = np.atleast_1d(finite.min(axis=axes)), np.atleast_1d(finite.max(axis=axes))
    if bounds is not None:
        low, high = np.minimum(low, bounds[0]), np.maximum(high, bounds[1])
    found: Array = np.stack([low, high])
    return found
