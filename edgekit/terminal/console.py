"""Where verbs print: text for people through Rich, JSON for machines, never both."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_WIDTH = 100
"""Columns of a table that goes to a file or a pipe, where no terminal says how wide it is."""


def console(*, no_color: bool = False, stderr: bool = False) -> Console:
    """Returns a console on stdout (or stderr) that honours --no-color, NO_COLOR and pipes, and stacks wide tables."""
    from edgekit.terminal.narrow import FittingConsole

    stream = sys.stderr if stderr else sys.stdout
    return FittingConsole(
        file=stream,
        no_color=True if no_color else None,
        highlight=False,
        soft_wrap=False,
        width=None if stream.isatty() else PLAIN_WIDTH,
    )


def write_json(data: Mapping[str, Any]) -> None:
    """Writes `data` as JSON to stdout, where nothing else goes then."""
    sys.stdout.write(json.dumps(data, indent=1, allow_nan=False) + "\n")
