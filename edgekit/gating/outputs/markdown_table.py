"""The verdict as Markdown, for a comment on a pull request or a job's summary: what failed first, then every figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from edgekit.budget import CHANGE_SUFFIX, COSTS, cost_of
from edgekit.checks import Check
from edgekit.exporting.sentences import NOT_MEASURED, amount_text, limit_text
from edgekit.gating.baseline import Baseline, FormatRecord
from edgekit.gating.gate import GateResult
from edgekit.gating.outputs.findings import Finding
from edgekit.plain_text import markdown_text, one_line
from edgekit.units import format_change, format_value

_SMALLEST: Final = 1e-6
"""What a change is a share of where the old figure was zero."""


def markdown(result: GateResult, findings: Sequence[Finding], *, passed: bool, base: Baseline | None = None) -> str:
    """Returns the verdict, one line for each finding that is not fine, and a table for each format, the worst first.

    Where everything is well the tables are folded away: a comment that says so takes one line.

    Args:
        result: The verdict.
        findings: What the gate found.
        passed: The verdict in one word.
        base: Baseline of the branch that a pull request goes into; changes are shown from it, else from the judged one.
    """
    name = (result.report.get("model") or {}).get("name") or "artifact"
    lines = [f"### {'✅' if passed else '❌'} edgekit: {markdown_text(name)} on {markdown_text(result.device)}", ""]
    shown = sorted((x for x in findings if x.severity != "none"), key=lambda x: x.severity != "error")
    lines += [
        f"- {'**error**' if finding.severity == 'error' else 'warning'}: "
        f"{markdown_text(finding.title.rpartition(': ')[0])}: {markdown_text(finding.text)}"
        for finding in shown
    ]
    lines += _raised(result.baseline, base)
    against = base or result.baseline
    tables: list[str] = []
    for entry in sorted(result.report["formats"], key=lambda entry: _rank_of_format(result, entry["runtime"])):
        if entry["artifact"] is None:
            continue
        # What nobody limits and nobody measured says nothing to a reader.
        checks = [
            check
            for check in result.checks
            if check.runtime == entry["runtime"] and (check.limit is not None or check.value is not None)
        ]
        title = markdown_text(f"{entry['runtime']} {entry['precision']}")
        old = against.find(entry["runtime"], entry["precision"]) if against else None
        tables += ["", f"**{title}**", "", *_table(checks, old, shows_judged=base is None)]
    calibration = result.report.get("calibration") or {}
    tables += [f"- calibration: {markdown_text(item['message'])}" for item in calibration.get("findings", ())]
    if against is not None:
        tables += ["", f"Changes are against {_code(against.path.name)}{' of the base branch' if base else ''}."]
    if passed and not shown:
        count = len(result.checks)
        tables = ["<details>", f"<summary>All is well: {count} checks</summary>", *tables, "", "</details>"]
    return "\n".join([*lines, *tables]) + "\n"


def failure_markdown(message: str, *, device: str) -> str:
    """Returns the text about a gate that ended with an error."""
    return f"### ❌ edgekit: no verdict on {markdown_text(device)}\n\n- **error**: {markdown_text(message)}\n"


def _raised(now: Baseline | None, base: Baseline | None) -> list[str]:
    """Returns a line for each time that the baseline was set anew since the base branch's."""
    if now is None or base is None:
        return []
    return [
        f"- baseline set anew on {markdown_text(change.when[:10])}: "
        + "; ".join(
            f"{x.runtime} {cost_of(x.name).title} {amount_text(x.name, x.old)} → {amount_text(x.name, x.new)}"
            for x in change.moves
        )
        + f" ({markdown_text(change.reason) or 'no reason given'})"
        for change in now.history
        if change not in base.history
    ]


def _rank(check: Check) -> int:
    """Returns the place of a check in a table that shows the worst first."""
    if check.verdict == "pass":
        return 4
    return {"fail": 0, "not_run": 1, "inconclusive": 2}[check.verdict] + (0 if check.level == "error" else 1)


def _rank_of_format(result: GateResult, runtime: str) -> int:
    return min((_rank(check) for check in result.checks if check.runtime == runtime), default=0)


def _table(checks: Sequence[Check], old: FormatRecord | None, *, shows_judged: bool) -> list[str]:
    """Returns the table of one format; a change is the judged one, or the plain difference from `old`."""
    judged = [check for check in checks if check.name.endswith(CHANGE_SUFFIX)] if shows_judged else []
    changes = {check.name.removesuffix(CHANGE_SUFFIX): check for check in judged}
    header = ["", "check", "found", *(["change"] if old else []), "limit", "set by"]
    rows = [header, ["---", "---", "---:", *(["---:"] if old else []), "---:", "---"]]
    for check in sorted(checks, key=lambda check: (_rank(check), -_worsening(check, old))):
        if check.name.endswith(CHANGE_SUFFIX) and check.verdict == "not_run" and check.level == "warn" and not old:
            continue  # said above, once; a table of what is not there helps nobody
        word = (
            ""
            if check.limit is None and check.verdict == "pass"
            else "**FAIL**"
            if check.shown_as == "fail"
            else check.shown_as
        )
        found = NOT_MEASURED if check.value is None else amount_text(check.name, check.value)
        change = [_change(check, changes.get(check.name), old.figure(check.name) if old else None)] if old else []
        limit = "" if check.limit is None else limit_text(check.name, check.limit)
        rows.append([word, cost_of(check.name).title, found, *change, limit, markdown_text(check.limit_from)])
    return ["| " + " | ".join(row) + " |" for row in rows]


def _worsening(check: Check, old: FormatRecord | None) -> float:
    """Returns by how much a figure is worse than the old one, in percent of it; negative where it is better."""
    before = old.figure(check.name) if old else None
    if before is None or before.value is None or check.value is None or check.name not in COSTS:
        return 0.0
    change = 100 * (check.value - before.value) / max(abs(before.value), _SMALLEST)
    return change if COSTS[check.name].at_most else -change


def _change(check: Check, judged: Check | None, old: Check | None) -> str:
    """Returns how a figure has changed: what was judged, else the plain difference of the two figures."""
    if judged is not None:
        return "" if judged.value is None else amount_text(judged.name, judged.value)
    if old is None or old.value is None or check.value is None:
        return ""
    if check.unit in ("pp", "dB", "%"):
        # A share that falls from 90 % to 80 % has lost 10 points; "-10 %" would be 81 %.
        return format_change(check.value - old.value, "pp" if check.unit == "%" else check.unit)
    return format_change(100 * (check.value / old.value - 1), "%") if old.value else format_value(old.value, old.unit)


def _code(text: str) -> str:
    """Returns a name in backticks, which it cannot hold itself."""
    return "`" + one_line(text).replace("`", "'") + "`"
