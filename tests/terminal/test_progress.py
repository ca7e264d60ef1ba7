"""Progress of long work where the output is no terminal: one line when a stage begins, one when it ends."""

from __future__ import annotations

import re

import pytest

from edgekit.terminal.progress import StageDisplay


def test_a_stage_is_told_once_when_it_begins_and_once_when_it_ends(capsys: pytest.CaptureFixture[str]) -> None:
    with StageDisplay(enabled=True, no_color=True) as display:
        display("tflite", "converting the float model", 0.1)
        display("tflite", "quantizing", 0.2)
        display.done("tflite", "converted: fp32")
    first, second = capsys.readouterr().err.splitlines()
    assert first == "tflite     converting the float model"
    assert re.fullmatch(r"tflite     converted: fp32 \(\d+ s\)", second)


def test_a_stage_that_never_began_took_no_time(capsys: pytest.CaptureFixture[str]) -> None:
    with StageDisplay(enabled=True, no_color=True) as display:
        display.done("tflite", "found in the cache: fp32")
    assert capsys.readouterr().err == "tflite     found in the cache: fp32\n"


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with StageDisplay(enabled=False, no_color=True) as display:
        display("tflite", "converting")
        display.done("tflite", "converted")
    assert capsys.readouterr().err == ""
