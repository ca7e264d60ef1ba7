"""The pytest plugin in pytest runs of its own."""

from __future__ import annotations

import importlib
import xml.etree.ElementTree as ET
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

# An installed edgekit is found by its entry point, and a plugin that is named twice is refused.
NAMED = () if entry_points(group="pytest11", name="edgekit") else ("-p", "edgekit.pytest_plugin")

TEST = """
def test_fits(edgekit_budget):
    edgekit_budget("pixel8", "out"{options}).check()
"""


@pytest.fixture
def run(pytester: pytest.Pytester, make_export: Callable[..., Path]) -> Callable[..., pytest.RunResult]:
    """Returns a function that runs pytest on one test of one export of 2,000 bytes."""
    (pytester.path / "edgekit.toml").write_text('[model]\nsource = "net.onnx"\n[budget]\naccuracy_drop = "20 pp"\n')
    make_export(pytester.path / "out")

    def run_pytest(*arguments: str, options: str = "", subprocess: bool = False) -> pytest.RunResult:
        pytester.makepyfile(TEST.format(options=options))
        given = (*NAMED, "-p", "no:cacheprovider", *arguments)
        return pytester.runpytest_subprocess(*given) if subprocess else pytester.runpytest_inprocess(*given)

    return run_pytest


def test_each_check_is_a_test_item_of_its_own(run: Callable[..., pytest.RunResult]) -> None:
    result = run("-v")
    result.assert_outcomes(passed=5, skipped=1)
    result.stdout.fnmatch_lines([
        "*::test_fits[[]tflite-size[]] PASSED*",
        "*::test_fits[[]tflite-accuracy_drop[]] PASSED*",
        "*::test_fits[[]tflite-memory[]] PASSED*",
        "*::test_fits[[]tflite-latency[]] SKIPPED*",
        "*::test_fits PASSED*[[]100%[]]",
    ])  # fmt: skip


def test_a_missed_budget_fails_its_item_and_the_test(run: Callable[..., pytest.RunResult]) -> None:
    result = run(options=', size="1 kB"')
    result.assert_outcomes(passed=3, failed=2, skipped=1)
    assert result.ret == 1
    advice = "Try fewer bits or a smaller model; edgekit gate out -d pixel8 --why shows the layers that take most."
    lines = [
        "1 of 5 checks of */out fail on pixel8:",
        f"  tflite int8-static: size: size 2 kB exceeds 1 kB by 1 kB (limit from --max-size). {advice}",
    ]
    result.stdout.fnmatch_lines(lines)


def test_strict_fails_what_only_warns(run: Callable[..., pytest.RunResult]) -> None:
    run(options=", strict=True").assert_outcomes(passed=4, failed=2)


def test_the_items_are_in_pytests_own_junit_file(
    run: Callable[..., pytest.RunResult], pytester: pytest.Pytester
) -> None:
    run("--junitxml=junit.xml", options=', size="1 kB"')
    cases = {case.get("name"): case for case in ET.parse(pytester.path / "junit.xml").iter("testcase")}
    assert set(cases) == {
        "test_fits",
        *(f"test_fits[tflite-{name}]" for name in ("size", "download", "accuracy_drop", "memory", "latency")),
    }
    failure = cases["test_fits[tflite-size]"].find("failure")
    assert failure is not None
    assert "exceeds 1 kB by 1 kB" in str(failure.get("message")) + str(failure.text)
    assert cases["test_fits[tflite-latency]"].find("skipped") is not None


def test_under_xdist_the_checks_are_subtests(run: Callable[..., pytest.RunResult]) -> None:
    pytest.importorskip("xdist")
    result = run("-n", "1", "-p", "xdist", options=', size="1 kB"', subprocess=True)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*1 of 5 checks of */out fail on pixel8:*"])
    if hasattr(pytest, "Subtests"):  # since pytest 9; before, the test itself names what failed
        result.stdout.fnmatch_lines(["SUBFAILED*tflite int8-static: size*"])


def test_an_option_that_is_not_known_is_no_limit_that_is_forgotten(run: Callable[..., pytest.RunResult]) -> None:
    result = run(options=', sizes="1 kB"')
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*unexpected keyword argument 'sizes'*"])


def test_a_target_without_any_limit_does_not_pass(run: Callable[..., pytest.RunResult], monkeypatch) -> None:
    # Not by `from ... import`: after a run in this process the packages may name modules that pytester has unloaded.
    gate_request = importlib.import_module("edgekit.gating.request")
    findings = importlib.import_module("edgekit.gating.outputs.findings")
    monkeypatch.setattr(
        gate_request, "run_gate", lambda request: (None, type("R", (), {"task": None, "profile": None}))
    )
    monkeypatch.setattr(findings, "find", lambda *_, **__: ())
    result = run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["No check of */out has a limit on pixel8: nothing was judged."])
