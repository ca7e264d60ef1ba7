"""What interrupts a command, from its first moment to its last."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

CODE = """
import os, signal, sys, time
import edgekit.cli.app as app
from edgekit.__main__ import run

def main():
    {body}
    return 7

app.main = main
sys.exit(run())
"""
KILL = "os.kill(os.getpid(), signal.{name}); time.sleep(0.01)"
CLEAN_UP = "try: {kill}\n    finally: {kill}; print('cleaned up', flush=True)"


def run_main(body: str, *, ignored: int | None = None) -> subprocess.CompletedProcess[str]:
    def before() -> None:
        # Tests that run in the background of a shell ignore Ctrl-C, and what they start would too.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN if number == ignored else signal.SIG_DFL)

    command = [sys.executable, "-c", CODE.replace("{body}", body)]
    return subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=before)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_every_interrupt_ends_a_command_with_130(name: str) -> None:
    ran = run_main(KILL.replace("{name}", name))
    assert (ran.returncode, ran.stderr) == (130, "")


def test_a_second_interrupt_does_not_stop_the_cleaning_up() -> None:
    ran = run_main(CLEAN_UP.replace("{kill}", KILL.replace("{name}", "SIGTERM")))
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "cleaned up\n", "")


def test_an_interrupt_that_python_drops_comes_again() -> None:
    body = (
        "class Dropped:\n        def __del__(self): os.kill(os.getpid(), signal.SIGTERM); time.sleep(0.01)\n"
        "    Dropped(); time.sleep(20)"
    )
    ran = run_main(body)
    assert (ran.returncode, ran.stderr) == (130, "")


def test_other_errors_that_python_drops_are_still_said() -> None:
    ran = run_main("class Broken:\n        def __del__(self): raise ValueError('broken')\n    Broken()")
    assert ran.returncode == 7
    assert ran.stderr.endswith("ValueError: broken\n")


def test_a_command_that_nohup_started_goes_on_without_its_terminal() -> None:
    assert run_main(KILL.replace("{name}", "SIGHUP"), ignored=signal.SIGHUP).returncode == 7


def test_an_interrupt_at_the_very_end_changes_nothing() -> None:
    ran = run_main("import atexit; atexit.register(lambda: os.kill(os.getpid(), signal.SIGTERM))")
    assert (ran.returncode, ran.stderr) == (7, "")
