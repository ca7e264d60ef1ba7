from __future__ import annotations

import json

import pytest

import edgekit
from edgekit.cli import app


def test_without_arguments_the_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main([]) == 0
    shown = capsys.readouterr().out
    assert [command for command in app.COMMANDS if f"  {command} " in shown] == list(app.COMMANDS)


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["--version"]) == 0
    assert capsys.readouterr().out == f"edgekit {edgekit.__version__}\n"


@pytest.mark.parametrize("command", [*app.COMMANDS])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main([command, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: edgekit {command}")


def test_a_misspelt_command_gets_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["exprot"]) == 2
    assert capsys.readouterr().err == 'edgekit: There is no command "exprot". Did you mean export?\n'


def test_an_unknown_command_gets_all_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["zzz"]) == 2
    assert capsys.readouterr().err == f'edgekit: There is no command "zzz". Commands: {", ".join(app.COMMANDS)}.\n'


def test_an_unknown_flag_is_a_usage_error_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["gate", "out", "--no-such-flag"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("edgekit: No such option: --no-such-flag")
    assert "Traceback" not in error


def test_with_json_an_error_is_an_object_on_stdout_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["gate", "no-such-folder", "--device", "pi4", "--json"]) == 2
    shown = capsys.readouterr()
    message = "no-such-folder: no such file or folder. Give the folder that edgekit export wrote, or an artifact."
    assert shown.err == f"edgekit: {message}\n"
    assert json.loads(shown.out) == {
        "schema_version": 1,
        "command": "gate",
        "passed": False,
        "error": {"type": "ArtifactError", "message": message, "exit_code": 2},
    }


def test_an_interrupt_has_its_own_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(arguments: list[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "_run", interrupt)
    assert app.main(["plan"]) == 130
    assert capsys.readouterr().err == ("\nInterrupted. Finished work is kept: the same command goes on from there.\n")


def test_a_file_that_cannot_be_opened_is_the_machines_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(arguments: list[str]) -> None:
        raise PermissionError(13, "Permission denied", "/some/file")

    monkeypatch.setattr(app, "_run", fail)
    assert app.main(["plan"]) == 3
    assert capsys.readouterr().err == "edgekit: /some/file: Permission denied\n"
