"""Progress of long work: one live line a stage on a terminal, one plain line a stage elsewhere. Always on stderr."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, final

from edgekit.terminal.console import console

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


@final
class StageDisplay:
    """A `pipeline.StageProgress` that shows each stage's latest phrase. Use it as a context manager.

    Args:
        enabled: False shows nothing (`--quiet`, `--json`).
        no_color: See `console`.
    """

    def __init__(self, *, enabled: bool = True, no_color: bool = False) -> None:
        self._enabled = enabled
        self._live = enabled and sys.stderr.isatty()
        self._no_color = no_color
        self._lock = threading.Lock()
        self._rich: Progress | None = None
        self._stages: dict[str, TaskID] = {}
        self._started: dict[str, float] = {}

    def __enter__(self) -> StageDisplay:
        if self._live:
            from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            self._rich = Progress(
                SpinnerColumn(),
                TextColumn("{task.fields[stage]:<10}"),
                BarColumn(bar_width=20),
                TextColumn("{task.description}"),
                TimeElapsedColumn(),
                console=console(no_color=self._no_color, stderr=True),
                transient=True,
            )
            self._rich.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._rich is not None:
            self._rich.stop()

    def __call__(self, stage: str, phrase: str, share: float | None = None) -> None:
        """Shows what `stage` is doing; safe from several threads."""
        if not self._enabled:
            return
        with self._lock:
            if self._rich is None:
                self._print_once(stage, phrase)
            elif stage in self._stages:
                self._rich.update(self._stages[stage], description=phrase, completed=share or 0, total=_total(share))
            else:
                self._stages[stage] = self._rich.add_task(phrase, stage=stage, total=_total(share))

    def done(self, stage: str, phrase: str) -> None:
        """Shows that `stage` has ended, and how."""
        if not self._enabled:
            return
        with self._lock:
            if self._rich is None:
                started = self._started.get(stage)
                took = "" if started is None else f" ({time.monotonic() - started:.0f} s)"
                sys.stderr.write(f"{stage:<10} {phrase}{took}\n")
            elif stage in self._stages:
                self._rich.update(self._stages[stage], description=phrase, completed=1, total=1)

    def _print_once(self, stage: str, phrase: str) -> None:
        if stage not in self._started:
            self._started[stage] = time.monotonic()
            sys.stderr.write(f"{stage:<10} {phrase}\n")


def _total(share: float | None) -> float | None:
    return None if share is None else 1.0
