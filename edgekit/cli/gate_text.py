"""What `edgekit gate` says to a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from edgekit.terminal.console import console

if TYPE_CHECKING:
    from edgekit.gating.gate import GateResult
    from edgekit.gating.outputs.findings import Finding
    from edgekit.task.request import Request

_STYLES: Final = {"error": "bold red", "warning": "yellow"}


def show_gate(
    result: GateResult,
    findings: Sequence[Finding],
    request: Request,
    *,
    strict: bool,
    quiet: bool,
    verbose: bool,
    no_color: bool,
) -> None:
    """Prints the table of checks, one line for each that did not pass (errors first), and the verdict."""
    from edgekit.cli import tables
    from edgekit.exporting import sentences

    screen = console(no_color=no_color)
    if not quiet:
        screen.print(f"Held against {request.profile.title} ({result.device})")
        if result.baseline is not None:
            screen.print(sentences.escape(f"Changes are against {result.baseline.path}"))
        screen.print()
        for runtime in dict.fromkeys(check.runtime for check in result.checks):
            title = next((name for name in result.formats if name.partition(" ")[0] == runtime), runtime)
            # What nobody limits and nobody measured is shown on request only.
            shown = [
                check
                for check in result.checks
                if check.runtime == runtime and (verbose or check.limit is not None or check.value is not None)
            ]
            screen.print(tables.check_table(shown, title=title, with_detail=verbose))
            screen.print()
        for item in (result.report.get("calibration") or {}).get("findings", ()):
            screen.print(f"[dim]calibration: {sentences.escape(item['message'])}[/]", soft_wrap=True)
    for severity in ("error", "warning"):
        for finding in findings:
            if finding.severity == severity:
                screen.print(_line(finding, verbose=verbose), soft_wrap=True)
    for line in sentences.waiver_lines(result.checks):
        screen.print(line, soft_wrap=True)
    good = result.passed(strict=strict)
    screen.print(f"[bold green]PASS[/] {result.device}" if good else f"[bold red]FAIL[/] {result.device}")


def _line(finding: Finding, *, verbose: bool) -> str:
    from edgekit.exporting.sentences import NAMING, STATUS_WORDS, escape

    warns = ""
    if finding.severity == "warning" and finding.shown_as == "not measured":
        warns = " (warning)"
    elif finding.severity == "error" and finding.shown_as in ("warn", "inconclusive"):
        warns = " (--strict)"
    # A share of the work says little without the operators' names.
    in_full = verbose or finding.rule in NAMING
    words = finding.text if in_full else f"{finding.sentence}. {finding.advice}".rstrip()
    return (
        f"[{_STYLES[finding.severity]}]{STATUS_WORDS[finding.shown_as][0]}[/]{warns} {finding.runtime}: {escape(words)}"
    )
