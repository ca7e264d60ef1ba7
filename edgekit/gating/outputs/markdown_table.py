"""The verdict as Markdown, for a comment on a pull request or a job's summary: what failed first, then every figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from edgekit.budget import CHANGE_SUFFIX, cost_of
from edgekit.checks import Check
from edgekit.exporting.sentences import amount_text, limit_text
from edgekit.gating.baseline import Baseline
from edgekit.gating.gate import GateResult
from edgekit.gating.outputs.findings import Finding
from edgekit.plain_text import markdown_text, one_line
from edgekit.units import format_change, format_value

_WORDS: Final = {"pass": "ok", "fail": "**FAIL**", "inconclusive": "unsure", "not_run": "not run"}


def markdown(result: GateResult, findings: Sequence[Finding], *, passed: bool) -> str:
    """Returns the verdict, one line for each finding that is not fine, and a table for each format."""
    name = (result.report.get("model") or {}).get("name") or "artifact"
    lines = [f"### {'✅' if passed else '❌'} edgekit: {markdown_text(name)} on {markdown_text(result.device)}", ""]
    lines += [
        f"- {'**error**' if finding.severity == 'error' else 'warning'}: "
        f"{markdown_text(finding.title.rpartition(': ')[0])}: {markdown_text(finding.text)}"
        for finding in findings
        if finding.severity != "none"
    ]
    for entry in result.report["formats"]:
        if entry["artifact"] is None:
            continue
        checks = [check for check in result.checks if check.runtime == entry["runtime"]]
        title = markdown_text(f"{entry['runtime']} {entry['precision']}")
        lines += ["", f"**{title}**", "", *_table(checks, result.baseline, entry["runtime"], entry["precision"])]
    calibration = result.report.get("calibration") or {}
    lines += [f"- calibration: {markdown_text(item['message'])}" for item in calibration.get("findings", ())]
    if result.baseline is not None:
        lines += ["", f"Changes are against {_code(result.baseline.path.name)}."]
    return "\n".join(lines) + "\n"


def _table(checks: Sequence[Check], baseline: Baseline | None, runtime: str, precision: str) -> list[str]:
    old = baseline.find(runtime, precision) if baseline else None
    changes = {check.name.removesuffix(CHANGE_SUFFIX): check for check in checks if check.name.endswith(CHANGE_SUFFIX)}
    header = ["", "check", "found", *(["change"] if old else []), "limit", "set by"]
    rows = [header, ["---", "---", "---:", *(["---:"] if old else []), "---:", "---"]]
    for check in checks:
        if check.name.endswith(CHANGE_SUFFIX) and check.verdict == "not_run" and check.level == "warn" and not old:
            continue  # said above, once; a table of what is not there helps nobody
        word = "" if check.limit is None and check.verdict == "pass" else _WORDS[check.verdict]
        found = "not run" if check.value is None else amount_text(check.name, check.value)
        change = [_change(check, changes.get(check.name), old.figure(check.name) if old else None)] if old else []
        limit = "" if check.limit is None else limit_text(check.name, check.limit)
        rows.append([word, cost_of(check.name).title, found, *change, limit, markdown_text(check.limit_from)])
    return ["| " + " | ".join(row) + " |" for row in rows]


def _change(check: Check, judged: Check | None, old: Check | None) -> str:
    """Returns how a figure has changed: what was judged, else the plain difference of the two figures."""
    if judged is not None:
        return "" if judged.value is None else amount_text(judged.name, judged.value)
    if old is None or old.value is None or check.value is None:
        return ""
    if check.unit in ("pp", "dB", "%"):
        return format_change(check.value - old.value, check.unit)
    return format_change(100 * (check.value / old.value - 1), "%") if old.value else format_value(old.value, old.unit)


def _code(text: str) -> str:
    """Returns a name in backticks, which it cannot hold itself."""
    return "`" + one_line(text).replace("`", "'") + "`"
