"""GitHub Actions: workflow commands that put a finding at its line, and the job's summary page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edgekit.errors import ResourceError
from edgekit.gating.outputs.findings import Finding
from edgekit.gating.outputs.sarif_file import place_in, relative_path
from edgekit.plain_text import log_text

SUMMARY_VARIABLE: Final = "GITHUB_STEP_SUMMARY"


def annotation_lines(findings: Sequence[Finding], root: Path) -> list[str]:
    """Returns one workflow command for each finding that is not fine.

    A profile outside the checkout cannot be pointed at; then the command has no file.
    """
    return [_command(finding, root) for finding in findings if finding.severity != "none"]


def _command(finding: Finding, root: Path) -> str:
    found = place_in(root, finding.place)
    place = {} if found is None else {"file": relative_path(found.path, root), "line": str(found.line)}
    properties = {**place, "title": f"edgekit {finding.title}"}
    text = ",".join(f"{key}={_escape_property(value)}" for key, value in properties.items())
    return f"::{finding.severity} {text}::{_escape(finding.text)}"


def _escape(text: str) -> str:
    """Returns a message as a workflow command holds it: the percent sign first, or it would be escaped twice."""
    text = log_text(text.replace("\r\n", "\n"))
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape(text).replace(":", "%3A").replace(",", "%2C")


def append_summary(path: Path, markdown: str) -> None:
    """Appends to the job's summary.

    Raises:
        ResourceError: the file cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(markdown + "\n")
    except OSError as error:
        raise ResourceError(
            f"{path}: the job summary cannot be written: {error.strerror}. "
            f"Unset {SUMMARY_VARIABLE}, or leave --github out."
        ) from error
