"""Advice works when it is followed: each command that edgekit's own texts name is understood by its command line.

Commands are searched for in the sources, so that a new message is held to this from its first day.
`tests/gating/outputs/test_advice.py` runs those that the gate prints, with a device's own way to measure.
"""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
import typer

from edgekit.cli.app import COMMANDS
from edgekit.cli.options import flat

ROOT: Final = Path(__file__).parents[2]
SOURCES: Final = [path for name in ("edgekit", "converters", "validators") for path in (ROOT / name).rglob("*.py")]
FILLED: Final = "FILLED"
"""Stands for what a message fills in when it is printed."""

CALL: Final = re.compile(rf"edgekit (?=(?:{'|'.join(COMMANDS)})\b)")
TOKEN: Final = re.compile(r"(?:\"[^\"]*\"|[^\s\"])+")

OF_OTHER_TOOLS: Final = {
    "--junitxml": "pytest",
    "--text": "a property of a style sheet",
    "--graph": "TFLite's benchmark_model",
    "--head": "ray",
    **dict.fromkeys(("--runtime", "--artifact", "--modes", "--record", "--max-seconds", "--session"), "runner.py"),
}
"""Options in texts that are not edgekit's, and whose they are."""


@cache
def command_of(name: str) -> Any:
    """Returns a command, or a group of them, as the command line builds it."""
    module, _, attribute = COMMANDS[name][0].partition(":")
    app: Any = getattr(importlib.import_module(module), attribute)
    if not isinstance(app, typer.Typer):
        loaded, app = app, typer.Typer(add_completion=False)
        app.command(name=name)(flat(loaded))
    return typer.main.get_command(app)


def resolve(words: list[str]) -> tuple[Any, list[str]]:
    """Returns the command that words name, `devices show` too, and the words behind its name."""
    command, rest = command_of(words[0]), words[1:]
    inner = getattr(command, "commands", {})
    return (inner[rest[0]], rest[1:]) if rest and rest[0] in inner else (command, rest)


def options_of(command: Any) -> dict[str, Any]:
    """Returns the options of a command, or of all in a group, by what is typed."""
    params = [one for part in (command, *getattr(command, "commands", {}).values()) for one in part.params]
    return {name: one for one in params for name in (*one.opts, *one.secondary_opts) if name.startswith("-")}


def understand(words: list[str]) -> None:
    """Parses a command line as edgekit does, without running it."""
    command, rest = resolve(words)
    if not hasattr(command, "commands"):
        command.make_context(words[0], [word for word in rest if word != "--help"])


@cache
def texts(path: Path) -> tuple[str, ...]:
    """Returns each string of a Python file; what an f-string or `str.format` puts in stands there as FILLED."""
    tree = ast.parse(path.read_text())
    joined = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    inside = {id(part) for node in joined for part in ast.walk(node)}
    plain = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in inside)
    return (
        *("".join(str(one.value) if isinstance(one, ast.Constant) else FILLED for one in x.values) for x in joined),
        *(re.sub(r"\{\w+\}", FILLED, text) for text in plain if isinstance(text, str)),
    )


def call_at(line: str) -> tuple[list[str], bool]:
    """Returns the words of the command that a line begins with, and whether its sentence ends with it.

    The command ends before the first word that is no option, no option's value, and looks like no argument.
    """
    words: list[str] = []
    takes_value = False
    for found in TOKEN.finditer(line):
        bare = found[0].rstrip(".,;)")
        if words:
            command, rest = resolve([*words, bare])
            looks_like_argument = not rest or re.fullmatch(r"[A-Z]{3,}.*|.*[./:\"].*", bare)
            if not (takes_value or bare.startswith("-") or looks_like_argument):
                return words, False
            option = options_of(command).get(bare)
            takes_value = option is not None and not option.is_flag
        words.append(bare)
        if bare != found[0]:
            break
    return words, True


def calls(text: str) -> Iterator[tuple[list[str], bool]]:
    """Yields each command of a text, and whether it is one to type: it fills the text, or stands behind a colon."""
    for found in CALL.finditer(text):
        line = re.split(r"[`\n]", text[found.end() :])[0]
        if found.start() == 0 and line == text[found.end() :]:
            yield shlex.split(line), " " in line
            continue
        words, ended = call_at(line)
        behind_a_colon = text[: found.start()].rstrip(" #").endswith((":", "\n"))
        yield words, behind_a_colon and (ended or len(words) > 1)


ADVISED: Final = {
    f"{path.relative_to(ROOT)}: {' '.join(words)}": (words, typed)
    for path in sorted(SOURCES)
    for text in texts(path)
    for words, typed in calls(text)
}


@pytest.mark.parametrize("place", [place for place, (_, typed) in ADVISED.items() if typed])
def test_a_command_to_type_is_understood(place: str) -> None:
    understand(ADVISED[place][0])


@pytest.mark.parametrize("place", [place for place, (_, typed) in ADVISED.items() if not typed])
def test_a_command_that_is_mentioned_has_its_options(place: str) -> None:
    command, rest = resolve(ADVISED[place][0])
    assert {word for word in rest if word.startswith("-")} <= set(options_of(command)) | {"--help"}


def test_there_are_commands_to_look_at() -> None:
    assert sum(typed for _, typed in ADVISED.values()) > 60


def test_every_option_that_a_sentence_names_exists() -> None:
    known = {name for command in COMMANDS for name in options_of(command_of(command))} | {"--help", "--version"}
    found = {
        name: f"{path.relative_to(ROOT)}: {text}"
        for path in SOURCES
        for text in texts(path)
        if " " in text
        for name in re.findall(r"(?<![\w-])--[a-z][a-z-]+\b", text)
    }
    assert {name: text for name, text in found.items() if name not in known | set(OF_OTHER_TOOLS)} == {}
