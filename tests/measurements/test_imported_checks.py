"""Measurements as evidence for a verdict."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from edgekit.budget import Budget, read_limit
from edgekit.checks import Check, judge
from edgekit.errors import DataError
from edgekit.measurements.imported_checks import check_belongs, with_measurements
from edgekit.measurements.latency_figures import LatencyFigures, figures_of

BUDGET = Budget(limits=(read_limit("latency", "30.2 ms", "profile"), read_limit("memory", "20 MB", "profile")))


def checks() -> tuple[Check, ...]:
    return (
        judge("size", 2000.0, None, runtime="tflite"),
        judge("memory", 5e6, BUDGET.get("memory"), runtime="tflite"),
        judge("latency", None, BUDGET.get("latency"), runtime="tflite"),
        judge("latency_p95", None, None, runtime="tflite"),
    )


def test_imported_figures_stand_in_place_of_the_hosts(measurement: Any, digest: Any) -> None:
    made = with_measurements(checks(), [measurement(path=Path("m.json"))], digest, BUDGET)
    assert [check.name for check in made] == ["size", "memory", "latency", "latency_p95"]
    by_name = {check.name: check for check in made}
    assert by_name["size"] == checks()[0]
    assert by_name["memory"].value == 20_000_000
    latency = by_name["latency"]
    assert (latency.basis, latency.measured_on, latency.limit_from) == ("imported", "pi4", "profile")
    assert latency.value == pytest.approx(30.495)
    assert latency.detail == (
        "edgekit bench, ssh://pi@board: Raspberry Pi 4 Model B Rev 1.4, 4 cores, Linux aarch64, ai-edge-litert 2.1.0, "
        "4 threads, median 30.5 ms (30.4 ms to 30.6 ms), p95 30.9 ms over 100 runs; from m.json, "
        "2026-01-02T03:04:05+00:00."
    )


@pytest.mark.parametrize(
    ("middle", "verdict"), [(30.0, "pass"), (30.2, "inconclusive"), (30.6, "fail")], ids=["below", "on", "above"]
)
def test_the_interval_decides_the_verdict(middle: float, verdict: str, measurement: Any, digest: Any) -> None:
    latency = figures_of([middle - 0.5 + i / 100 for i in range(101)])
    made = with_measurements(checks(), [measurement(latency=latency)], digest, BUDGET)
    assert next(check for check in made if check.name == "latency").verdict == verdict


def test_the_worst_of_several_measurements_counts(measurement: Any, digest: Any) -> None:
    slow = measurement(latency=figures_of([40.0] * 10), memory=None)
    made = with_measurements(checks(), [measurement(), slow, measurement()], digest, BUDGET)
    latency = next(check for check in made if check.name == "latency")
    assert latency.value == 40.0
    assert latency.detail.endswith(". The worst of 3 measurements.")


def test_what_was_not_measured_there_stays_as_it_was(measurement: Any, digest: Any) -> None:
    bare = measurement(latency=LatencyFigures(value_ms=5.0, statistic="mean"), memory=None, units=("NPU",))
    made = {check.name: check for check in with_measurements(checks(), [bare], digest, BUDGET)}
    assert made["latency_p95"].verdict == "not_run"
    assert made["memory"] == checks()[1]
    assert ", NPU, 4 threads, mean 5 ms; from " in made["latency"].detail


def test_another_artifacts_figures_change_nothing(measurement: Any) -> None:
    assert with_measurements(checks(), [measurement()], "cd" * 32, BUDGET) == checks()


@pytest.mark.parametrize(
    ("changes", "digest", "message"),
    [
        pytest.param(
            {"device": None, "place": "this machine", "host": "AMD EPYC, 2 cores, Linux x86_64"},
            "ab" * 32,
            "m.json names no device: it holds the time of AMD EPYC, 2 cores, Linux x86_64, and a host's time is never "
            "a device's. Measure net.tflite on pi4, by --on or --from of edgekit bench (edgekit bench --help says "
            "which), with --device pi4.",
            id="no device",
        ),
        pytest.param(
            {"device": "pixel8"},
            "ab" * 32,
            "m.json was measured on pixel8; what is judged is pi4. Leave the file out, or judge with --device pixel8.",
            id="another device",
        ),
        pytest.param(
            {},
            "cd" * 32,
            "m.json was measured on an artifact with SHA-256 abababababab (net.tflite); out has cdcdcdcdcdcd. Measure "
            "the artifact that is judged on pi4, by --on or --from of edgekit bench (edgekit bench --help says which), "
            "with --device pi4.",
            id="another artifact",
        ),
    ],
)
def test_figures_of_something_else_are_refused(
    changes: dict[str, Any], digest: str, message: str, measurement: Any
) -> None:
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        check_belongs([measurement(path=Path("m.json"), **changes)], "pi4", [digest], "out")


def test_figures_of_the_device_and_one_of_its_artifacts_belong(measurement: Any, digest: Any) -> None:
    check_belongs([measurement()], "pi4", ["cd" * 32, digest], "out")
