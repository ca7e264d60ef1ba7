"""A float model opened for simulation: its graph, its calibration samples in batches, its ranges and its outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.model import CapturedModel
from edgekit.quantization.bias_correction import ChannelMeans
from edgekit.quantization.pt2e_graph import is_float_tensor, placeholders, read_float_graph, target_of
from edgekit.quantization.pt2e_plan import CONVOLUTIONS, LINEAR
from edgekit.quantization.pt2e_ranges import Bounds, Histogram, check_samples, observer_of, read_by_activations
from edgekit.quantization.ranges import Range
from edgekit.recipe import RangeMethod
from edgekit.samples import Samples, row_shape
from edgekit.simulation.graph_run import FLOAT, GraphRunner, Prepared, takes_batches
from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

MEMORY_BYTES: Final = 512 << 20
"""About what the values of one batch may take."""

_LARGEST_BATCH: Final = 32


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """What the float model's activations look like on the calibration samples.

    Attributes:
        ranges: By node name.
        input_means: Mean of each channel of what convolutions and linear layers read, by the name of its node.
    """

    ranges: Mapping[str, Range]
    input_means: Mapping[str, NDArray[np.float64]]


@final
class FloatModel:
    """A model and its samples, in one worker process.

    Args:
        model: Captured as `pt2`.
        samples: Calibration samples.

    Raises:
        ModelError: the file cannot be read.
        ConversionError: the graph cannot be brought into the simple form.
        DataError: the samples do not fit the model.
    """

    def __init__(self, model: CapturedModel, samples: Samples) -> None:
        graph = read_float_graph(model)
        check_samples(graph, samples)
        self.runner = GraphRunner(graph)
        self.captured = model
        self._learned = model.learned_ranges
        self.samples = samples
        self.batch = self._batch_size()

    def batches(self, count: int | None = None) -> Iterator[tuple[Tensor, ...]]:
        """Yields one tensor (batch, ...) for each input, or in the shapes of a call where one sample is a batch.

        Args:
            count: Take so many samples, spread evenly over all; None for all of them.
        """
        import numpy as np
        import torch

        total = self.samples.count
        wanted = total if count is None else min(count, total)
        chosen = np.unique(np.linspace(0, total - 1, wanted).round().astype(np.int64))
        if self.batch == 1:
            for row in self.samples.rows(chosen):
                yield tuple(map(torch.from_numpy, row))
            return
        arrays = self.samples.arrays()
        for start in range(0, len(chosen), self.batch):
            index = chosen[start : start + self.batch]
            yield tuple(torch.from_numpy(np.ascontiguousarray(array[index])) for array in arrays)

    def live_bytes(self) -> int:
        """Returns about how many bytes of values are alive at once for one sample."""
        alive = largest = 0
        ends: dict[int, int] = {}
        for index, node in enumerate(self.runner.nodes):
            size = _node_bytes(node)
            if size and node.op != "get_attr":
                alive += size
                last = max((self.runner.position.get(user.name, index) for user in node.users), default=index)
                ends[last] = ends.get(last, 0) + size
            largest = max(largest, alive)
            alive -= ends.pop(index, 0)
        return max(1, largest)

    def run(
        self,
        prepared: Prepared = FLOAT,
        watch: Callable[[str, Tensor], None] | None = None,
        progress: Callable[[float], None] = lambda _share: None,
    ) -> tuple[NDArray[Any], ...]:
        """Returns the outputs for all samples, one array (samples, ...) for each."""
        import numpy as np
        import torch

        parts: list[tuple[NDArray[Any], ...]] = []
        with torch.inference_mode():
            for rows in self.batches():
                results = self.runner.results(self.runner.advance(self.runner.start(rows), prepared, watch=watch))
                found = [value.numpy() for value in results]
                # Behind a batch of several rows every output has as many; one row alone may be of any shape.
                parts.append(tuple(a if self.batch > 1 else a.reshape(1, *row_shape(a.shape)) for a in found))
                progress(min(1.0, len(parts) * self.batch / self.samples.count))
        return tuple(np.concatenate(items) for items in zip(*parts, strict=True))

    def calibrate(self, method: RangeMethod, progress: Callable[[float], None]) -> Calibrated:
        """Returns ranges and means of the activations over all samples.

        Raises:
            DataError: a value is NaN or infinite.
        """
        floats = {node.name for node in self.runner.nodes if is_float_tensor(node)}
        read = {n.args[0].name for n in self.runner.nodes if target_of(n) in CONVOLUTIONS | {LINEAR}}
        activations = read_by_activations(self.runner.module)
        inputs = {node.name for node in placeholders(self.runner.module)}
        axes = {n.args[0].name: -1 for n in self.runner.nodes if target_of(n) == LINEAR}
        seen: dict[str, Bounds | Histogram] = {}
        means: dict[str, ChannelMeans] = {}

        def watch(name: str, value: Tensor) -> None:
            if name not in floats:
                return
            if name not in seen:
                seen[name] = observer_of(name, method, self._learned, activations.get(name), fed=name in inputs)
            seen[name].update(value)
            if name in read:
                means.setdefault(name, ChannelMeans(axis=axes.get(name, 1))).update(value.numpy())

        self.run(watch=watch, progress=progress)
        ranges = {name: item.range() for name, item in seen.items()}
        return Calibrated(ranges=ranges, input_means={name: item.mean() for name, item in means.items()})

    def _batch_size(self) -> int:
        """Returns how many samples run at a time: as many as the memory allows, one where the graph takes no more."""
        import torch

        if self.samples.count < 2 or not self.samples.stackable:
            return 1
        self.batch = 2
        rows = next(self.batches(2))
        with torch.inference_mode():
            if not takes_batches(self.runner, rows):
                return 1
        return max(1, min(_LARGEST_BATCH, self.samples.count, MEMORY_BYTES // (2 * self.live_bytes())))


def _node_bytes(node: Node) -> int:
    value: Any = node.meta.get("val")
    return int(value.numel() * value.element_size()) if hasattr(value, "numel") else 0
