"""Budgets: limits, who set them, and what keeps them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.budget import COSTS, Budget, Level, Limit, read_limit
from edgekit.errors import InputError


def limit(name: str, value: float, source: str = "profile", level: Level = "error") -> Limit:
    return Limit(name=name, value=value, source=source, level=level)


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("size", 99.0, True),
        ("size", 100.0, True),
        ("size", 100.001, False),
        ("size", math.nan, False),
        ("size", math.inf, False),
        ("parity", 100.001, True),
        ("parity", 100.0, True),
        ("parity", 99.999, False),
        ("parity", math.nan, False),
        ("parity", math.inf, True),
    ],
    ids=str,
)
def test_a_limit_is_kept_up_to_and_on_the_boundary(name: str, value: float, *, kept: bool) -> None:
    assert limit(name, 100.0).keeps(value) is kept


@pytest.mark.parametrize(("name", "excess"), [("size", 20.0), ("parity", -20.0)], ids=str)
def test_excess_is_positive_where_the_limit_is_missed(name: str, excess: float) -> None:
    assert limit(name, 100.0).excess(120.0) == excess


@given(st.sampled_from(sorted(COSTS)), st.floats(0, 1e9), st.floats(0, 1e9))
def test_a_limit_is_kept_exactly_where_nothing_exceeds_it(name: str, bound: float, value: float) -> None:
    assert limit(name, bound).keeps(value) == (limit(name, bound).excess(value) <= 0)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("size", "6 MB", 6e6),
        ("download", "5 MB", 5e6),
        ("memory", "64 MiB", 67_108_864),
        ("latency", "30 ms", 30.0),
        ("latency_p95", "0.1 s", 100.0),
        ("accuracy", "90 %", 90.0),
        ("accuracy_drop", "1 pp", 1.0),
        ("slice_drop", "2 pp", 2.0),
        ("parity", "20 dB", 20.0),
        ("parity_floor", "6 dB", 6.0),
        ("integer_outputs", "90 %", 90.0),
        ("outputs_alive", "100 %", 100.0),
        ("integer_coverage", "100 %", 100.0),
        ("delegate_coverage", "95 %", 95.0),
        ("accelerator_coverage", "90 %", 90.0),
    ],
    ids=str,
)
def test_every_cost_reads_its_own_unit(name: str, text: str, value: float) -> None:
    assert read_limit(name, text, "profile") == limit(name, value)


def test_every_cost_has_a_text_that_is_tested_above() -> None:
    mark = next(mark for mark in test_every_cost_reads_its_own_unit.pytestmark)  # type: ignore[attr-defined]
    assert {row[0] for row in mark.args[1]} == set(COSTS)


def test_a_table_gives_a_level() -> None:
    assert read_limit("size", {"limit": "6 MB", "level": "warn"}, "flag") == limit("size", 6e6, "flag", "warn")
    assert read_limit("size", {"limit": "6 MB"}, "flag") == limit("size", 6e6, "flag", "error")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "speed",
            "5 ms",
            (
                'a.toml: "speed" is not a budget: accepted are size, download, memory, latency, latency_p95, accuracy, '
                "accuracy_drop, slice_drop, parity, parity_floor, integer_outputs, outputs_alive, integer_coverage, "
                "delegate_coverage, accelerator_coverage."
            ),
        ),
        ("size", 6, 'a.toml: "size" must be text with a unit, such as "6 MB"; it is 6.'),
        ("size", {"limit": 6}, 'a.toml: "size" must be text with a unit, such as "6 MB"; it is 6.'),
        (
            "size",
            {"limit": "6 MB", "levl": "warn"},
            'a.toml: "size" must be a quantity, or a table with "limit" and, if you like, "level"; it has limit, levl.',
        ),
        (
            "size",
            {},
            'a.toml: "size" must be a quantity, or a table with "limit" and, if you like, "level"; it has nothing.',
        ),
        (
            "size",
            {"limit": "6 MB", "level": "fatal"},
            'a.toml: the level of "size" must be "error" or "warn"; it is \'fatal\'.',
        ),
        (
            "size",
            "6 pp",
            'a.toml: size "6 pp" has the unit "pp": accepted are "800 kB", "6 MB" or "64 MiB".',
        ),
    ],
    ids=["unknown", "number", "number in table", "unknown key", "empty table", "level", "unit"],
)
def test_a_wrong_limit_is_reported_with_its_source(name: str, value: object, message: str) -> None:
    with pytest.raises(InputError) as raised:
        read_limit(name, value, "a.toml")
    assert raised.value.message == message


def test_a_later_limit_takes_the_place_of_the_one_on_the_same_cost() -> None:
    profile = Budget(limits=(limit("size", 6e6), limit("latency", 30.0)))
    merged = profile.overridden_by([limit("size", 5e6, "--max-size"), limit("parity", 20.0, "--min-parity")])
    assert [(x.name, x.value, x.source) for x in merged.limits] == [
        ("size", 5e6, "--max-size"),
        ("latency", 30.0, "profile"),
        ("parity", 20.0, "--min-parity"),
    ]
    assert profile.get("size") == limit("size", 6e6)


@given(st.lists(st.sampled_from(sorted(COSTS)), max_size=12))
def test_a_budget_has_each_cost_once_in_the_order_of_tables(names: list[str]) -> None:
    made = Budget().overridden_by([limit(name, float(i)) for i, name in enumerate(names)])
    assert [x.name for x in made.limits] == [name for name in COSTS if name in names]


def test_a_cost_without_a_limit_is_free() -> None:
    assert Budget().get("size") is None


def test_a_level_changes_one_limit_only() -> None:
    budget = Budget(limits=(limit("size", 1.0), limit("latency", 1.0))).with_level("latency", "warn")
    assert [x.level for x in budget.limits] == ["error", "warn"]
