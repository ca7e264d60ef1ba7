"""Where a limit stands: file and line, so that a CI system can point at what to edit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from edgekit.budget import CHANGE_SUFFIX
from edgekit.checks import Check
from edgekit.files.bounded_reading import read_text
from edgekit.profiles.profile import DeviceProfile
from edgekit.task.task import Task

_HEADER: Final = re.compile(r"^\s*\[\s*([^\[\]]+?)\s*\]\s*(?:#.*)?$")
_KEY: Final = re.compile(
    r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*="""
)
_PART: Final = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")
_DEVICE_SOURCE: Final = re.compile(r"^\S+ \[devices\.(?P<name>.+)\]$")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FileLine:
    """A line of a file, counted from 1."""

    path: Path
    line: int


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LimitFiles:
    """The files that limits come from.

    Attributes:
        task: Its file, where it has one, holds the limits of the task.
        profile: Its file holds the others.
    """

    task: Task
    profile: DeviceProfile

    @property
    def anywhere(self) -> FileLine:
        """A place for what belongs to no limit: the head of the task file, or of the profile."""
        return FileLine(path=self.task.config or self.profile.path, line=1)

    @property
    def model(self) -> FileLine | None:
        """Where the model is named: in the task file, or its own file where there is none; None where it is neither."""
        config = self.task.config
        if config is not None:
            root = ("tool", "edgekit") if config.name == "pyproject.toml" else ()
            line = find_line(read_text(config).splitlines(), (*root, "model", "source"))
            return FileLine(path=config, line=line or 1)
        file = self.task.base / self.task.model.partition(":")[0]
        return FileLine(path=file, line=1) if file.is_file() else None

    def place_of(self, check: Check) -> FileLine:
        """Returns where the limit of a check stands.

        A limit from a flag or the environment stands in no file: then it is the line whose limit it replaces.
        """
        figure = check.name.removesuffix(CHANGE_SUFFIX)
        table = "budget" if figure == check.name else "regression"
        for path, keys in self._candidates(check.limit_from, table, figure):
            if line := find_line(read_text(path).splitlines(), keys):
                return FileLine(path=path, line=line)
        return self.anywhere

    def _candidates(self, source: str, table: str, figure: str) -> list[tuple[Path, tuple[str, ...]]]:
        """Returns (file, key path) of the places where the limit may stand, the likeliest first."""
        config = self.task.config
        in_profile: list[tuple[Path, tuple[str, ...]]] = (
            [(self.profile.path, (table, figure))] if table == "budget" else []
        )
        if config is None or source == "profile":
            return in_profile
        root = ("tool", "edgekit") if config.name == "pyproject.toml" else ()
        device = _DEVICE_SOURCE.match(source)
        names = [device["name"]] if device else list(self.task.devices)
        of_devices: list[tuple[Path, tuple[str, ...]]] = [
            (config, (*root, "devices", name, table, figure)) for name in names
        ]
        of_all: list[tuple[Path, tuple[str, ...]]] = [(config, (*root, table, figure))]
        return [*of_devices, *of_all, *in_profile] if device else [*of_all, *of_devices, *in_profile]


def find_line(lines: Sequence[str], keys: tuple[str, ...]) -> int | None:
    """Returns the number of the TOML line that gives `keys` its value, counted from 1, or None.

    It knows tables, dotted keys and inline tables that begin on a line of their own; the file was parsed before.
    """
    table: tuple[str, ...] = ()
    for number, line in enumerate(lines, start=1):
        if header := _HEADER.match(line):
            table = _split(header[1])
        elif key := _KEY.match(line):
            path = (*table, *_split(key[1]))
            inside = path == keys[: len(path)] and len(path) < len(keys)
            # An inline table holds the rest of the path on its line.
            if path == keys or (inside and re.search(rf"""[{{,.\s"']{re.escape(keys[-1])}["']?\s*=""", line)):
                return number
    return None


def _split(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in _PART.findall(dotted))
