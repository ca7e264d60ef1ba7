"""Which heads of a model integers would ruin: judged by structure and by the values on the calibration data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from edgekit.analysis.output_heads import Head, find_heads
from edgekit.model import CapturedModel
from edgekit.quantization.pt2e_graph import modules_of, results_of, target_of
from edgekit.quantization.pt2e_plan import LINEAR, WEIGHTED, described_operators
from edgekit.samples import Samples
from edgekit.simulation.float_model import FloatModel
from edgekit.simulation.graph_run import FLOAT
from edgekit.workers.worker import Job, Progress

if TYPE_CHECKING:
    from torch import Tensor

_SAMPLES: Final = 32
"""Samples that show how wide values are."""

_MEMBERS_APART: Final = 4.0
"""Times that one member's values are wider than another's: there a joint grid costs the narrower one 2 of 8 bits."""

_CHANNELS_APART: Final = 32.0
"""The same for channels of one layer, which are never of one width: such a channel has 8 of 256 values left."""

_DEAD: Final = 1e-5
"""Share of the widest channel's width below which a channel says nothing."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class HeadRequest:
    """Whose heads are judged, on what.

    Attributes:
        model: Captured as `pt2`.
        samples: Calibration samples.
    """

    model: CapturedModel
    samples: Samples


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedHead:
    """What was found about the head of one output.

    Attributes:
        position: Position of the output.
        joints: Concatenations and stacks of computed values in it.
        decodes: It computes boxes, scores or expectations from what layers give.
        widths: Widths of the narrowest and of the widest member of the joint whose members are furthest apart; () where
            nothing is joined, or nothing was measured.
        layers: Modules of the layers whose channels' ranges are far apart where they give their values to the head as
            they are, without decoding.
    """

    position: int
    joints: int
    decodes: bool
    widths: tuple[float, ...] = ()
    layers: tuple[str, ...] = ()

    @property
    def stays_float(self) -> bool:
        """True where integers would ruin it: boxes are decoded, or a joint has members that need grids of their own.

        Members that were not measured count as far apart.
        """
        apart = not self.widths or self.widths[1] >= _MEMBERS_APART * self.widths[0]
        return self.decodes or (self.joints > 0 and apart)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedHeads:
    """What was found about the head of each output, in order."""

    heads: tuple[JudgedHead, ...]


def by_structure(head: Head) -> JudgedHead:
    """Returns what the structure alone says about a head."""
    return JudgedHead(position=head.position, joints=len(head.joins), decodes=head.decodes)


def judge_heads(request: HeadRequest, progress: Progress) -> JudgedHeads:
    """Returns what structure and calibration data say about every head."""
    progress("looking at the outputs", None)
    model = FloatModel(request.model, request.samples)
    module = model.runner.module
    heads = find_heads(described_operators(module), [node.name for node in results_of(module)])
    nodes = {node.name: node for node in module.graph.nodes}
    axes = {
        name: -1 if target_of(nodes[name]) == LINEAR else 1
        for head in heads
        for name in head.entries
        if target_of(nodes[name]) in WEIGHTED
    }
    members = {name for head in heads for join in head.joins for name in join.members}
    widths = _Widths(members, axes)
    widths.measure(model)
    modules = {name: next(iter(modules_of(nodes[name])), "") for name in axes}
    return JudgedHeads(heads=tuple(_judged(head, widths, modules) for head in heads))


JUDGE_HEADS: Final = Job(work=judge_heads, tools=("torch",))


def _judged(head: Head, widths: _Widths, modules: Mapping[str, str]) -> JudgedHead:
    pairs = [widths.of_members(join.members) for join in head.joins]
    furthest = max((pair for pair in pairs if pair), key=lambda pair: pair[1] / pair[0], default=())
    # What is decoded are logits and exponents, whose channels are of one kind: a narrow one needs no finer steps.
    entries = () if head.decodes else head.entries
    layers = [modules[name] for name in entries if name in modules and widths.channels_apart(name)]
    return JudgedHead(
        position=head.position,
        joints=len(head.joins),
        decodes=head.decodes,
        widths=furthest,
        layers=tuple(dict.fromkeys(module for module in layers if module)),
    )


@final
class _Widths:
    """How wide the values of tensors and of their channels are, 0 included as grids include it.

    Args:
        tensors: Names of tensors whose width as a whole is wanted.
        axes: Names of tensors whose channels' widths are wanted, with the axis of the channels.
    """

    def __init__(self, tensors: set[str], axes: Mapping[str, int]) -> None:
        self._tensors = tensors
        self._axes = axes
        self._bounds: dict[str, tuple[Tensor, Tensor]] = {}

    def measure(self, model: FloatModel) -> None:
        """Runs the float model on some of its samples."""
        import torch

        with torch.inference_mode():
            for rows in model.batches(_SAMPLES):
                model.runner.advance(model.runner.start(rows), FLOAT, watch=self._watch)

    def of_members(self, names: Sequence[str]) -> tuple[float, ...]:
        """Returns the widths of the narrowest and of the widest of `names`; members that are always 0 do not count."""
        widths = [float((high - low).max()) for low, high in (self._bounds[n] for n in names if n in self._bounds)]
        alive = [width for width in widths if width > 0]
        return (min(alive), max(alive)) if len(alive) > 1 else ()

    def channels_apart(self, name: str) -> bool:
        """Returns True where a channel is so much narrower than another that one grid leaves it hardly any values."""
        low, high = self._bounds[name]
        widths = high - low
        widest = float(widths.max())
        alive = widths[widths > _DEAD * widest]
        return alive.numel() > 1 and float(alive.min()) * _CHANNELS_APART <= widest

    def _watch(self, name: str, value: Tensor) -> None:
        if not value.is_floating_point() or not value.numel():
            return
        if name in self._axes:
            flat = value.movedim(self._axes[name], 0).reshape(value.shape[self._axes[name]], -1)
        elif name in self._tensors:
            flat = value.reshape(1, -1)
        else:
            return
        low, high = flat.amin(1).clamp(max=0), flat.amax(1).clamp(min=0)
        before = self._bounds.get(name, (low, high))
        self._bounds[name] = (low.minimum(before[0]), high.maximum(before[1]))
