"""What onnxruntime's arena grows to in its first runs, found by laying activations out as it does.

The arena asks the system for regions that double in size and cuts chunks out of them: the smallest free chunk that is
large enough is taken, cut where half of it would be left, and joined with free neighbours when it is given back
(onnxruntime, `core/framework/bfc_arena.cc`, after TensorFlow's). In the first run activations come one by one. From the
second on, they lie in one block whose offsets were found while the first ran, each in the narrowest gap that held it
(`mem_pattern_planner.h`); the arena gives that block too, and returns nothing to the system. Only pages that were
written count.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, final

_STEP: Final = 256
_FIRST_REGION: Final = 1 << 20
_MOST_DEAD: Final = 128 << 20
"""Bytes of a chunk that may stay unused; it is cut beyond."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A buffer is taken or given back.

    Attributes:
        name: The buffer.
        size_bytes: Its bytes; 0 gives it back.
        planned: False for what a kernel takes for itself while it runs: no block of later runs holds that.
    """

    name: str
    size_bytes: int = 0
    planned: bool = True


@dataclass(slots=True)
class _Chunk:
    offset: int
    size: int
    used: bool = False


@dataclass(slots=True)
class _Region:
    size: int
    chunks: list[_Chunk] = field(default_factory=list[_Chunk])
    written: int = 0


def grown_bytes(changes: Sequence[Change], *, spare_bytes: int = 0) -> int:
    """Returns the bytes that an arena has written to after two runs.

    Args:
        changes: What one run takes and gives back, in order; what is left over is given back at its end.
        spare_bytes: Regions up to this size come from memory that loading has left free, and add nothing.
    """
    arena = _Arena()
    held: dict[str, tuple[_Region, _Chunk]] = {}
    for change in changes:
        if change.size_bytes:
            held[change.name] = arena.take(change.size_bytes)
        elif change.name in held:
            arena.give_back(*held.pop(change.name))
    for place in held.values():
        arena.give_back(*place)
    block = block_bytes(change for change in changes if change.planned)
    if block:
        arena.take(block)
    return sum(region.written for region in arena.regions if region.size > spare_bytes)


def block_bytes(changes: Iterable[Change]) -> int:
    """Returns the size of the block that holds all buffers at fixed offsets, each placed when it is taken."""
    placed: dict[str, tuple[int, int]] = {}
    largest = 0
    for change in changes:
        if not change.size_bytes:
            placed.pop(change.name, None)
            continue
        size = _rounded(change.size_bytes)
        offset = _narrowest_gap(sorted(placed.values()), size)
        placed[change.name] = (offset, size)
        largest = max(largest, offset + size)
    return largest


def _narrowest_gap(taken: Sequence[tuple[int, int]], size: int) -> int:
    """Returns the offset of the narrowest gap that holds `size` bytes, or the end of what is taken."""
    end, narrowest, found = 0, -1, -1
    for offset, length in taken:
        gap = offset - end
        if gap >= size and (narrowest < 0 or gap < narrowest):
            narrowest, found = gap, end
        end = max(end, offset + length)
    return found if found >= 0 else end


def _rounded(size: int) -> int:
    return max(_STEP, -(-size // _STEP) * _STEP)


@final
class _Arena:
    def __init__(self) -> None:
        self.regions: list[_Region] = []
        self._next = _FIRST_REGION

    def take(self, size: int) -> tuple[_Region, _Chunk]:
        size = _rounded(size)
        free = [
            (chunk.size, number, chunk)
            for number, region in enumerate(self.regions)
            for chunk in region.chunks
            if not chunk.used and chunk.size >= size
        ]
        if free:
            _, number, chunk = min(free, key=lambda one: one[:2])
            region = self.regions[number]
        else:
            region = self._grow(size)
            chunk = region.chunks[0]
        if chunk.size >= 2 * size or chunk.size - size >= _MOST_DEAD:
            rest = _Chunk(chunk.offset + size, chunk.size - size)
            region.chunks.insert(region.chunks.index(chunk) + 1, rest)
            chunk.size = size
        chunk.used = True
        region.written = max(region.written, chunk.offset + size)
        return region, chunk

    def _grow(self, size: int) -> _Region:
        doubles = size <= self._next
        while size > self._next:
            self._next *= 2
        region = _Region(self._next, [_Chunk(0, self._next)])
        self.regions.append(region)
        if doubles:
            self._next *= 2
        return region

    def give_back(self, region: _Region, chunk: _Chunk) -> None:
        chunk.used = False
        place = next(i for i, one in enumerate(region.chunks) if one is chunk)
        for left in (place, place - 1):
            if left >= 0 and left + 1 < len(region.chunks):
                one, other = region.chunks[left], region.chunks[left + 1]
                if not one.used and not other.used:
                    one.size += other.size
                    del region.chunks[left + 1]
