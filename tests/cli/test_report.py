"""`edgekit report`: where the page goes, and what is refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgekit.cli.app import main
from edgekit.cli.export import show_report
from edgekit.errors import ConversionError
from edgekit.exporting.format_result import FormatResult
from edgekit.exporting.record_files import write_report
from edgekit.exporting.report import ExportReport
from edgekit.recipe import Recipe
from edgekit.units import format_bytes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    result = FormatResult(runtime="onnx", recipe=Recipe(), error=ConversionError("no kernel for aten.fft"))
    write_report(ExportReport(command="export", device="pi4", model=None, results=(result,), folder=tmp_path))
    return tmp_path


def test_the_page_lies_beside_the_report(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(folder)]) == 0
    assert (folder / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    size = format_bytes((folder / "report.html").stat().st_size)
    assert capsys.readouterr().out.replace(str(folder), "DIR") == f"DIR/report.html  {size}\n"


@pytest.mark.parametrize(("command", "hints"), [("export", 1), ("validate", 0)])
def test_an_export_says_how_to_get_its_page(
    folder: Path, capsys: pytest.CaptureFixture[str], command: str, hints: int
) -> None:
    result = FormatResult(runtime="onnx", recipe=Recipe())
    report = ExportReport(command=command, device="pi4", model=None, results=(result,), folder=folder / "an out")
    request: Any = SimpleNamespace(profile=SimpleNamespace(title="Board"), omitted=())
    show_report(report, request, strict=False, quiet=False, verbose=False, no_color=True)
    assert capsys.readouterr().out.count(f"One page with all of it: edgekit report '{folder}/an out'\n") == hints


def test_quiet_says_nothing_and_output_names_the_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(folder), "--quiet", "-o", str(folder / "other.html")]) == 0
    assert (folder / "other.html").exists()
    assert not (folder / "report.html").exists()
    assert capsys.readouterr().out == ""


def test_a_folder_without_a_report_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"edgekit: {tmp_path}: no report.json there. Give the folder that edgekit export wrote, or an artifact.\n"
    )


def test_a_place_that_cannot_be_written_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = folder / "missing" / "page.html"
    assert main(["report", str(folder), "-o", str(target)]) == 3
    assert capsys.readouterr().err == (
        f"edgekit: {target}: the page cannot be written: No such file or directory. "
        "Name a file in a folder that exists and is writable with --output.\n"
    )
