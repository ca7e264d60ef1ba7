"""Dataclasses as JSON and back: whatever a hint can say, and every fault by its path."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest

from edgekit.errors import InternalError
from edgekit.workers.structure import is_value, read_value, structure, unstructure, write_value


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    path: Annotated[Path, "marked"] | None
    pairs: tuple[tuple[str, int | float | str | bool], ...] = ()
    choice: Literal["a", "b"] | None = None
    band: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    inner: Inner
    named: Mapping[str, Inner] = field(default_factory=dict[str, Inner])
    share: float = 0.5
    count: int = 1
    done: bool = False


FULL = Outer(
    inner=Inner(
        path=Path("/a/b"),
        pairs=(("i", 1), ("f", 0.5), ("s", "t"), ("b", True)),
        choice="b",
        band=(1.0, float("inf")),
    ),
    named={"x": Inner(path=None)},
)


def through_json(value: Any) -> Any:
    return structure(json.loads(json.dumps(unstructure(value))), type(value), "value")


def test_what_a_hint_can_say_comes_back_as_it_was() -> None:
    found = through_json(FULL)
    assert found == FULL
    assert [type(value) for _, value in found.inner.pairs] == [int, float, str, bool]


def test_numpy_scalars_become_numbers() -> None:
    given: Any = Outer(inner=Inner(path=None), share=np.float32(0.25), count=np.int64(7), done=np.bool_(True))
    assert through_json(given) == Outer(inner=Inner(path=None), share=0.25, count=7, done=True)


def test_tuples_are_lists_as_json_has_them() -> None:
    found = unstructure(FULL)["inner"]
    assert found["pairs"] == [["i", 1], ["f", 0.5], ["s", "t"], ["b", True]]
    assert found["band"] == [1.0, float("inf")]


def test_a_value_comes_back_from_its_file(tmp_path: Path) -> None:
    write_value(tmp_path / "value.json", FULL)
    assert read_value(tmp_path / "value.json", Outer) == FULL


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"other": 1, "more": 2}, "unknown keys: more, other @ $"),
        ({"count": None}, "null is no int @ $.count"),
        ({"count": True}, "true is no int @ $.count"),
        ({"count": 1.5}, "1.5 is no int @ $.count"),
        ({"share": "0.5"}, '"0.5" is no float @ $.share'),
        ({"inner": {}}, "path is missing @ $.inner.path"),
        ({"inner": {"path": 3}}, "3 is no str @ $.inner.path"),
        ({"inner": []}, "no JSON object @ $.inner"),
        (
            {"inner": {"path": None, "band": [1]}},
            "Not enough values in [1] to structure as tuple[float, float] @ $.inner.band",
        ),
        (
            {"named": {"x": {"path": None, "choice": "c"}}},
            "c not in literal typing.Literal['a', 'b'] @ $.named['x'].choice",
        ),
        (
            {"inner": {"path": None, "pairs": [["a", None]]}},
            "None (<class 'NoneType'>) not part of int | float | str | bool @ $.inner.pairs[0][1]",
        ),
    ],
    ids=["unknown", "null", "bool", "fraction", "text", "missing", "path", "list", "short", "literal", "union"],
)  # fmt: skip
def test_a_fault_is_reported_with_its_path(change: dict[str, Any], fault: str) -> None:
    with pytest.raises(InternalError) as raised:
        structure({**unstructure(FULL), **change}, Outer, "request of the test")
    assert raised.value.message == f"The request of the test does not have the form of Outer:\n  {fault}"


def test_all_faults_are_reported_at_once() -> None:
    with pytest.raises(InternalError) as raised:
        structure({"inner": {"path": 1}, "count": "2"}, Outer, "value")
    assert raised.value.message.splitlines()[1:] == ["  1 is no str @ $.inner.path", '  "2" is no int @ $.count']


@pytest.mark.parametrize("data", [[], None, "text"], ids=["list", "null", "text"])
def test_what_is_no_object_is_refused(data: Any) -> None:
    with pytest.raises(InternalError) as raised:
        structure(data, Outer, "value")
    assert raised.value.message == "The value is no JSON object; expected one of the form of Outer."


def test_only_frozen_dataclasses_are_values() -> None:
    @dataclass
    class Open:
        count: int

    assert is_value(Outer)
    assert not any(is_value(kind) for kind in (Open, dict, FULL, None))
