"""Where commands print: text for people through Rich, JSON for machines, never both."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, final

from edgekit.plain_text import log_text

if TYPE_CHECKING:
    from rich.console import Console, RenderHook
    from rich.segment import Segment

PLAIN_WIDTH = 100
"""Columns of a table that goes to a file or a pipe, where neither a terminal nor COLUMNS says how wide it is."""


def console(*, no_color: bool = False, stderr: bool = False) -> Console:
    """Returns a console on stdout (or stderr) that honours --no-color, NO_COLOR and pipes, and stacks wide tables."""
    from edgekit.terminal.narrow import FittingConsole

    stream = sys.stderr if stderr else sys.stdout
    columns = None if stream.isatty() else _stated_columns()
    screen = FittingConsole(
        file=stream,
        no_color=True if no_color else None,
        highlight=False,
        soft_wrap=False,
        width=None if stream.isatty() else columns or PLAIN_WIDTH,
        grows=not stream.isatty() and columns is None,
    )
    screen.push_render_hook(_harmless_hook())
    return screen


def _stated_columns() -> int | None:
    """Returns COLUMNS, where somebody has set it to a number: what goes to a file or a pipe has no other width."""
    columns = os.environ.get("COLUMNS", "")
    return int(columns) if columns.isdecimal() and int(columns) else None


def _harmless_hook() -> RenderHook:
    """Returns what stands between all that is printed and the terminal: names in it are data (see `plain_text`)."""
    from rich.console import ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult

    @final
    class Harmless:
        def __init__(self, inner: ConsoleRenderable) -> None:
            self._inner = inner

        # Rich's protocol names its parameters.
        def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
            return _harmless_segments(console.render(self._inner, options))

    @final
    class Hook(RenderHook):
        def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
            return [Harmless(item) for item in renderables]

    return Hook()


def _harmless_segments(segments: Iterable[Segment]) -> Iterator[Segment]:
    """Yields the segments with harmless text: pieces of lines, each in one style."""
    line = ""
    for segment in segments:
        if segment.control:
            yield segment  # the cursor's movements of Rich itself
            continue
        # Whether text begins a line, where a log takes it for a command, depends on what was before.
        before = "x" if line.strip() else ""
        yield segment._replace(text=log_text(before + segment.text)[len(before) :])
        line = (line + segment.text).rpartition("\n")[2]


def write_json(data: Mapping[str, Any]) -> None:
    """Writes `data` as JSON to stdout, where nothing else goes then."""
    sys.stdout.write(json.dumps(data, indent=1, allow_nan=False) + "\n")
