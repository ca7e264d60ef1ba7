"""Writes what the gate's flags ask for: files for CI systems, GitHub's annotations, JSON."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

from edgekit.errors import EdgekitError, ResourceError
from edgekit.plain_text import log_text
from edgekit.terminal.console import write_json
from edgekit.terminal.streams import say
from edgekit.workers.atomic_files import write_text

if TYPE_CHECKING:
    from edgekit.gating.baseline import Baseline
    from edgekit.gating.gate import GateResult
    from edgekit.gating.outputs.findings import Finding
    from edgekit.task.request import Request


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class GateFiles:
    """Which outputs were requested.

    Attributes:
        junit: File for JUnit XML.
        sarif: File for SARIF.
        github: Annotations, and the job's summary.
        markdown: File for Markdown; `-` is stdout.
        as_json: JSON to stdout.
    """

    junit: Path | None = None
    sarif: Path | None = None
    github: bool = False
    markdown: Path | None = None
    as_json: bool = False


def write_files(
    files: GateFiles, result: GateResult, request: Request, *, strict: bool, base: Baseline | None = None
) -> tuple[Finding, ...]:
    """Writes every output that was requested and returns the findings behind them.

    Args:
        files: The outputs.
        result: The verdict.
        request: Where the limits come from.
        strict: What is inconclusive fails too.
        base: The baseline of the branch that a pull request goes into: the table shows the changes from it.

    Raises:
        ResourceError: a file cannot be written.
    """
    from edgekit.gating.outputs.findings import find
    from edgekit.gating.outputs.junit_file import junit_xml
    from edgekit.gating.outputs.limit_location import LimitFiles
    from edgekit.gating.outputs.markdown_table import markdown
    from edgekit.gating.outputs.sarif_file import sarif_json

    passed = result.passed(strict=strict)
    findings = find(result, LimitFiles(task=request.task, profile=request.profile), strict=strict)
    if files.junit:
        write_file(files.junit, junit_xml(findings, device=result.device), "--junit")
    if files.sarif:
        write_file(files.sarif, sarif_json(findings, device=result.device, passed=passed, root=Path.cwd()), "--sarif")
    table = markdown(result, findings, passed=passed, base=base)
    if files.github:
        _tell_github(files, findings, table)
    if files.markdown and str(files.markdown) != "-":
        write_file(files.markdown, table, "--markdown")
    if files.as_json:
        write_json(result.to_json(strict=strict))
    elif files.markdown:
        sys.stdout.write(log_text(table) if str(files.markdown) == "-" else "")
    return findings


@contextmanager
def failure_written(files: GateFiles, *, device: str) -> Generator[None, None, None]:
    """Writes every output that was requested where the gate inside ends with an error, which passes through."""
    try:
        yield
    except Exception as error:
        # CI shows what these files hold, and nothing where they are missing: also of a fault of edgekit's own.
        own = f"a fault of edgekit's own, {type(error).__name__}: {error}"
        _write_failure(files, error.message if isinstance(error, EdgekitError) else own, device=device)
        raise


def _write_failure(files: GateFiles, message: str, *, device: str) -> None:
    """Writes every output that was requested about a gate that ended with an error, so that CI shows it.

    Raises:
        ResourceError: a file cannot be written.
    """
    from edgekit.gating.outputs.findings import no_verdict
    from edgekit.gating.outputs.junit_file import junit_xml
    from edgekit.gating.outputs.markdown_table import failure_markdown
    from edgekit.gating.outputs.sarif_file import sarif_json

    findings = (no_verdict(message, _config_here()),)
    if files.junit:
        write_file(files.junit, junit_xml(findings, device=device), "--junit")
    if files.sarif:
        write_file(files.sarif, sarif_json(findings, device=device, passed=False, root=Path.cwd()), "--sarif")
    text = failure_markdown(message, device=device)
    if files.github:
        _tell_github(files, findings, text)
    if files.markdown and str(files.markdown) != "-":
        write_file(files.markdown, text, "--markdown")


def _config_here() -> Path | None:
    from edgekit.task.task import find_config

    try:
        return find_config(Path.cwd())
    except EdgekitError:
        return None  # what is wrong with it is the message


def _tell_github(files: GateFiles, findings: tuple[Finding, ...], table: str) -> None:
    from edgekit.gating.outputs.github_annotations import SUMMARY_VARIABLE, annotation_lines, append_summary

    # Runners read commands from both streams; stdout may be promised to JSON or to the table.
    stream = sys.stderr if files.as_json or str(files.markdown) == "-" else sys.stdout
    for line in annotation_lines(findings, Path.cwd()):
        stream.write(line + "\n")
    if summary := os.environ.get(SUMMARY_VARIABLE):
        append_summary(Path(summary), table)
    else:
        say(f"edgekit: {SUMMARY_VARIABLE} is not set, so there is no job summary to write to.")


def write_file(path: Path, text: str, flag: str) -> None:
    """Writes an output, its folder too where that is missing.

    Raises:
        ResourceError: it cannot be written; the message names the flag.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    except OSError as error:
        raise ResourceError(f"{flag} {path} cannot be written: {error.strerror}. Name another file.") from error
