"""One layer run again on the artifact's own inputs, as it is and with one thing changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from edgekit.debugging.float_graph import FloatGraphRun, Values, as_array
from edgekit.debugging.inspector import InnerTensor, StoredGrid
from edgekit.debugging.matching import Match
from edgekit.debugging.measure import artifact_value, on_stored_range

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    Array = NDArray[np.float32]

WeightChange = Callable[[Any, str], Any]
"""Given a weight and its node's operator, returns what takes its place."""

_LEAST_NOISE: Final = 1e-5
"""Noise power, relative to the signal, that 16-bit float arithmetic may leave (50 dB): no fault is sought below."""


@final
class LayerReplay:
    """The matched layers of one artifact on a few samples.

    Args:
        graph: The float model.
        matches: By node name.
        tensors: The artifact's, by name.
        rows: Inputs of the samples.
        values: The artifact's values on them.
    """

    def __init__(
        self,
        graph: FloatGraphRun,
        matches: Mapping[str, Match],
        tensors: Mapping[str, InnerTensor],
        rows: Sequence[Sequence[NDArray[Any]]],
        values: Sequence[Mapping[str, Array]],
    ) -> None:
        self.graph = graph
        self.matches = matches
        self._tensors = tensors
        self._known = frozenset(matches)
        self._inputs = [graph.start(row) for row in rows]
        self._states: list[Values] = []
        for start, own in zip(self._inputs, values, strict=True):
            state = dict(start)
            for name, match in matches.items():
                state[name] = artifact_value(match, graph.by_name[name].shape, own)
            self._states.append(state)

    def grid(self, name: str) -> StoredGrid | None:
        """Returns the grid that the artifact stores a layer's values on."""
        return self._tensors[self.matches[name].tensor].grid

    def kept_grid(self, name: str) -> StoredGrid | None:
        """Returns the grid of a layer that it shares with what it reads, as kernels of pooling demand; else None."""
        own = self.grid(name)
        sources = [source for source in self.sources(name) if source in self.matches]
        return own if own is not None and any(self.grid(source) == own for source in sources) else None

    def segment(self, name: str) -> list[str]:
        """Returns the nodes that the layer stands for: those since the last matched ones."""
        return self.graph.between(self._known - {name}, name)

    def own(self, name: str) -> Array:
        """Returns the artifact's values of a layer, (samples, ...)."""
        return np.concatenate([as_array(state[name])[None] for state in self._states])

    def sources(self, name: str) -> list[str]:
        """Returns the matched nodes and inputs that the layer's segment reads."""
        segment = set(self.segment(name))
        read = [source for node in segment for source in self.graph.by_name[node].sources if source not in segment]
        return list(dict.fromkeys(read))

    def run(
        self,
        name: str,
        *,
        without: str = "",
        weights: WeightChange | None = None,
        inputs: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
    ) -> Array:
        """Returns what the float layer makes of the artifact's own inputs, (samples, ...).

        Args:
            name: Name of the layer's node.
            without: A node of the segment that passes on what it reads.
            weights: Changes the weights.
            inputs: Changes what the segment reads, by node name.
        """
        segment = self.segment(name)
        changed: dict[str, Tensor] = {}
        if weights is not None:
            for node in (self.graph.by_name[item] for item in segment):
                if node.weight:
                    changed[node.weight] = weights(self.graph.weight(node.weight).detach(), node.operator)
        if name in self.graph.inputs:
            return np.concatenate([as_array(start[name])[None] for start in self._inputs])
        made: list[Array] = []
        for state in self._states:
            local: Values = {}
            for source in self.sources(name):
                change = (inputs or {}).get(source)
                local[source] = change(state[source]) if change else state[source]
            for item in segment:
                if item == without:
                    local[item] = local[self.graph.by_name[item].sources[0]]
                else:
                    local[item] = self.graph.evaluate(item, local, changed)
            made.append(as_array(local[name])[None])
        return np.concatenate(made)

    def ordinary_noise(self, name: str, bits: int, seen: tuple[float, float]) -> float:
        """Returns the noise power, relative to the signal, that sound quantization makes in this layer.

        Weights are rounded with a scale for each channel, inputs that are float in the artifact and the output to 256
        steps over their ranges (the output only where the artifact stores it on a grid; where that is its input's grid,
        on that one).

        Args:
            name: Name of the layer's node.
            bits: Bits of the weights; 0 where they are float.
            seen: Range of the layer's values in the float model.
        """
        exact = self.run(name)
        rounded = exact
        if bits:
            read = {source: fake_quantized for source in self.sources(name) if self._is_float(source)}
            rounded = self.run(
                name, weights=lambda weight, operator: rounded_weight(weight, operator, bits), inputs=read
            )
        if self.grid(name) is not None:
            rounded = on_grid(rounded, self.kept_grid(name) or range_grid(seen))
            exact = on_stored_range(self.graph, name, exact, self.grid(name))
        return max(_LEAST_NOISE, relative_noise(exact, rounded))

    def _is_float(self, source: str) -> bool:
        match = self.matches.get(source)
        node = self.graph.by_name[source]
        return node.comparable and (match is None or self._tensors[match.tensor].grid is None)


def relative_noise(exact: Array, other: Array) -> float:
    """Returns the power of the difference relative to the power of `exact`."""
    error = (other - exact).reshape(-1).astype(np.float64)
    signal = exact.reshape(-1).astype(np.float64)
    return float(error @ error) / max(float(signal @ signal), 1e-30)


def range_grid(seen: tuple[float, float]) -> StoredGrid:
    """Returns the 8-bit grid that covers a range and zero."""
    low, high = min(seen[0], 0.0), max(seen[1], 0.0)
    scale = max((high - low) / 255, 1e-12)
    return StoredGrid(scale=scale, zero_point=round(-128 - low / scale), least=-128, largest=127)


def on_grid(values: Array, grid: StoredGrid) -> Array:
    """Returns values rounded to a grid and clipped to it."""
    steps = np.rint(values / np.float32(grid.scale)) + grid.zero_point
    found: Array = ((np.clip(steps, grid.least, grid.largest) - grid.zero_point) * grid.scale).astype(np.float32)
    return found


def fake_quantized(value: Tensor) -> Tensor:
    """Returns a torch tensor rounded to 256 steps over its own range."""
    import torch

    if not value.dtype.is_floating_point:
        return value
    grid = range_grid((float(value.min()), float(value.max())))
    return torch.from_numpy(on_grid(as_array(value), grid))


def rounded_weight(weight: Tensor, operator: str, bits: int, *, per_channel: bool = True) -> Tensor:
    """Returns a weight rounded to signed integers of `bits` bits.

    Args:
        weight: Torch tensor.
        operator: Operator of its node: transposed convolutions have the output channels on axis 1.
        bits: Bits of the integers.
        per_channel: A scale for each output channel; False for one scale.
    """
    largest = 2 ** (bits - 1) - 1
    axis = 1 if "transpose" in operator else 0
    axes = [i for i in range(weight.ndim) if i != axis]
    peaks = weight.abs().amax(dim=axes, keepdim=True) if per_channel and axes else weight.abs().max()
    scales = (peaks / largest).clamp_min(1e-12)
    return (weight / scales).round().clamp(-largest, largest) * scales
