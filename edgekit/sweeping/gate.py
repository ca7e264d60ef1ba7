"""The gate over all rows of a sweep: one finding for each check with a limit, in the words of an export's gate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekit.exporting.sentences import check_sentence
from edgekit.gating.outputs.findings import CONVERSION, Finding, severity
from edgekit.gating.outputs.limit_location import FileLine
from edgekit.sweeping.result import SweepResult
from edgekit.sweeping.rows import Row

MISSING = "missing"


def gate_passed(result: SweepResult, *, strict: bool) -> bool:
    """Returns True if every combination has a row, and every row passes."""
    return bool(result.rows) and not result.missing and all(row.passed(strict=strict) for row in result.rows)


def sweep_findings(result: SweepResult, config: Path | None, *, strict: bool) -> tuple[Finding, ...]:
    """Returns the findings of all rows, and one for the combinations that have none.

    Args:
        result: The sweep.
        config: Where findings are shown: the task file.
        strict: What is inconclusive or warns fails too.
    """
    place = None if config is None else FileLine(path=config, line=1)
    found = [finding for row in result.rows for finding in _findings(row, place, strict=strict)]
    return (*found, *_missing(result, place))


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
        sentence=f"{result.missing} of {len(result.keys)} combinations have no row yet: run edgekit sweep again",
        place=place,
    )
    return (finding,)
