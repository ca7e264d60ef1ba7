"""Reports: verdicts of single checks and of all together. Fail closed."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.budget import Level, Limit
from edgekit.checks import Check, Verdict, judge, passed
from edgekit.measurements.figure_schema import CheckRecord


def limit(name: str = "size", value: float = 100.0, level: Level = "error") -> Limit:
    return Limit(name=name, value=value, source="profile", level=level)


@pytest.mark.parametrize(
    ("name", "value", "verdict"),
    [
        ("size", 99.0, "pass"),
        ("size", 100.0, "pass"),
        ("size", 100.1, "fail"),
        ("size", math.nan, "fail"),
        ("size", math.inf, "fail"),
        ("size", None, "not_run"),
        ("parity", 100.0, "pass"),
        ("parity", 99.9, "fail"),
        ("parity", math.nan, "fail"),
    ],
    ids=str,
)
def test_an_exact_figure_is_held_against_its_limit(name: str, value: float | None, verdict: Verdict) -> None:
    assert judge(name, value, limit(name)).verdict == verdict


@pytest.mark.parametrize(
    ("value", "low", "high", "verdict"),
    [
        (90.0, 80.0, 100.0, "pass"),
        (90.0, 80.0, 100.1, "inconclusive"),
        (110.0, 100.0, 120.0, "inconclusive"),
        (110.0, 100.1, 120.0, "fail"),
        (90.0, None, 110.0, "inconclusive"),
        (90.0, math.nan, 95.0, "fail"),
        (90.0, 80.0, math.nan, "fail"),
    ],
    ids=["below", "touches above", "touches below", "above", "half a band", "nan low", "nan high"],
)
def test_a_band_across_the_limit_is_inconclusive(
    value: float, low: float | None, high: float | None, verdict: Verdict
) -> None:
    assert judge("size", value, limit(), low=low, high=high).verdict == verdict


@given(st.floats(0, 200), st.floats(0, 50), st.floats(0, 50), st.sampled_from(["size", "parity"]))
def test_the_verdict_of_a_band_agrees_with_its_ends(value: float, below: float, above: float, name: str) -> None:
    ends = (value - below, value, value + above)
    kept = [limit(name).keeps(end) for end in ends]
    check = judge(name, value, limit(name), low=ends[0], high=ends[2])
    assert check.verdict == ("pass" if all(kept) else "inconclusive" if any(kept) else "fail")


def test_a_figure_without_a_limit_is_shown_and_passes() -> None:
    check = judge("size", 5.0, None)
    assert (check.verdict, check.level, check.limit, check.limit_from) == ("pass", "warn", None, "")


def test_a_figure_that_is_no_number_fails_even_without_a_limit() -> None:
    check = judge("size", math.nan, None)
    assert (check.verdict, check.level) == ("fail", "error")
    assert not passed([check])
    assert not passed([check], strict=True)


def test_what_nobody_limits_and_nobody_ran_does_not_fail_the_gate() -> None:
    check = judge("latency", None, None, detail="no latency model")
    assert (check.verdict, check.level, check.detail) == ("not_run", "warn", "no latency model")
    assert passed([check])


def test_a_check_carries_who_set_the_limit_and_what_was_measured() -> None:
    check = judge(
        "latency",
        31.0,
        Limit(name="latency", value=40.0, source="--max-latency", level="warn"),
        basis="predicted",
        measured_on="pi4",
        runtime="tflite",
    )
    assert (check.unit, check.limit, check.limit_from, check.level) == ("ms", 40.0, "--max-latency", "warn")
    assert (check.basis, check.measured_on, check.runtime) == ("predicted", "pi4", "tflite")


@pytest.mark.parametrize(
    ("verdict", "level", "gate", "strict"),
    [
        ("pass", "error", True, True),
        ("pass", "warn", True, True),
        ("fail", "error", False, False),
        ("fail", "warn", True, False),
        ("inconclusive", "error", True, False),
        ("inconclusive", "warn", True, False),
        ("not_run", "error", False, False),
        ("not_run", "warn", True, False),
    ],
    ids=str,
)
def test_the_gate_weighs_verdict_and_level(verdict: Verdict, level: Level, *, gate: bool, strict: bool) -> None:
    check = Check(name="size", verdict=verdict, level=level, unit="bytes", value=1.0, limit=2.0)
    assert passed([check]) is gate
    assert passed([check], strict=True) is strict
    assert check.fails_gate is not gate


@pytest.mark.parametrize("strict", [False, True], ids=["gate", "strict"])
def test_a_report_without_checks_does_not_pass(*, strict: bool) -> None:
    assert not passed([], strict=strict)


def test_one_failure_among_many_fails_the_gate() -> None:
    checks = [judge("size", 1.0, limit()), judge("memory", 101.0, limit("memory")), judge("latency", None, None)]
    assert not passed(checks)
    assert passed([checks[0], checks[2]])
    assert passed([checks[0], checks[2]], strict=True)


CHECKS = st.builds(
    Check,
    name=st.just("size"),
    verdict=st.sampled_from(["pass", "fail", "inconclusive", "not_run"]),
    level=st.sampled_from(["error", "warn"]),
    unit=st.just("bytes"),
    value=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    limit=st.none() | st.floats(0, 1e9),
)


@given(st.lists(CHECKS))
def test_what_passes_strictly_passes_the_gate(checks: list[Check]) -> None:
    assert passed(checks) or not passed(checks, strict=True)


@given(CHECKS)
def test_a_check_comes_back_from_json_as_it_was(check: Check) -> None:
    assert Check.from_json(json.loads(json.dumps(check.to_json(), allow_nan=False))) == check


def test_json_has_null_where_a_figure_is_not_finite() -> None:
    data = judge("size", math.nan, limit(), low=-math.inf, high=math.inf).to_json()
    assert (data["value"], data["low"], data["high"]) == (None, None, None)
    assert json.loads(json.dumps(data, allow_nan=False)) == data


@pytest.mark.parametrize(
    ("value", "level", "shown_as"),
    [(90, "error", "pass"), (90, "warn", "pass"), (110, "error", "fail"), (110, "warn", "warn"),
     (None, "error", "not measured"), (None, "warn", "not measured")],
)  # fmt: skip
def test_a_check_says_in_json_what_a_person_reads(value, level, shown_as):
    check = judge("size", value, limit(level=level))
    assert (check.shown_as, check.to_json()["shown_as"]) == (shown_as, shown_as)
    assert CheckRecord(**check.to_json()).shown_as == shown_as
    assert Check.from_json(check.to_json()) == check


def test_a_band_across_the_limit_is_shown_as_inconclusive():
    assert judge("size", 90.0, limit(level="warn"), low=80.0, high=110.0).shown_as == "inconclusive"
