"""Options that are declared once: groups, help in panels, repeated options, completion of names."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys

import pytest

from edgekit.cli import options
from edgekit.cli.app import COMMANDS, main
from edgekit.cli.completion import (
    complete_device,
    complete_effort,
    complete_format,
    complete_precision,
    complete_technique,
)
from edgekit.cli.help import EXAMPLES
from edgekit.errors import UsageError


def test_a_group_s_fields_become_options_and_come_back_as_the_group() -> None:
    def command(name: str = "x", *, workers: options.Workers, strict: options.Strict = False) -> object:
        return name, workers, strict

    made = options.flat(command)
    shared = ["shared_cache", "cache_write"]
    assert list(inspect.signature(made).parameters) == ["name", "timeout", "memory_limit", *shared, "strict"]
    found = made(name="y", timeout=3.0, memory_limit=None, shared_cache=None, cache_write=False, strict=True)
    assert found == ("y", options.Workers(timeout=3.0), True)


WITH_HELP = [*(name for name in COMMANDS if name not in ("devices", "baseline", "cache", "sweep")),
             "devices list", "devices show", "devices calibrate", "baseline set", "baseline show",
             "cache show", "cache clear", "cache check", "sweep run", "sweep show", "sweep compact"]  # fmt: skip


@pytest.mark.parametrize("command", WITH_HELP)
def test_every_command_s_help_has_panels_and_two_examples_that_begin_with_it(command, capsys) -> None:
    assert main([*command.split(), "--help"]) == 0
    text = capsys.readouterr().out
    assert "Output:\n" in text
    assert "\nExamples:\n  " in text
    first, second = EXAMPLES[command]
    assert text.endswith(f"Examples:\n  {first}\n  {second}\n") or f"Examples:\n  {first}\n  {second}\n" in text
    assert first.startswith(f"edgekit {command}")
    assert second.startswith(f"edgekit {command}")


@pytest.mark.parametrize("command", sorted(EXAMPLES))
def test_every_option_of_an_example_exists(command, capsys) -> None:
    main([*command.split(), "--help"])
    text = capsys.readouterr().out
    words = [word for example in EXAMPLES[command] for word in example.split() if word.startswith("-")]
    assert [word for word in words if f"{word} " not in text and f"{word}," not in text] == []


def test_formats_given_twice_and_with_commas_are_the_same(capsys, monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    seen: list[str | None] = []

    def stop(**given: object) -> None:
        seen.append(given["formats"])
        raise UsageError("stop")

    monkeypatch.setattr("edgekit.cli.export.make_request", stop)
    main(["export", "net.onnx", "-d", "pi4", "--format", "tflite", "--format", "onnx"])
    main(["export", "net.onnx", "-d", "pi4", "--format", "tflite,onnx"])
    assert seen == ["tflite,onnx", "tflite,onnx"]
    capsys.readouterr()


@pytest.mark.parametrize(
    ("complete", "typed", "found"),
    [
        (complete_device, "pi", ["pi3", "pi4", "pi5"]),
        (complete_format, "o", ["onnx"]),
        (complete_precision, "int8-", ["int8-static", "int8-dynamic", "int8-weights"]),
        (complete_effort, "d", ["default"]),
        (complete_technique, "eq", ["equalize"]),
    ],
    ids=["device", "format", "precision", "effort", "technique"],
)
def test_names_are_completed(complete, typed, found) -> None:
    assert [name for name in complete(typed) if name in found] == found
    assert all(name.startswith(typed) for name in complete(typed))


def test_a_wrong_profile_completes_nothing(monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "device_profiles").mkdir()
    (tmp_path / "device_profiles" / "mine.toml").write_text("schema = ")
    assert complete_device("mi") == []


@pytest.mark.parametrize(
    ("line", "word"),
    [("edgekit pl", "plan"), ("edgekit export --max-sl", "--max-slice-drop"), ("edgekit plan --device pi", "pi4")],
    ids=["command", "option", "device"],
)
def test_a_shell_gets_what_may_come_next(line, word, tmp_path) -> None:
    requested = {"_EDGEKIT_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
    done = subprocess.run(
        [sys.executable, "-m", "edgekit"], env={**os.environ, **requested}, capture_output=True, text=True, check=False,
        cwd=tmp_path,
    )  # fmt: skip
    assert word in done.stdout.split()
