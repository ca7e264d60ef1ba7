"""The reports of a sweep's rows, as the page's script gets them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgekit.budget import Limit
from edgekit.checks import judge
from edgekit.errors import ConversionError
from edgekit.html_report.sweep_details import row_details
from edgekit.sweeping.jobs import failed_row
from edgekit.sweeping.result import SweepResult
from edgekit.sweeping.rows import Row
from edgekit.sweeping.schedule import Driven

ROW = Row(
    point="p", digest="d", model="net", device="pi4", format="onnx", precision="auto", pipeline="equalize",
    effort="default", status="judged", made="int8-static", artifact_sha256="abc", finished=1.0,
    checks=(judge("size", 5.0, Limit(name="size", value=4.0, source="profile"), runtime="onnx"),),
)  # fmt: skip

REPORT = {
    "model": {"source": "net.py:build(width=8)", "embedded_default": False},
    "steps": [{"technique": "quantize_static", "settings": {"bits": 8}}],
    "formats": [{"checks": [ROW.checks[0].to_json()]}],
    "predictions": [{"name": "latency", "value": 2.0, "low": 1.0, "high": 3.0, "unit": "ms"}],
    "rejected": [{"candidate": "fp32 onnx", "reason": "too <large>"}],
    "data": {"metric": "top1", "calibration": {"items": 32}, "evaluation": None},
    "environment": {"host": "x86_64", "system": "Linux"},
}


@pytest.fixture
def shown() -> Callable[[Row], dict[str, Any]]:
    """Returns what the page shows of a row: title, message, command, and rows of tables by their captions."""

    def read(row: Row) -> dict[str, Any]:
        result = SweepResult(folder=Path("out"), keys=("p",), rows=(row,), driven=Driven(started=0, left=0))
        data = json.loads(row_details(result))
        texts = data["texts"]
        title, message, command, tables = data["rows"]["p"]
        cells = {texts[caption]: [[texts[n] for n in line] for line in lines] for caption, _, lines in tables}
        return {"title": texts[title], "message": texts[message], "command": texts[command], **cells}

    return read


def test_a_row_shows_the_checks_predictions_and_rejected_candidates_of_its_report(shown: Any) -> None:
    found = shown(replace(ROW, report=json.dumps(REPORT)))
    assert found["title"] == "net on pi4: onnx auto equalize (default)"
    assert found["How it was made"] == [
        ["Precision", "int8-static"], ["Steps", "quantize_static bits=8"], ["Artifact (SHA-256)", "abc"],
        ["Metric", "top1"], ["Calibration data", "32 items"], ["Judged on", "x86_64 Linux"],
    ]  # fmt: skip
    ((name, verdict, value, limit, *_, words),) = found["Checks"]
    assert (name, verdict, value, limit) == ("size", "fail", "5 B", "4 B")
    assert words == "size 5 B exceeds 4 B by 1 B (limit from profile)."
    assert found["Predictions"] == [["latency", "2 ms", "1 ms to 3 ms"]]
    assert found["Rejected candidates"] == [["fp32 onnx", "too <large>"]]
    assert found["command"] == (
        "edgekit export 'net.py:build(width=8)' -d pi4 -f onnx -t equalize --effort default -o onnx-pi4"
    )


def test_a_row_without_a_report_shows_its_checks(shown: Any) -> None:
    found = shown(ROW)
    assert [line[0] for line in found["Checks"]] == ["size"]
    assert found["command"] == ""


def test_a_row_that_failed_shows_its_message(shown: Any) -> None:
    found = shown(failed_row(ROW, ConversionError("no such operator\nand why")))
    assert found["message"] == "no such operator\nand why"
    assert ["Error", "ConversionError, exit code 2"] in found["How it was made"]
    assert "Checks" not in found


def test_no_text_of_a_row_ends_the_script_element() -> None:
    evil = replace(ROW, model="</script><script>alert(1)")
    result = SweepResult(folder=Path("out"), keys=("p",), rows=(evil,), driven=Driven(started=0, left=0))
    assert "<" not in row_details(result)
