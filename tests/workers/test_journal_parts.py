"""Parts of a journal are found again as they were saved; a damaged one is said, removed, and made anew."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import ResourceError
from edgekit.workers.journal_parts import read_part, read_parts, write_part


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    name: str
    value: float


FIGURE = Figure(name="layer", value=0.1)


class Told(list[str]):
    def __call__(self, phrase: str, share: float | None) -> None:
        self.append(phrase)


DAMAGES = {
    "cut off": lambda text: text[:-5],
    "empty": lambda text: "",
    "another figure": lambda text: text.replace("0.1", "0.2"),
    "no object": lambda text: "[]",
    "no value": lambda text: json.dumps({"sha256": json.loads(text)["sha256"]}),
    "nested": lambda text: "[" * 100_000,
    "digits": lambda text: "9" * 5000,
}


def test_a_part_is_found_as_it_was_saved(tmp_path: Path) -> None:
    told = Told()
    assert read_part(tmp_path, "a", Figure, told) is None
    write_part(tmp_path, "a", FIGURE)
    assert read_part(tmp_path, "a", Figure, told) == FIGURE
    write_part(tmp_path, "b", Figure(name="x", value=math.inf))
    assert list(read_parts(tmp_path, "", Figure, told)) == [FIGURE, Figure(name="x", value=math.inf)]
    assert told == []


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_part_is_said_and_removed(tmp_path: Path, damage: Any) -> None:
    told = Told()
    write_part(tmp_path, "a", FIGURE)
    path = tmp_path / "a.json"
    path.write_text(damage(path.read_text()))
    assert read_part(tmp_path, "a", Figure, told) is None
    assert told == ["a.json of an earlier run is damaged: it is made anew"]
    assert list(tmp_path.iterdir()) == []


def test_a_part_of_another_form_is_damaged(tmp_path: Path) -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Other:
        name: int

    told = Told()
    write_part(tmp_path, "a", Other(name=1))
    assert read_part(tmp_path, "a", Figure, told) is None
    assert len(told) == 1


def test_a_damaged_part_that_cannot_be_removed_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.mkdir()
    message = rf"^{path} is damaged and cannot be removed: .+\. Remove it, or clear the cache: edgekit cache clear$"
    with pytest.raises(ResourceError, match=message):
        read_part(tmp_path, "a", Figure, Told())
