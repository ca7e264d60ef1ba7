"""Whatever is printed through Rich: names in it are data, and edgekit's own colours stay."""

from __future__ import annotations

import pytest

from edgekit.exporting.sentences import escape
from edgekit.terminal.console import console
from edgekit.terminal.progress import StageDisplay


def test_escape_sequences_and_commands_in_names_do_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    screen = console()
    screen.print(escape("net\x1b]0;title.onnx\n::error::x"), soft_wrap=True)
    screen.print(f"[bold red]FAIL[/] {escape('::[red]x::')}", soft_wrap=True)
    assert capsys.readouterr().out == "net\\x1b]0;title.onnx\n: :error::x\nFAIL ::[red]x::\n"


def test_tables_are_made_harmless_too(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.table import Table

    table = Table(box=None, show_header=False)
    table.add_row("::error::x", "layer\x9b2J")
    console().print(table)
    assert capsys.readouterr().out.split() == [":", ":error::x", "layer\\x9b2J"]


def test_colours_of_edgekits_own_stay(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    console().print("[red]x[/]")
    assert capsys.readouterr().out == "\x1b[31mx\x1b[0m\n"


def test_a_stage_is_one_line_of_progress(capsys: pytest.CaptureFixture[str]) -> None:
    with StageDisplay() as display:
        display("tflite", "layer\n::error::x")
    assert capsys.readouterr().err == "tflite     layer\\n::error::x\n"


@pytest.mark.parametrize(
    ("columns", "width"), [("50", 50), ("", 100), ("0", 100), ("wide", 100)], ids=["set", "empty", "zero", "no number"]
)
def test_a_pipe_is_as_wide_as_columns_says(columns: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert console().width == width
