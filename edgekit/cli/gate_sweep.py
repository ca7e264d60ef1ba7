"""`edgekit gate` on a sweep's folder: one exit code over all rows, and files for CI."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

from edgekit.budget import cost_of
from edgekit.cli.gate_files import GateFiles, write_file
from edgekit.exporting.sentences import escape
from edgekit.terminal.console import console, write_json
from edgekit.units import format_value

if TYPE_CHECKING:
    from edgekit.cli.options import Screen
    from edgekit.gating.outputs.findings import Finding
    from edgekit.sweeping.baseline import RowChange
    from edgekit.sweeping.gate import SweepGate

DEVICE = "sweep"
"""What stands in the place of a device: every row has its own."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class AgainstBaseline:
    """What `--baseline`, `--max-regression` and `--fail-on-missing-baseline` said."""

    baseline: Path | None
    regression: tuple[str, ...]
    fail_on_missing: bool


def gate_sweep(
    folder: Path,
    files: GateFiles,
    against: AgainstBaseline,
    given: Mapping[str, object],
    *,
    strict: bool,
    screen: Screen,
) -> int:
    """Returns 0 if every row of a sweep passes, 1 if not, after writing what was requested.

    Args:
        folder: The sweep's.
        against: What the rows are held against.
        files: What to write.
        given: Flags that were given and have no effect on a sweep, with their values.
        strict: Inconclusive checks and warnings fail too.
        screen: What is printed.

    Raises:
        UsageError: a flag that has no effect was given.
        ArtifactError: the sweep is damaged.
        ResourceError: a file cannot be written.
    """
    from edgekit.gating.outputs.junit_file import junit_xml
    from edgekit.gating.outputs.sarif_file import sarif_json
    from edgekit.sweeping.gate import refuse_without_effect, run_sweep_gate, sweep_findings
    from edgekit.task.task import find_config

    refuse_without_effect(folder, given)
    found = run_sweep_gate(folder, against.regression, against.baseline, fail_on_missing=against.fail_on_missing)
    findings = sweep_findings(found, find_config(Path.cwd()), strict=strict)
    passed = found.passed(strict=strict)
    if files.junit:
        write_file(files.junit, junit_xml(findings, device=DEVICE), "--junit")
    if files.sarif:
        text = sarif_json(findings, device=DEVICE, passed=passed, root=Path.cwd())
        write_file(files.sarif, text, "--sarif")
    if files.github:
        _annotate(findings, files)
    if screen.as_json:
        write_json(found.to_json(strict=strict))
    else:
        _show(found, findings, passed=passed, strict=strict, screen=screen)
    return 0 if passed else 1


def _annotate(findings: tuple[Finding, ...], files: GateFiles) -> None:
    from edgekit.gating.outputs.github_annotations import annotation_lines

    stream = sys.stderr if files.as_json else sys.stdout
    for line in annotation_lines(findings, Path.cwd()):
        stream.write(line + "\n")


def _show(found: SweepGate, findings: tuple[Finding, ...], *, passed: bool, strict: bool, screen: Screen) -> None:
    out = console(no_color=screen.no_color)
    result = found.result
    if not screen.quiet:
        for change in found.changes:
            out.print(escape(change_line(change)), soft_wrap=True)
        for finding in findings:
            if finding.severity != "none":
                said = finding.sentence.partition("\n")[0].rstrip(".")
                out.print(f"{finding.shown_as}: {escape(finding.title)}: {escape(said)}", soft_wrap=True)
    passing = sum(row.passed(strict=strict) for row in result.rows)
    word = "pass" if passed else "fail"
    out.print(f"{word}: {passing} of {len(result.keys)} combinations of {escape(str(result.folder))}", soft_wrap=True)


def change_line(change: RowChange) -> str:
    """Returns what differs between a row and its baseline: `changed: net on pi4: tflite int8: size 1 kB -> 2 kB`."""
    if change.passed is None:
        return f"gone: {change.title}"
    words = {True: "pass", False: "fail"}
    if change.passed_before is None:
        return f"new: {change.title}: {words[change.passed]}"
    verdict = (
        [] if change.passed_before == change.passed else [f"{words[change.passed_before]} -> {words[change.passed]}"]
    )
    figures = [
        f"{cost_of(x.name).title} {format_value(x.old, x.unit)} -> {format_value(x.new, x.unit)}" for x in change.moves
    ]
    return f"changed: {change.title}: {', '.join([*verdict, *figures])}"
