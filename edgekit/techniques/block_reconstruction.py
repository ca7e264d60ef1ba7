"""Fits a block of layers at a time: rounding, steps of activations and biases together, to the block's output.

Li et al., "BRECQ: Pushing the Limit of Post-Training Quantization by Block Reconstruction", 2021, section 3.2: what
layers of one block do to each other's errors is seen, what blocks do to each other's is not, and a hundred samples are
enough for that. Its objective without Fisher information, with the rounding of `adaround`:

    minimise || B(x) - B~(x^) ||^2 / || e ||^2 + lambda * mean(1 - |2 h(V) - 1|^beta)

x is the block's input in the float model, x^ the one with the errors of the blocks before, e the block's error at the
start. Wei et al., "QDrop: Randomly Dropping Quantization for Extremely Low-bit Post-Training Quantization", 2022,
section 4: while learning, each value of x^ is that of x with a probability (`drop`), and the minimum is flatter.

It starts from integers that were found layer by layer. Every eighth sample is not learned from: a block whose error is
not smaller there afterwards stays what it was, so no block loses to its start.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.quantization.pt2e_graph import constant_of, target_of
from edgekit.quantization.pt2e_plan import WEIGHTED
from edgekit.quantization.ranges import Range
from edgekit.samples import Samples
from edgekit.techniques.adaround import SoftRounding, annealed
from edgekit.techniques.base import Context, TorchModel
from edgekit.techniques.gptq import Grid
from edgekit.techniques.program_blocks import Block, Rounding, find_blocks, inputs_of, run_block
from edgekit.techniques.program_editing import spread_rows, with_tensors
from edgekit.techniques.rounded_training import float_graph, learned_ranges, planned_grids
from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.fx import GraphModule

    from edgekit.training.fake_quantization import FakeActivation

_BATCH: Final = 8
_CHUNK: Final = 16  # samples of a forward pass
_HELD_OUT: Final = 8  # every eighth sample
_WINDOW: Final = 28  # pixels a side of the part of a large picture that a step looks at
_LAMBDA: Final = 50.0  # with less, weights are undecided at the end, and deciding for them undoes what was learned
_RATES: Final = {"rounding": 5e-2, "steps": 1e-2, "biases": 1e-3}
"""Rates of Adam: of V, of the logarithm of a step, and of a bias as a share of its size."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RoundedLayer:
    """What was found for a layer by itself.

    Attributes:
        grid: Where its weights may be.
        integers: (G, R, K) float64.
        target: (G, R, K) float64: the real weights that fit best.
    """

    grid: Grid
    integers: Tensor
    target: Tensor


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstructed:
    """What came of a model.

    Attributes:
        model: With its weights on their grids and, where activations are integers, its learned ranges.
        gains_db: For each block that has layers, how much nearer its output is on samples that it did not learn from.
    """

    model: TorchModel
    gains_db: tuple[float, ...]


def reconstruct_blocks(
    model: TorchModel,
    start: TorchModel,
    layers: Mapping[str, RoundedLayer],
    context: Context,
    *,
    integer_activations: str | None,
    iterations: int,
    drop: float,
    sample_limit: int,
) -> Reconstructed:
    """Returns the model with weights, biases and ranges that reproduce its blocks.

    Args:
        model: The float model.
        start: The same with weights that were rounded layer by layer.
        layers: What was found for each layer, by the name of its weight.
        context: Samples and seed.
        integer_activations: Runtime whose kernels decide which activations lie on grids; None where all are float.
        iterations: Steps of Adam for each block.
        drop: Share of a block's input that is taken from the float model while learning.
        sample_limit: How many samples fit into memory.

    Raises:
        TechniqueError: the program spells out a batch of 1.
    """
    from edgekit.techniques.program_checks import example_feed
    from edgekit.training.trainable import free_batch, require_batches

    graph = float_graph(model).module
    samples = context.calibration()
    steps: dict[str, FakeActivation] = {}
    integer: frozenset[str] = frozenset()
    if integer_activations is not None:
        steps, integer = _steps(start, integer_activations, samples, context)
    free_batch(graph)
    require_batches(graph, example_feed(model.program), f"round_weights:method=blocks: {model.facts.source}")
    rows = _stacked(model, samples, sample_limit)
    tensors: dict[str, Any] = {**start.program.state_dict, **start.program.constants}
    known = {name: tensor.detach() for name, tensor in tensors.items() if hasattr(tensor, "detach")}
    rounding = Rounding(tensors=known, steps=steps, integer=integer)
    fit = _ModelFit(graph, rows, layers, rounding, context, iterations=iterations, drop=drop)
    changed = with_tensors(start, fit.run())
    if not steps:
        return Reconstructed(model=changed, gains_db=tuple(fit.gains_db))
    context.progress("looking at the learned ranges", None)
    ranges = {name: Range(low=s.scale() * s.low, high=s.scale() * s.high) for name, s in steps.items()}
    found = learned_ranges(changed, ranges, samples)
    return Reconstructed(
        model=replace(changed, facts=replace(changed.facts, learned_ranges=found)), gains_db=tuple(fit.gains_db)
    )


def _steps(
    start: TorchModel, runtime: str, samples: Samples, context: Context
) -> tuple[dict[str, FakeActivation], frozenset[str]]:
    """Returns the grid of each rounded tensor, one object for each group, and the nodes that read rounded values."""
    from edgekit.training.fake_quantization import FakeActivation

    plan, grids = planned_grids(float_graph(start), runtime, samples, context)
    groups: dict[str, FakeActivation] = {}
    for name, grid in grids.items():
        if plan.group_of[name] not in groups:
            groups[plan.group_of[name]] = FakeActivation(grid.scale, grid.zero_point, learned=True)
    return {name: groups[plan.group_of[name]] for name in grids}, plan.integer | plan.transparent


def _stacked(model: TorchModel, samples: Samples, limit: int) -> tuple[Tensor, ...]:
    """Returns one tensor (samples, ...) for each input."""
    import torch

    return tuple(torch.cat(rows) for rows in zip(*spread_rows(model, samples, limit), strict=True))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Trained:
    """What is trained in a block.

    Attributes:
        weights: Name of a weight to its soft form.
        biases: Name of a bias to its values.
        steps: The grids that this block is the first to read.
    """

    weights: Mapping[str, SoftRounding]
    biases: Mapping[str, Tensor]
    steps: Sequence[FakeActivation]

    def groups(self) -> list[dict[str, Any]]:
        """Returns the groups of an optimizer."""
        made: list[dict[str, Any]] = [
            {"params": [item.free for item in self.weights.values()], "lr": _RATES["rounding"]},
            {"params": [item.log_scale for item in self.steps], "lr": _RATES["steps"]},
        ]
        for bias in self.biases.values():
            size = float(bias.detach().square().mean().sqrt())
            made.append({"params": [bias], "lr": _RATES["biases"] * size})
        return [group for group in made if group["params"]]

    def tensors(self, *, hard: bool) -> dict[str, Tensor]:
        """Returns weights and biases by name."""
        found = {name: item.hard() if hard else item.soft() for name, item in self.weights.items()}
        return {**found, **{name: bias.detach() if hard else bias for name, bias in self.biases.items()}}


@final
class _ModelFit:
    """One walk over all blocks; holds the values between two of them, for all samples, in both models."""

    def __init__(
        self,
        graph: GraphModule,
        rows: tuple[Tensor, ...],
        layers: Mapping[str, RoundedLayer],
        rounding: Rounding,
        context: Context,
        *,
        iterations: int,
        drop: float,
    ) -> None:
        self._graph, self._layers, self._rounding = graph, layers, rounding
        self._context, self._iterations, self._drop = context, iterations, drop
        self._exact: dict[Node, Tensor] = dict(zip(inputs_of(graph), rows, strict=True))
        self._rounded = dict(self._exact)
        self._count = len(rows[0])
        self._changed: dict[str, Tensor] = {}
        self._learned_steps: set[FakeActivation] = set()
        self.gains_db: list[float] = []

    def run(self) -> dict[str, Tensor]:
        """Returns the new weights and biases by name."""
        blocks = find_blocks(self._graph)
        for i, block in enumerate(blocks):
            self._context.progress(f"fitting block {i + 1} of {len(blocks)}", i / len(blocks))
            wanted = self._forward(block, self._exact, None)
            trained = self._trained(block)
            if trained.weights:
                self._fit(block, trained, wanted, seed=self._context.seed + i)
            made = self._forward(block, self._rounded, self._rounding)
            if block.source is not None:
                self._exact.pop(block.source)
                self._rounded.pop(block.source)
            self._exact.update(zip(block.results, wanted, strict=True))
            self._rounded.update(zip(block.results, made, strict=True))
        return self._changed

    def _trained(self, block: Block) -> _Trained:
        weights: dict[str, SoftRounding] = {}
        biases: dict[str, Tensor] = {}
        steps: dict[FakeActivation, None] = {}
        for node in block.nodes:
            for item in node.all_input_nodes:
                step = self._rounding.steps.get(item.name)
                if step is not None and step not in self._learned_steps:
                    steps[step] = None
            name = str(node.args[1].target) if target_of(node) in WEIGHTED else ""
            layer = self._layers.get(name)
            if layer is None or name in self._changed:
                continue
            shape = tuple(self._rounding.tensors[name].shape)
            weights[name] = SoftRounding(layer.grid, layer.integers, layer.target, shape)
            bias: Any = node.args[2] if len(node.args) > 2 else None
            if constant_of(self._graph, bias) is not None:
                biases[str(bias.target)] = self._rounding.tensors[str(bias.target)].clone().requires_grad_()
        return _Trained(weights=weights, biases=biases, steps=tuple(steps))

    def _fit(self, block: Block, trained: _Trained, wanted: tuple[Tensor, ...], seed: int) -> None:
        """Trains a block, and keeps what came of it where samples that it has not seen say that it is better."""
        import torch

        held, shown = _parts(self._count)
        old = [step.log_scale.detach().clone() for step in trained.steps]
        start = {name: tensor.detach().clone() for name, tensor in trained.tensors(hard=True).items()}
        before = self._error(block, wanted, held)
        unit = self._error(block, wanted, shown)
        if unit > 0:
            self._descend(block, trained, wanted, shown, unit, seed)
        self._replace(trained.tensors(hard=True))
        after = self._error(block, wanted, held)
        if not after < before:
            self._replace(start)
            with torch.no_grad():
                for step, scale in zip(trained.steps, old, strict=True):
                    step.log_scale.copy_(scale)
            after = before
        self._learned_steps.update(trained.steps)
        self._changed.update({name: self._rounding.tensors[name] for name in start})
        self.gains_db.append(10 * math.log10(max(before, 1e-30) / max(after, 1e-30)))

    def _descend(
        self, block: Block, trained: _Trained, wanted: tuple[Tensor, ...], shown: Tensor, unit: float, seed: int
    ) -> None:
        import torch

        groups = trained.groups()
        optimizer = torch.optim.Adam(groups)
        rates = [group["lr"] for group in groups]
        generator = torch.Generator().manual_seed(seed)
        for step, index in enumerate(_batches(shown, self._iterations, generator)):
            share = step / self._iterations
            for group, rate in zip(optimizer.param_groups[1:], rates[1:], strict=True):
                group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * share))  # V has to decide until the very end
            exact, rounded, goals = self._batch(block, wanted, index, generator)
            rounding = replace(self._rounding, tensors={**self._rounding.tensors, **trained.tensors(hard=False)})
            made = run_block(self._graph, block, _dropped(exact, rounded, self._drop, generator), rounding)
            loss = _distance(made, goals) / unit
            beta = annealed(share)
            if beta is not None:
                loss = loss + _LAMBDA * torch.stack([w.undecided(beta) for w in trained.weights.values()]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def _batch(
        self, block: Block, wanted: tuple[Tensor, ...], index: Tensor, generator: torch.Generator
    ) -> tuple[dict[Node, Tensor], dict[Node, Tensor], tuple[Tensor, ...]]:
        """Returns what some samples feed into a block in both models and what it must make; a part of pictures."""
        import torch

        exact = {node: self._exact[node][index] for node in block.feeds}
        rounded = {node: self._rounded[node][index] for node in block.feeds}
        if not block.is_local:
            return exact, rounded, tuple(item[index] for item in wanted)
        first = next(iter(exact.values()))
        if min(first.shape[-2:]) <= _WINDOW:
            return exact, rounded, tuple(item[index] for item in wanted)
        window = _window(first, generator)
        exact, rounded = ({node: value[window] for node, value in feed.items()} for feed in (exact, rounded))
        with torch.no_grad():
            return exact, rounded, run_block(self._graph, block, exact)

    def _replace(self, tensors: Mapping[str, Tensor]) -> None:
        self._rounding = replace(self._rounding, tensors={**self._rounding.tensors, **tensors})

    def _error(self, block: Block, wanted: tuple[Tensor, ...], index: Tensor) -> float:
        """Returns the distance of the block's results from the float model's on some samples."""
        feed = {node: self._rounded[node][index] for node in block.feeds}
        return float(_distance(_chunked(self._run(block, self._rounding), feed), tuple(item[index] for item in wanted)))

    def _forward(self, block: Block, values: Mapping[Node, Tensor], rounding: Rounding | None) -> tuple[Tensor, ...]:
        return _chunked(self._run(block, rounding), {node: values[node] for node in block.feeds})

    def _run(self, block: Block, rounding: Rounding | None) -> Callable[[Mapping[Node, Tensor]], tuple[Tensor, ...]]:
        return lambda feed: run_block(self._graph, block, feed, rounding)


def _chunked(
    run: Callable[[Mapping[Node, Tensor]], tuple[Tensor, ...]], feed: Mapping[Node, Tensor]
) -> tuple[Tensor, ...]:
    """Returns the results for all samples, a few samples at a time."""
    import torch

    count = len(next(iter(feed.values())))
    with torch.no_grad():
        parts = [
            run({node: value[first : first + _CHUNK] for node, value in feed.items()})
            for first in range(0, count, _CHUNK)
        ]
    return tuple(torch.cat(items) for items in zip(*parts, strict=True))


def _distance(made: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Returns the mean squared difference over the mean square of what is wanted, averaged over the results."""
    import torch

    pairs = [(one, two) for one, two in zip(made, wanted, strict=True) if two.is_floating_point()]
    shares = [(one - two).square().mean() / two.square().mean().clamp(min=1e-20) for one, two in pairs]
    return torch.stack(shares).mean()


def _dropped(
    exact: Mapping[Node, Tensor], rounded: Mapping[Node, Tensor], drop: float, generator: torch.Generator
) -> Mapping[Node, Tensor]:
    """Returns inputs with errors of which each value is the exact one with the probability `drop`."""
    import torch

    if not drop:
        return rounded
    found: dict[Node, Tensor] = {}
    for node, value in rounded.items():
        if exact[node] is value or not value.is_floating_point():
            found[node] = value
        else:
            found[node] = torch.where(torch.rand(value.shape, generator=generator) < drop, exact[node], value)
    return found


def _parts(count: int) -> tuple[Tensor, Tensor]:
    """Returns the samples that judge and those that are learned from; few samples do both."""
    import torch

    index = torch.arange(count)
    if count < 2 * _HELD_OUT:
        return index, index
    held = index % _HELD_OUT == _HELD_OUT - 1
    return index[held], index[~held]


def _batches(shown: Tensor, iterations: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yields samples for each step: all of them in a random order, then again in another."""
    import torch

    order = shown[:0]
    for _ in range(iterations):
        if len(order) < min(_BATCH, len(shown)):
            order = shown[torch.randperm(len(shown), generator=generator)]
        yield order[:_BATCH]
        order = order[_BATCH:]


def _window(picture: Tensor, generator: torch.Generator) -> tuple[Any, ...]:
    """Returns the index of a random part of pictures (batch, C, H, W)."""
    import torch

    ends = [size - _WINDOW + 1 for size in picture.shape[-2:]]
    top, left = (int(torch.randint(0, end, (1,), generator=generator)) for end in ends)
    return (..., slice(top, top + _WINDOW), slice(left, left + _WINDOW))
