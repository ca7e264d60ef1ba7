"""Each row's own report on a sweep's page: plain data that the page's script shows where a reader wants to see it.

A thousand rows say the same words again and again, so a text is kept once and named by its number.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, final

from edgekit.budget import cost_of
from edgekit.checks import Check
from edgekit.exporting.sentences import check_sentence
from edgekit.html_report.parts import UNKNOWN, band, figure_text
from edgekit.sweeping.result import SweepResult
from edgekit.sweeping.rows import Row
from edgekit.task.sweep_table import PLANNED

_CHECKS: Final = ("Check", "Verdict", "Value", "Limit", "Band", "Basis", "In words")
_PREDICTIONS: Final = ("Predicted", "Value", "Band")
_REJECTED: Final = ("Rejected", "Why")
_FACTS: Final = ("Fact", "Value")


@final
class _Texts:
    """Numbers of texts, each text once."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        return self.numbers.setdefault(text, len(self.numbers))

    def table(self, caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[Any]:
        """Returns a table as numbers: the caption, the titles, the cells."""
        cells = [list(map(self.number, row)) for row in rows]
        return [self.number(caption), list(map(self.number, columns)), cells]


def row_details(result: SweepResult) -> str:
    """Returns the reports of all rows as JSON that may stand in a script element.

    `texts` are what the numbers in `rows` stand for: row to its title, its message, the command that exports it, and
    its tables, each a caption, titles and cells.
    """
    texts = _Texts()
    rows = {row.point: _details(row, texts) for row in result.rows}
    said = json.dumps({"texts": list(texts.numbers), "rows": rows}, separators=(",", ":"))
    # "<" would let a name end the script element; in JSON it may be written as an escape.
    return said.replace("<", "\\u003c")


def _details(row: Row, texts: _Texts) -> list[Any]:
    report: Mapping[str, Any] = json.loads(row.report) if row.report else {}
    entries: Sequence[Mapping[str, Any]] = report.get("formats", ())
    checks = [Check.from_json(check) for entry in entries for check in entry["checks"]] or row.checks
    predictions = report.get("predictions", ())
    rejected = report.get("rejected", ())
    tables = [
        texts.table("How it was made", _FACTS, _facts(row, report)),
        *([texts.table("Checks", _CHECKS, map(_check, checks))] if checks else []),
        *([texts.table("Predictions", _PREDICTIONS, map(_prediction, predictions))] if predictions else []),
        *(
            [texts.table("Rejected candidates", _REJECTED, [(x["candidate"], x["reason"]) for x in rejected])]
            if rejected
            else []
        ),
    ]
    return [texts.number(row.title), texts.number(row.message), texts.number(_command(row, report)), tables]


def _facts(row: Row, report: Mapping[str, Any]) -> list[tuple[str, str]]:
    data = report.get("data") or {}
    environment = report.get("environment") or {}
    steps = [f"{step['technique']} {_settings(step['settings'])}".rstrip() for step in report.get("steps", ())]
    samples = {name: f"{data[name]['items']} items" for name in ("calibration", "evaluation") if data.get(name)}
    facts = {
        "Precision": row.made,
        "Steps": ", ".join(steps),
        "Artifact (SHA-256)": row.artifact_sha256,
        "Metric": str(data.get("metric") or ""),
        **{f"{name.capitalize()} data": text for name, text in samples.items()},
        "Judged on": " ".join(str(environment.get(name, "")) for name in ("host", "system")).strip(),
        "Error": f"{row.error}, exit code {row.exit_code}" if row.error else "",
    }
    return [(name, text) for name, text in facts.items() if text]


def _settings(settings: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in settings.items())


def _check(check: Check) -> tuple[str, ...]:
    sentence = check_sentence(check)
    detail = "" if check.detail.rstrip(".") in sentence else check.detail
    return (
        cost_of(check.name).title,
        check.shown_as,
        figure_text(check.value, check.unit),
        figure_text(check.limit, check.unit),
        band(check.low, check.high, check.unit),
        check.basis if check.value is not None else UNKNOWN,
        f"{sentence}. {detail}".rstrip(),
    )


def _prediction(data: Mapping[str, Any]) -> tuple[str, str, str]:
    cost = cost_of(data["name"])
    return cost.title, figure_text(data["value"], cost.unit), band(data["low"], data["high"], cost.unit)


def _command(row: Row, report: Mapping[str, Any]) -> str:
    """Returns the command that exports the row alone; what the sweep has made comes from the cache."""
    model = report.get("model") or {}
    if not model:
        return ""
    words = ["edgekit", "export", *([] if model["embedded_default"] else [model["source"]]), "-d", row.device]
    words += ["-f", row.format, *([] if row.precision == PLANNED else ["-p", row.precision])]
    words += [part for step in row.pipeline.split() for part in ("-t", step)]
    words += [] if row.effort == "quick" else ["--effort", row.effort]
    return shlex.join([*words, "-o", f"{row.format}-{row.device}"])
