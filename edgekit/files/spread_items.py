"""Some of many items, evenly spread over all, without knowing how many will come."""

from __future__ import annotations

from typing import Generic, TypeVar, final

T = TypeVar("T")


@final
class SpreadItems(Generic[T]):
    """Keeps every n-th item; n doubles whenever too many are kept, so that the same items always leave the same ones.

    Args:
        most: More than so many are never kept; fewer than half of that only where fewer came.
    """

    def __init__(self, most: int) -> None:
        self.kept: list[T] = []
        self._most = max(1, most)
        self._step = 1
        self._count = 0

    @property
    def wants_next(self) -> bool:
        """Whether the next item will be kept."""
        return self._count % self._step == 0

    def add(self, item: T) -> None:
        """Takes an item, or passes it over where it is not wanted."""
        if self.wants_next:
            self.kept.append(item)
        self._count += 1
        if len(self.kept) > self._most:
            self.kept = self.kept[::2]
            self._step *= 2
