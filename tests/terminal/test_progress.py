"""Progress of long work where the output is no terminal: one line when a stage begins, one when it ends."""

from __future__ import annotations

import re

import pytest

from edgekit.terminal.progress import StageClock, StageDisplay


def test_a_stage_is_reported_once_when_it_begins_and_once_when_it_ends(capsys: pytest.CaptureFixture[str]) -> None:
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


class Time:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_clock_stops_when_its_stage_ends_and_goes_on_where_there_is_more_to_do() -> None:
    time = Time()
    clock = StageClock(time)
    clock.tell(None)
    time.now += 12
    assert str(clock) == "0:12"
    clock.tell(1.0)
    time.now += 500
    assert str(clock) == "0:12"
    clock.tell(0.0)
    time.now += 3
    assert str(clock) == "0:15"


def test_what_is_left_is_estimated_by_the_pace_of_the_current_piece_of_work() -> None:
    time = Time()
    clock = StageClock(time)
    clock.tell(0.0)
    time.now += 30
    clock.tell(0.04)
    assert clock.left_s is None  # too early to tell
    time.now += 30
    clock.tell(0.5)
    assert str(clock) == "1:00, about 1:00 left"
    clock.tell(0.1)  # another piece of work begins
    assert clock.left_s is None


def test_a_live_display_stops_the_clock_of_what_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    import io
    import sys

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with StageDisplay(enabled=True, no_color=True) as display:
        display("model", "reading", None)
        display("model", "reading", 1.0)
        display("data", "12 samples", 0.5)
        rows = {task.fields["stage"]: task for task in display._rich.tasks}
        assert rows["model"].finished
        assert not rows["data"].finished
        display("model", "reading again", 0.2)
        assert not rows["model"].finished
