"""Which activations are alive at the same time, and how large a block of memory holds them.

Runtimes on devices run the operators one after another and place every activation at a fixed offset of one block, the
arena. Two questions are answered here: how many bytes are alive at the worst moment (a lower bound that no placement
beats), and how large the arena becomes with the placement that LiteRT and others use, greedy by size
(Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020, section 5.2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

from edgekit.analysis.graph import Memory, Operator

ALIGNMENT: Final = 64
"""Offsets are multiples of this, as in LiteRT and ExecuTorch: vector loads want it."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Buffer:
    """A stretch of memory that one tensor, or several that take each other's place, occupy.

    Attributes:
        tensors: Names, in the order in which they lie there.
        size_bytes: Bytes.
        first: Index of the operator that writes it first; -1 for an input of the model.
        last: Index of the last operator that needs it; the number of operators for an output of the model.
    """

    tensors: tuple[str, ...]
    size_bytes: int
    first: int
    last: int

    def alive_at(self, step: int) -> bool:
        """Returns True if the buffer is needed while operator number `step` runs."""
        return self.first <= step <= self.last

    def overlaps(self, other: Buffer) -> bool:
        """Returns True if both are needed at some time."""
        return self.first <= other.last and other.first <= self.last


@dataclass(slots=True)
class _Growing:
    tensors: list[str]
    size_bytes: int
    first: int
    last: int
    fixed: bool


def buffers(
    operators: Sequence[Operator],
    inputs: Sequence[str],
    outputs: Sequence[str],
    size_of: Callable[[str], int],
    *,
    in_place: bool = True,
) -> tuple[Buffer, ...]:
    """Returns the buffers that a run needs, in the order in which they are first written.

    The model's inputs and outputs stay alive all the time that they exist: runtimes keep them for the caller.

    Args:
        operators: In execution order.
        inputs: Names of the model's inputs.
        outputs: Names of the model's outputs.
        size_of: Bytes of a tensor.
        in_place: Lets an operator that may do so write over an input that nobody needs any more.
    """
    end = len(operators)
    last_use = {name: index for index, operator in enumerate(operators) for name in operator.inputs}
    kept = {*inputs, *outputs}
    growing: list[_Growing] = []
    home: dict[str, _Growing] = {}
    for name in dict.fromkeys(inputs):
        home[name] = _Growing([name], size_of(name), -1, end, fixed=True)
        growing.append(home[name])
    for index, operator in enumerate(operators):
        for position, name in enumerate(operator.outputs):
            last = end if name in kept else max(index, last_use.get(name, index))
            reusable = _reusable(operator, index, home, size_of(name)) if in_place and position == 0 else None
            if reusable is not None:
                reusable.tensors.append(name)
                reusable.last = last
                reusable.fixed = name in kept
                home[name] = reusable
            elif name not in home:
                home[name] = _Growing([name], size_of(name), index, last, fixed=name in kept)
                growing.append(home[name])
    return tuple(Buffer(tensors=tuple(b.tensors), size_bytes=b.size_bytes, first=b.first, last=b.last) for b in growing)


def _reusable(operator: Operator, index: int, home: Mapping[str, _Growing], size: int) -> _Growing | None:
    """Returns the input's buffer that the operator may write over: of the same size, and dead after this operator."""
    if not operator.in_place:
        return None
    candidates = (home[name] for name in operator.inputs if name in home)
    return next((b for b in candidates if not b.fixed and b.last == index and b.size_bytes == size), None)


def live_bytes(items: Sequence[Buffer], steps: int) -> list[int]:
    """Returns the bytes alive while each of `steps` operators runs."""
    change = [0] * (steps + 2)
    for item in items:
        change[max(item.first, 0)] += item.size_bytes
        change[min(item.last, steps - 1) + 1] -= item.size_bytes
    alive: list[int] = []
    total = 0
    for step in range(steps):
        total += change[step]
        alive.append(total)
    return alive


def place(items: Sequence[Buffer]) -> tuple[list[int], int]:
    """Returns the offset of every buffer in one block, and the block's size: greedy by size, best gap first.

    Buffers that are alive at the same time never overlap.
    """
    order = sorted(range(len(items)), key=lambda i: (-items[i].size_bytes, items[i].first))
    offsets = [0] * len(items)
    placed: list[int] = []
    total = 0
    for index in order:
        item = items[index]
        neighbours = sorted((offsets[i], items[i].size_bytes) for i in placed if items[i].overlaps(item))
        offsets[index] = _best_gap(neighbours, item.size_bytes)
        placed.append(index)
        total = max(total, offsets[index] + item.size_bytes)
    return offsets, total


def _best_gap(neighbours: Sequence[tuple[int, int]], size: int) -> int:
    """Returns the offset of the smallest gap between `neighbours` (offset, size; sorted) that holds `size` bytes."""
    best: tuple[int, int] | None = None
    free_from = 0
    for offset, taken in neighbours:
        gap = offset - free_from
        if gap >= size and (best is None or gap < best[0]):
            best = (gap, free_from)
        free_from = max(free_from, _aligned(offset + taken))
    return best[1] if best is not None else free_from


def _aligned(offset: int) -> int:
    return (offset + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


def memory(
    operators: Sequence[Operator],
    inputs: Sequence[str],
    outputs: Sequence[str],
    size_of: Callable[[str], int],
) -> Memory:
    """Returns what the activations need: the peak of the bytes alive, the arena, and who is alive at the peak."""
    items = buffers(operators, inputs, outputs, size_of)
    alive = live_bytes(items, len(operators))
    if not alive:
        total = sum(item.size_bytes for item in items)
        return Memory(live_peak_bytes=total, arena_bytes=total, peak_operator="", peak_tensors=tuple(inputs))
    peak = max(alive)
    step = alive.index(peak)
    there = sorted((item for item in items if item.alive_at(step)), key=lambda item: -item.size_bytes)
    return Memory(
        live_peak_bytes=peak,
        arena_bytes=max(peak, place(items)[1]),
        peak_operator=operators[step].name,
        peak_tensors=tuple(_tensor_at(item, step, operators) for item in there),
    )


def _tensor_at(item: Buffer, step: int, operators: Sequence[Operator]) -> str:
    """Returns the name of the tensor that lies in a buffer while operator `step` runs."""
    written = {name for operator in operators[: step + 1] for name in operator.outputs}
    return next((name for name in reversed(item.tensors) if name in written), item.tensors[0])
