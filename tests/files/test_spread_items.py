"""Some of many items."""

from __future__ import annotations

import pytest

from edgekit.files.spread_items import SpreadItems


@pytest.mark.parametrize(
    ("count", "kept"),
    [
        (0, []),
        (3, [0, 1, 2]),
        (4, [0, 1, 2, 3]),
        (5, [0, 2, 4]),
        (8, [0, 2, 4, 6]),
        (9, [0, 4, 8]),
        (100, [0, 32, 64, 96]),
    ],
    ids=str,
)
def test_items_are_spread_over_all(count: int, kept: list[int]) -> None:
    items = SpreadItems[int](4)
    for item in range(count):
        items.add(item)
    assert items.kept == kept


def test_one_item_is_always_kept() -> None:
    items = SpreadItems[int](0)
    for item in range(5):
        items.add(item)
    assert items.kept == [0]
