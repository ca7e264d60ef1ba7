"""The gate over all rows of a sweep: one finding for each check with a limit, in the words of an export's gate."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

from edgekit.budget import Limit, read_change_limits
from edgekit.checks import Check
from edgekit.errors import ArtifactError, UsageError
from edgekit.exporting.sentences import check_sentence
from edgekit.gating.outputs.findings import CONVERSION, Finding, severity
from edgekit.gating.outputs.limit_location import FileLine
from edgekit.gating.request import BASELINE_VARIABLE
from edgekit.sweeping.baseline import RowChange, SweepBaseline, hold_rows, read_sweep_baseline, row_changes
from edgekit.sweeping.folder import SWEEP_BASELINE_NAME
from edgekit.sweeping.request import read_sweep
from edgekit.sweeping.result import SweepResult
from edgekit.sweeping.rows import Row
from edgekit.task.task import find_config, load_task

MISSING: Final = "missing"
GONE: Final = "gone"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SweepGate:
    """The verdict on a sweep.

    Attributes:
        result: The rows; checks of changes against a baseline are behind their own.
        baseline: What they were held against; None without one.
        changes: What differs from it, row by row.
    """

    result: SweepResult
    baseline: SweepBaseline | None = None
    changes: tuple[RowChange, ...] = ()

    @property
    def folder(self) -> Path:
        """The sweep's folder."""
        return self.result.folder

    @property
    def device(self) -> str:
        """For messages: every row has its own."""
        return ", ".join(self.result.devices)

    @property
    def checks(self) -> tuple[Check, ...]:
        """The checks of all rows."""
        return tuple(check for row in self.result.rows for check in row.checks)

    @property
    def failures(self) -> tuple[str, ...]:
        """Combinations that could not be made or run, and how many have no row."""
        failed = tuple(f"{row.title}: {row.message}" for row in self.result.rows if row.status == "failed")
        return (*failed, _missing_words(self.result)) if self.result.missing else failed

    def passed(self, *, strict: bool = False) -> bool:
        """True if every combination has a row, and every row passes."""
        result = self.result
        return bool(result.rows) and not result.missing and all(row.passed(strict=strict) for row in result.rows)

    def to_json(self, *, strict: bool = False) -> dict[str, Any]:
        """Returns what `edgekit gate --json` prints of a sweep."""
        return {
            **self.result.to_json(strict=strict),
            "command": "gate",
            "passed": self.passed(strict=strict),
            "baseline": str(self.baseline.path) if self.baseline else None,
            "changes": [change.to_json() for change in self.changes],
        }


def run_sweep_gate(
    folder: Path, regression: Sequence[str] = (), baseline: Path | None = None, *, fail_on_missing: bool = False
) -> SweepGate:
    """Returns the verdict on a sweep, as its rows were judged, with limits on changes where there are any.

    Args:
        folder: The sweep's.
        regression: Limits on changes, as texts; those of the task file here come before them.
        baseline: Its file; None asks the environment, then looks in the current folder.
        fail_on_missing: A row without a baseline fails; else it warns.

    Raises:
        ArtifactError: the sweep or the baseline is damaged, or there is no baseline and one is required.
        InputError: a limit is wrong.
    """
    result = read_sweep(folder)
    found = _find_baseline(baseline)
    if found is None and fail_on_missing:
        raise ArtifactError(
            "There is no baseline and --fail-on-missing-baseline was given. "
            "Set one with: edgekit baseline set DIR, or name its file with --baseline."
        )
    limits = _limits(regression)
    result = replace(result, rows=hold_rows(result.rows, found, limits, fail_on_missing=fail_on_missing))
    return SweepGate(result=result, baseline=found, changes=row_changes(result, found) if found is not None else ())


def refuse_without_effect(folder: Path, given: Mapping[str, object]) -> None:
    """Checks that nothing was given that has no effect on a sweep.

    Args:
        folder: The sweep's.
        given: Flags that would have none, with their values.

    Raises:
        UsageError: one was given.
    """
    for flag, value in given.items():
        if value:
            raise UsageError(
                f"{flag} has no effect on the sweep {folder}, whose rows are judged already. "
                "Leave it out; limits are those of edgekit sweep, which takes them as flags."
            )


def _limits(regression: Sequence[str]) -> tuple[Limit, ...]:
    config = find_config(Path.cwd())
    named = load_task(config).regression if config is not None else ()
    limits = (*named, *(limit for text in regression for limit in read_change_limits(text, "--max-regression")))
    return tuple({limit.name: limit for limit in limits}.values())


def _find_baseline(path: Path | None) -> SweepBaseline | None:
    named = path or (Path(text) if (text := os.environ.get(BASELINE_VARIABLE)) else None)
    if named is None and not Path(SWEEP_BASELINE_NAME).is_file():
        return None
    return read_sweep_baseline(named or Path(SWEEP_BASELINE_NAME))


def sweep_findings(gate: SweepGate, config: Path | None, *, strict: bool) -> tuple[Finding, ...]:
    """Returns the findings of all rows, one for the combinations that have none, and one for each that is gone.

    Args:
        gate: The verdict.
        config: Where findings are shown: the task file.
        strict: What is inconclusive or warns fails too.
    """
    place = None if config is None else FileLine(path=config, line=1)
    found = [finding for row in gate.result.rows for finding in _findings(row, place, strict=strict)]
    return (*found, *_missing(gate.result, place), *(_gone(x, place) for x in gate.changes if x.passed is None))


def _findings(row: Row, place: FileLine | None, *, strict: bool) -> list[Finding]:
    name = row.title
    if row.status == "failed":
        finding = Finding(
            rule=CONVERSION,
            title=f"{name}: {CONVERSION}",
            runtime=name,
            severity="error",
            verdict="fail",
            shown_as="fail",
            sentence=row.message.strip().rstrip("."),
            place=place,
        )
        return [finding]
    return [
        Finding(
            rule=check.name,
            title=f"{name}: {check.name}",
            runtime=name,
            severity=severity(check, strict=strict),
            verdict=check.verdict,
            shown_as=check.shown_as,
            sentence=check_sentence(check),
            detail="" if check.verdict == "not_run" else check.detail,  # the sentence holds it
            place=place,
        )
        for check in row.checks
        if check.limit is not None or check.verdict == "fail"
    ]


def _missing(result: SweepResult, place: FileLine | None) -> Sequence[Finding]:
    if not result.missing:
        return ()
    finding = Finding(
        rule=CONVERSION,
        title=f"sweep: {MISSING}",
        runtime="sweep",
        severity="error",
        verdict="not_run",
        shown_as="not measured",
        sentence=_missing_words(result),
        place=place,
    )
    return (finding,)


def _missing_words(result: SweepResult) -> str:
    return f"{result.missing} of {len(result.keys)} combinations have no row yet: run edgekit sweep again"


def _gone(change: RowChange, place: FileLine | None) -> Finding:
    return Finding(
        rule=CONVERSION,
        title=f"{change.title}: {GONE}",
        runtime=change.title,
        severity="warning",
        verdict="not_run",
        shown_as="not measured",
        sentence="the baseline has it and the sweep's matrix has it no more",
        place=place,
    )
