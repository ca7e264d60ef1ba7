"""`edgekit gate` on a sweep's folder: one exit code over all rows, and files for CI."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.cli.gate_files import GateFiles, write_file
from edgekit.errors import UsageError
from edgekit.exporting.sentences import escape
from edgekit.terminal.console import console, write_json

if TYPE_CHECKING:
    from edgekit.cli.options import Screen
    from edgekit.gating.outputs.findings import Finding
    from edgekit.sweeping.result import SweepResult

DEVICE = "sweep"
"""What stands in the place of a device: every row has its own."""


def gate_sweep(folder: Path, files: GateFiles, given: Mapping[str, object], *, strict: bool, screen: Screen) -> int:
    """Returns 0 if every row of a sweep passes, 1 if not, after writing what was requested.

    Args:
        folder: The sweep's.
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
    from edgekit.sweeping.gate import gate_passed, sweep_findings
    from edgekit.sweeping.request import read_sweep
    from edgekit.task.task import find_config

    for flag, value in given.items():
        if value:
            raise UsageError(
                f"{flag} has no effect on the sweep {folder}, whose rows are judged already. "
                "Leave it out; limits are those of edgekit sweep, which takes them as flags."
            )
    result = read_sweep(folder)
    findings = sweep_findings(result, find_config(Path.cwd()), strict=strict)
    passed = gate_passed(result, strict=strict)
    if files.junit:
        write_file(files.junit, junit_xml(findings, device=DEVICE), "--junit")
    if files.sarif:
        text = sarif_json(findings, device=DEVICE, passed=passed, root=Path.cwd())
        write_file(files.sarif, text, "--sarif")
    if files.github:
        _annotate(findings, files)
    if screen.as_json:
        write_json({**result.to_json(strict=strict), "command": "gate", "passed": passed})
    else:
        _show(result, findings, passed=passed, strict=strict, screen=screen)
    return 0 if passed else 1


def _annotate(findings: tuple[Finding, ...], files: GateFiles) -> None:
    from edgekit.gating.outputs.github_annotations import annotation_lines

    stream = sys.stderr if files.as_json else sys.stdout
    for line in annotation_lines(findings, Path.cwd()):
        stream.write(line + "\n")


def _show(result: SweepResult, findings: tuple[Finding, ...], *, passed: bool, strict: bool, screen: Screen) -> None:
    out = console(no_color=screen.no_color)
    if not screen.quiet:
        for finding in findings:
            if finding.severity != "none":
                said = finding.sentence.partition("\n")[0].rstrip(".")
                out.print(f"{finding.shown_as}: {escape(finding.title)}: {escape(said)}", soft_wrap=True)
    passing = sum(row.passed(strict=strict) for row in result.rows)
    word = "pass" if passed else "fail"
    out.print(f"{word}: {passing} of {len(result.keys)} combinations of {escape(str(result.folder))}", soft_wrap=True)
