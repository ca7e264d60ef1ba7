"""Runs a float graph node by node, batch by batch, with some weights and activations rounded.

A value is freed after its last reader, so memory is what is alive and no more. The state between two nodes can be
copied (`Run.fork`): tensors are shared, so a branch that changes one layer costs only what comes after that layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.quantization.bias_correction import mean_shift
from edgekit.quantization.pt2e_graph import FloatGraph, constant_of, placeholders, shape_of, target_of
from edgekit.quantization.pt2e_plan import RECURRENT, TRANSPOSED_CONVOLUTIONS
from edgekit.simulation.placement import Kernel, Placement
from edgekit.simulation.quantizers import ActivationQuantizer
from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor
    from torch.fx import GraphModule

_RESHAPES: Final = ("aten.expand.default", "aten.reshape.default", "aten.view.default")
_TOLERANCE: Final = 1e-4  # of the largest output: kernels for a batch sum in another order


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A placement made ready to run.

    Attributes:
        placement: What is rounded.
        constants: Node to the tensors that take the place of its `get_attr` inputs, by name.
    """

    placement: Placement
    constants: Mapping[str, Mapping[str, Tensor]]


FLOAT: Final = Prepared(placement=Placement(kernels={}, tensors={}, owner={}, integer=frozenset()), constants={})
"""Nothing is rounded."""


@final
@dataclass(slots=True, kw_only=True)
class Run:
    """The state between two nodes.

    Attributes:
        position: Index of the next node.
        values: Values that are still needed, by node name.
        rounded: The same as integer nodes read them, where that differs.
    """

    position: int = 0
    values: dict[str, Tensor] = field(default_factory=dict[str, Any])
    rounded: dict[str, Tensor] = field(default_factory=dict[str, Any])

    def fork(self) -> Run:
        """Returns a copy that shares the tensors."""
        return Run(position=self.position, values=dict(self.values), rounded=dict(self.rounded))


@final
class GraphRunner:
    """Runs one graph. Only ever inside a worker process.

    Args:
        graph: A simplified float graph at batch 1.
    """

    def __init__(self, graph: FloatGraph) -> None:
        self.module = graph.module
        _free_batch(graph.module)
        self.nodes: list[Node] = [node for node in graph.module.graph.nodes if node.op != "output"]
        self.position = {node.name: i for i, node in enumerate(self.nodes)}
        output = next(node for node in reversed(graph.module.graph.nodes) if node.op == "output")
        returned = output.args[0]
        self._results = list(returned) if isinstance(returned, list | tuple) else [returned]
        self._constants = {n.name: constant_of(self.module, n) for n in self.nodes if n.op == "get_attr"}
        self._inputs = placeholders(graph.module)
        kept = {node.name for node in self._results}
        self._last: list[list[str]] = [[] for _ in self.nodes]
        for node in self.nodes:
            if node.op != "get_attr" and node.name not in kept:
                after = max((self.position[u.name] for u in node.users if u.op != "output"), default=None)
                self._last[self.position[node.name] if after is None else after].append(node.name)

    def start(self, rows: Sequence[Tensor]) -> Run:
        """Returns the state before the first node.

        Args:
            rows: One tensor (batch, ...) for each input.
        """
        run = Run()
        for node, value in zip(self._inputs, rows, strict=True):
            run.values[node.name] = value.to(node.meta["val"].dtype)
        return run

    def advance(
        self, run: Run, prepared: Prepared, until: int | None = None, watch: Callable[[str, Tensor], None] | None = None
    ) -> Run:
        """Runs the nodes up to index `until` (all of them if None) and returns `run`, changed.

        Args:
            run: Where to go on from.
            prepared: What is rounded.
            until: Index of the first node that is not run.
            watch: Callback that gets (node name, value) of each value that is a tensor, inputs included.
        """
        end = len(self.nodes) if until is None else until
        for index in range(run.position, end):
            node = self.nodes[index]
            if node.op == "call_function":
                run.values[node.name] = self._call(node, run, prepared)
            if node.op != "get_attr":
                _round(node.name, run, prepared.placement)
                if watch is not None and hasattr(run.values[node.name], "dtype"):
                    watch(node.name, run.values[node.name])
            for name in self._last[index]:
                run.values.pop(name, None)
                run.rounded.pop(name, None)
        run.position = end
        return run

    def results(self, run: Run) -> tuple[Tensor, ...]:
        """Returns the outputs of a run that has come to its end."""
        return tuple(self._constants.get(node.name, run.values.get(node.name)) for node in self._results)

    def prepare(self, placement: Placement, input_means: Mapping[str, NDArray[np.float64]]) -> Prepared:
        """Returns a placement with its weights rounded and its biases corrected.

        Args:
            placement: What is rounded.
            input_means: Mean of each input channel, by the name of the node that makes the input.
        """
        constants: dict[str, dict[str, Tensor]] = {}
        for name, kernel in placement.kernels.items():
            node = self.nodes[self.position[name]]
            own = {key: rounds(self._constants[key]) for key, rounds in kernel.weights.items()}
            if kernel.corrects_bias:
                own |= self._corrected_bias(node, kernel, own, input_means)
            constants[name] = own
        return Prepared(placement=placement, constants=constants)

    def _call(self, node: Node, run: Run, prepared: Prepared) -> Any:
        from torch.fx.node import map_arg

        own = prepared.constants.get(node.name, {})
        kernel = prepared.placement.kernels.get(node.name)
        source = kernel.source if kernel else None
        integer = node.name in prepared.placement.integer

        def value_of(item: Node) -> Any:
            name = item.name
            if name in own:
                return own[name]
            if name in self._constants:
                return self._constants[name]
            value = run.rounded.get(name, run.values[name]) if integer else run.values[name]
            return source(value) if source is not None and item is node.args[0] else value

        result = node.target(*map_arg(node.args, value_of), **map_arg(node.kwargs, value_of))
        shift = own.get(_SHIFT)
        return result - shift if shift is not None else result

    def _corrected_bias(
        self, node: Node, kernel: Kernel, own: Mapping[str, Tensor], input_means: Mapping[str, NDArray[np.float64]]
    ) -> dict[str, Tensor]:
        """Returns the mean shift of the outputs that rounding the weights causes, in the shape of an output.

        It is taken from the result and not from the bias, which the node need not have.
        """
        import torch

        (key,) = kernel.weights
        means = input_means.get(node.args[0].name)
        exact = self._constants[key].detach()
        groups = int(node.args[6]) if len(node.args) > 6 else 1
        if means is None or target_of(node) in TRANSPOSED_CONVOLUTIONS or exact.shape[1] * groups != means.size:
            return {}
        error = (own[key].double() - exact.double()).numpy()
        shift = torch.from_numpy(mean_shift(error, means, groups)).to(exact.dtype)
        return {_SHIFT: shift.reshape(-1, *[1] * (exact.ndim - 2)) if exact.ndim > 2 else shift}


_SHIFT: Final = "corrected bias"
"""Key beside the names of weights; no node can have this name."""


def _round(name: str, run: Run, placement: Placement) -> None:
    """Rounds a value that was just made, for everybody or for those who read integers."""
    rounds: ActivationQuantizer | None = placement.tensors.get(name)
    if rounds is None:
        return
    rounded = rounds(run.values[name])
    if name in placement.integer:
        run.values[name] = rounded
    else:
        run.rounded[name] = rounded


def _free_batch(module: GraphModule) -> None:
    """Lets reshapes that spell out a batch of 1 take any batch: the first axis is left open."""
    for node in module.graph.nodes:
        if target_of(node) in _RESHAPES:
            source = getattr(node.args[0], "meta", {}).get("val")
            if source is not None and source.shape[:1] == (1,) and shape_of(node)[:1] == (1,):
                node.args = (node.args[0], [-1, *shape_of(node)[1:]], *node.args[2:])


def takes_batches(runner: GraphRunner, rows: Sequence[Tensor]) -> bool:
    """Returns True if the graph computes rows side by side as it does one by one.

    Args:
        runner: Runner of the graph.
        rows: One tensor (2, ...) for each input, two different rows.
    """
    import torch

    if any(target_of(node) in RECURRENT for node in runner.nodes):
        return False  # their initial states have the batch in them, and torch reads beyond their end instead of asking
    try:
        together = runner.results(runner.advance(runner.start(rows), FLOAT))
    except (RuntimeError, IndexError):
        return False  # a shape with the batch in it
    for i in range(2):
        alone = runner.results(runner.advance(runner.start([row[i : i + 1] for row in rows]), FLOAT))
        for both, one in zip(together, alone, strict=True):
            if both.shape[:1] != (2,) or both[i : i + 1].shape != one.shape:
                return False
            largest = max(1e-12, float(one.abs().max())) if one.numel() else 1.0
            if not torch.allclose(both[i : i + 1].double(), one.double(), rtol=0, atol=_TOLERANCE * largest):
                return False
    return True
