"""The page in examples/report is the one that this edgekit writes from the records beside it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.html_report.page import html_page, read_sources

FOLDER = Path(__file__).parents[2] / "examples" / "report"


def test_the_page_is_what_edgekit_report_writes() -> None:
    pytest.importorskip("bokeh")
    made = html_page(replace(read_sources(FOLDER / "out"), folder="out"))
    kept = (FOLDER / "report.html").read_text(encoding="utf-8")
    # Bokeh counts all models that a process has ever made.
    assert re.sub(r"\bp\d{4,}\b", "p", made) == re.sub(r"\bp\d{4,}\b", "p", kept), (
        "examples/report is stale: in that folder, edgekit report out -o report.html"
    )
