"""Activation ranges and channel means of a float graph, from one pass over the calibration data.

The graph is interpreted row by row; only the tensors that the plan asks for are looked at, and a tensor is freed after
its last reader. Memory is one inference's activations plus a histogram for each tensor.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final

from edgekit.analysis.activation_inputs import Activation, activation_inputs
from edgekit.errors import DataError
from edgekit.model import LearnedRange
from edgekit.quantization.bias_correction import ChannelMeans
from edgekit.quantization.channel_extremes import ChannelExtremes
from edgekit.quantization.pt2e_graph import FloatGraph, placeholders, results_of, shape_of
from edgekit.quantization.pt2e_plan import described_operators
from edgekit.quantization.ranges import Range, choose_range
from edgekit.quantization.statistics import TensorStatistics, not_finite
from edgekit.recipe import RangeMethod
from edgekit.samples import Samples
from edgekit.workers.worker import Progress

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor
    from torch.fx import GraphModule


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What running the float graph on the calibration samples told, by node name.

    Attributes:
        ranges: Ranges of the tensors that go onto a fixed grid.
        means: Mean of each channel of what a weighted operator reads, (channels,), by the name of that operator.
        extremes: Extremes of each channel of the tensors for which they were requested.
    """

    ranges: Mapping[str, Range] = field(default_factory=dict[str, Range])
    means: Mapping[str, NDArray[np.float64]] = field(default_factory=dict[str, "NDArray[np.float64]"])
    extremes: Mapping[str, ChannelExtremes] = field(default_factory=dict[str, ChannelExtremes])


def calibrate(
    graph: FloatGraph,
    tensors: Collection[str],
    layers: Mapping[str, tuple[str, int]],
    samples: Samples,
    method: RangeMethod,
    progress: Progress,
    learned: Sequence[LearnedRange] = (),
    channels: Collection[str] = (),
) -> Calibration:
    """Returns what all rows of `samples` look like inside the graph.

    Args:
        graph: The float graph.
        tensors: Node names whose range is wanted.
        layers: Layers whose inputs' channel means are wanted: the tensor that each reads, the axis of its channels.
        samples: Calibration samples.
        method: How ranges are chosen.
        progress: Callback that gets how far it is.
        learned: Ranges that training has found.
        channels: Tensors whose channels' extremes are wanted; axis 1 is theirs.

    Raises:
        DataError: the samples do not fit the model, or a tensor has NaN or infinite values.
    """
    import torch

    check_samples(graph, samples)
    activations = read_by_activations(graph.module)
    inputs = {node.name for node in placeholders(graph.module)}
    watch: dict[str, Any] = {
        name: observer_of(name, method, learned, activations.get(name), fed=name in inputs) for name in tensors
    }
    means = {place: ChannelMeans(place[1]) for place in layers.values()}
    extremes = {name: ChannelExtremes(axis=1) for name in channels}
    places: dict[str, list[tuple[str, int]]] = {}
    for place in means:
        places.setdefault(place[0], []).append(place)

    class Observer(torch.fx.Interpreter):  # type: ignore[misc]  # torch is Any here
        def run_node(self, n: torch.fx.Node) -> Any:
            value = super().run_node(n)
            observer = watch.get(n.name)
            if observer is not None:
                observer.update(value)
            for place in places.get(n.name, ()):
                means[place].update(value.numpy())
            if n.name in extremes:
                extremes[n.name].update(value.numpy())
            return value

    interpreter = Observer(graph.module)
    interpreter.extra_traceback = False  # it appends the graph's source to the messages of errors
    dtypes = [node.meta["val"].dtype for node in placeholders(graph.module)]
    with torch.inference_mode():
        for index, row in enumerate(samples.rows()):
            feed = [torch.from_numpy(array.copy()).to(dtype) for array, dtype in zip(row, dtypes, strict=True)]
            interpreter.run(*feed)
            progress("calibrating", (index + 1) / samples.count)
    return Calibration(
        ranges={name: observer.range() for name, observer in watch.items()},
        means={layer: means[place].mean() for layer, place in layers.items()},
        extremes=extremes,
    )


def check_samples(graph: FloatGraph, samples: Samples) -> None:
    """Raises DataError where the samples are not what the model takes."""
    inputs = placeholders(graph.module)
    shapes = samples.shapes()
    if len(shapes) != len(inputs):
        raise DataError(
            f"Calibration data has {len(shapes)} tensors a sample ({', '.join(samples.names)}) and the model has "
            f"{len(inputs)} inputs ({', '.join(node.name for node in inputs)}). Yield one tensor for each input."
        )
    for place, (node, shape) in enumerate(zip(inputs, shapes, strict=True)):
        expected = shape_of(node)
        if graph.open_sizes is not None:
            # Rows differ in open sizes; each of theirs was checked when the data was read.
            pairs = zip(shape, expected, graph.open_sizes.inputs[place], strict=True)
            expected = tuple(given if name else size for given, size, name in pairs)
        if shape != expected:
            raise DataError(
                f'Calibration data for the input "{node.name}" has rows of shape {shape}; the model '
                f"expects {expected}. Preprocess calibration data as the model's inputs."
            )


def read_by_activations(module: GraphModule) -> dict[str, Activation]:
    """Returns the activation that reads each tensor of a float graph which nothing else reads."""
    return activation_inputs(described_operators(module), [node.name for node in results_of(module)])


def observer_of(
    name: str, method: RangeMethod, learned: Sequence[LearnedRange], activation: Activation | None, *, fed: bool
) -> Bounds | Histogram:
    """Returns what collects the range of one tensor: only its bounds where no more is requested.

    Args:
        name: The tensor's, for messages.
        method: How its range is chosen.
        learned: Ranges that training has found.
        activation: The activation that reads it, where nothing else does.
        fed: It is an input of the model.
    """
    if method == "minmax" and not learned:
        return Bounds(name, activation, fed=fed)
    return Histogram(name, method, learned, activation, fed=fed)


class Bounds:
    """Minimum and maximum: all that the minmax method needs, at a tenth of a histogram's cost."""

    def __init__(self, name: str, activation: Activation | None = None, *, fed: bool = False) -> None:
        self._name = name
        self._fed = fed
        self._activation: Activation | None = activation
        self._low = 0.0
        self._high = 0.0

    def update(self, value: Tensor) -> None:
        """Adds a tensor's values."""
        import torch

        low, high = (float(bound) for bound in torch.aminmax(value))
        if not (math.isfinite(low) and math.isfinite(high)):
            raise not_finite(self._name)
        self._low, self._high = min(self._low, low), max(self._high, high)

    def range(self) -> Range:
        """Returns the range of all values so far."""
        found = Range(low=self._low, high=self._high).read_by(self._activation)
        return found.on_whole_steps() if self._fed else found


class Histogram:
    """Statistics for the methods that look at how values are distributed."""

    def __init__(
        self,
        name: str,
        method: RangeMethod,
        learned: Sequence[LearnedRange] = (),
        activation: Activation | None = None,
        *,
        fed: bool = False,
    ) -> None:
        self._fed = fed
        self._statistics = TensorStatistics(name)
        self._activation: Activation | None = activation
        self._learned = learned
        self._method: RangeMethod = method

    def update(self, value: Tensor) -> None:
        """Adds a tensor's values."""
        array: NDArray[np.float32] = value.numpy()
        self._statistics.update(array)

    def range(self) -> Range:
        """Returns the range of all values so far."""
        return choose_range(
            self._statistics, self._method, learned=self._learned, activation=self._activation, fed=self._fed
        )
