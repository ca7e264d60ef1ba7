"""A pytest plugin: budgets as tests, one test item a check.

    def test_fits(edgekit_budget):
        edgekit_budget("pi4", "out/model.tflite").check()

What a device's budget holds is known only when the test runs, so the checks cannot be parametrised beforehand. Each is
reported as a test of its own all the same, `test_fits[tflite-size]`, in the terminal, in the counts and in
`--junitxml`; the test itself fails where one of them does. What warns is skipped, with its reason. Under pytest-xdist,
whose workers report nothing but what was collected, they are pytest's subtests, where pytest has them (9.0, or
pytest-subtests).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final

import pytest

if TYPE_CHECKING:
    from edgekit.gating.outputs.findings import Finding

Outcome = Literal["passed", "failed", "skipped"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetOfDevice:
    """A target and the device whose budget it must keep.

    Attributes:
        request: The test's.
        device: Name of the profile.
        target: Folder that export wrote, or an artifact (it is run then).
        strict: Inconclusive checks and warnings fail too.
        options: As for the command line: `model`, `config`, `baseline`, `max_regression`, `without`, and limits by the
            names of a task file, such as `size="6 MB"`.
    """

    request: pytest.FixtureRequest
    device: str
    target: Path
    strict: bool
    options: Mapping[str, Any]

    def check(self) -> None:
        """Judges, reports each check as a test, and fails the test itself where one of them fails.

        Raises:
            Failed: pytest's own, with one line for each check that failed.
            EdgekitError: the target, a limit or the device is wrong, or the artifact cannot be run.
        """
        findings = self._findings()
        if not findings:
            pytest.fail(f"No check of {self.target} has a limit on {self.device}: nothing was judged.", pytrace=False)
        for finding in findings:
            _report(self.request, finding)
        failed = [finding for finding in findings if finding.severity == "error"]
        if failed:
            lines = [f"  {finding.title}: {finding.text}" for finding in failed]
            head = f"{len(failed)} of {len(findings)} checks of {self.target} fail on {self.device}:"
            pytest.fail("\n".join([head, *lines]), pytrace=False)

    def _findings(self) -> tuple[Finding, ...]:
        from edgekit.gating.outputs.findings import find
        from edgekit.gating.outputs.limit_location import LimitFiles
        from edgekit.gating.request import GateRequest, run_gate
        from edgekit.pipeline.settings import Settings
        from edgekit.task.request import LIMIT_FLAGS

        options = dict(self.options)
        limits = {name: str(options.pop(name)) for name in LIMIT_FLAGS if name in options}
        regression = options.pop("max_regression", ())
        without = options.pop("without", ())
        request = GateRequest(
            target=self.target,
            settings=Settings(jobs=1),
            device=self.device,
            limits=limits,
            regression=(regression,) if isinstance(regression, str) else tuple(regression),
            without=(without,) if isinstance(without, str) else tuple(without),
            **options,
        )
        result, requested = run_gate(request)
        return find(result, LimitFiles(task=requested.task, profile=requested.profile), strict=self.strict)


@pytest.fixture
def edgekit_budget(request: pytest.FixtureRequest) -> Callable[..., BudgetOfDevice]:
    """A function (device, target, strict=False, **options) that returns what `.check()` judges.

    Paths start from pytest's root folder, and so does the search for edgekit.toml.
    """

    def budget(device: str, target: str | Path, *, strict: bool = False, **options: Any) -> BudgetOfDevice:
        from edgekit.task.task import find_config

        root = request.config.rootpath
        given = {name: root / options[name] for name in ("config", "baseline") if options.get(name)}
        return BudgetOfDevice(
            request=request,
            device=device,
            target=root / target,
            strict=strict,
            options={"config": find_config(root), **options, **given},
        )

    return budget


def _report(request: pytest.FixtureRequest, finding: Finding) -> None:
    """Reports one check: as a test of its own, or as a subtest where a worker of pytest-xdist runs this one."""
    if not hasattr(request.config, "workerinput"):
        _report_item(request, finding)
        return
    try:
        subtests: Any = request.getfixturevalue("subtests")
    except pytest.FixtureLookupError:
        return  # the test itself names every check that failed
    with subtests.test(msg=finding.title):
        if finding.severity == "error":
            pytest.fail(finding.text, pytrace=False)
        if finding.severity == "warning":
            pytest.skip(finding.text)


def _report_item(request: pytest.FixtureRequest, finding: Finding) -> None:
    node: Any = request.node
    path, line, domain = node.location
    name = f"[{finding.runtime}-{finding.rule}]"
    # The terminal counts what was collected: without this it would show 500 % of the tests.
    request.session.testscollected += 1
    outcome, longrepr = _outcome(finding, str(node.path), line)
    whole: tuple[tuple[Literal["setup", "call", "teardown"], Outcome, Any], ...] = (
        ("setup", "passed", None),
        ("call", outcome, longrepr),
        ("teardown", "passed", None),
    )
    capture: Any = request.config.pluginmanager.getplugin("capturemanager")
    # What is printed while a test runs is taken for the test's own output.
    with capture.global_and_fixture_disabled() if capture else nullcontext():
        for when, result, shown in whole:
            report = pytest.TestReport(
                nodeid=node.nodeid + name,
                location=(path, line, domain + name),
                keywords={},
                outcome=result,
                longrepr=shown,
                when=when,
            )
            node.ihook.pytest_runtest_logreport(report=report)


def _outcome(finding: Finding, path: str, line: int | None) -> tuple[Outcome, Any]:
    """Returns a report's outcome and its text, in the form that pytest gives skips and failures."""
    if finding.severity == "error":
        return "failed", finding.text
    if finding.severity == "warning":
        return "skipped", (path, (line or 0) + 1, f"Skipped: {finding.text}")
    return "passed", None
