"""What an artifact says of its open sizes, beside a runtime that tells the largest."""

from __future__ import annotations

from typing import Any

import pytest

from edgekit.validators.runners.opened_artifact import open_sizes


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ({"shape": [1, -1], "largest": [1, 64]}, {"shape": [1, -1], "largest": [1, 64]}),
        ({"shape": [1, -1]}, {"shape": [1, -1]}),
        ({"shape": [1, -1], "largest": ["1", 64]}, {"shape": [1, -1]}),
        ({"shape": [1, 64]}, {}),
        ({"shape": [-1]}, {}),
        ({"shape": 7}, {}),
        ({}, {}),
    ],
    ids=["both", "no-largest", "not-numbers", "fixed", "other-rank", "no-list", "nothing"],
)
def test_open_sizes_come_from_the_artifact_where_what_it_says_has_their_form(
    expected: dict[str, Any], found: dict[str, Any]
) -> None:
    assert open_sizes([1, 64], expected) == found
