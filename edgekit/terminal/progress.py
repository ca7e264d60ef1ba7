"""Progress of long work: one live line a stage on a terminal, one plain line a stage elsewhere. Always on stderr."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final, final

from edgekit.plain_text import one_line
from edgekit.terminal.console import console
from edgekit.terminal.streams import say

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


_SEEN_SHARE: Final = 0.05
"""Share of a piece of work that must be seen before the rest is estimated."""


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
        self._clocks: dict[str, StageClock] = {}

    def __enter__(self) -> StageDisplay:
        if self._live:
            from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

            self._rich = Progress(
                SpinnerColumn(finished_text="-"),
                TextColumn("{task.fields[stage]:<10}"),
                BarColumn(bar_width=20),
                TextColumn("{task.description}"),
                TextColumn("{task.fields[clock]}"),
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
        """Shows what `stage` is doing; a share of 1 ends it. Safe from several threads."""
        if not self._enabled:
            return
        phrase = one_line(phrase)
        with self._lock:
            is_new = stage not in self._clocks
            clock = self._clocks.setdefault(stage, StageClock())
            clock.tell(share)
            if self._rich is not None:
                self._show(self._rich, stage, phrase, share)
            elif is_new:
                say(f"{stage:<10} {phrase}")

    def done(self, stage: str, phrase: str) -> None:
        """Shows that `stage` has ended, and how."""
        if not self._enabled:
            return
        phrase = one_line(phrase)
        with self._lock:
            clock = self._clocks.get(stage)
            if clock is not None:
                clock.tell(1.0)
            if self._rich is None:
                took = "" if clock is None else f" ({clock.elapsed_s:.0f} s)"
                say(f"{stage:<10} {phrase}{took}")
            elif stage in self._stages:
                self._show(self._rich, stage, phrase, 1.0)

    def _show(self, rich: Progress, stage: str, phrase: str, share: float | None) -> None:
        from rich.markup import escape

        phrase = escape(phrase)
        if stage not in self._stages:
            self._stages[stage] = rich.add_task(phrase, stage=stage, clock=self._clocks[stage], total=None)
        task = self._stages[stage]
        if (share is None or share < 1) and any(item.finished for item in rich.tasks if item.id == task):
            rich.reset(task, total=_total(share))  # a stage that ended has more to do
        rich.update(task, description=phrase, completed=share or 0, total=_total(share))


@final
class StageClock:
    """How long a stage has worked, and how long it may still take. Its text is what the display shows.

    The clock stands still once the stage has ended; it goes on where the stage has more to do.

    Args:
        now: The time in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._worked_s = 0.0
        self._since: float | None = None
        self._share: float | None = None
        self._first: tuple[float, float] | None = None

    def tell(self, share: float | None) -> None:
        """Says how much of the current piece of work is done; 1 ends it."""
        if share is not None and share >= 1:
            self._worked_s, self._since, self._share, self._first = self.elapsed_s, None, None, None
            return
        if self._since is None:
            self._since = self._now()
        if share is None or (self._share is not None and share < self._share):
            self._first = None
        if share is not None and self._first is None:
            self._first = (self._now(), share)
        self._share = share

    @property
    def elapsed_s(self) -> float:
        """Seconds of work so far."""
        return self._worked_s + (0.0 if self._since is None else self._now() - self._since)

    @property
    def left_s(self) -> float | None:
        """Seconds that the current piece of work may still take, by its pace so far; None where nobody can tell."""
        if self._share is None or self._first is None or self._share - self._first[1] < _SEEN_SHARE:
            return None
        started, first = self._first
        return (self._now() - started) / (self._share - first) * (1 - self._share)

    def __str__(self) -> str:
        """The text: `0:12`, or `0:12, about 0:40 left`."""
        left = self.left_s
        return _clock_text(self.elapsed_s) + ("" if left is None else f", about {_clock_text(left)} left")


def _clock_text(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


def _total(share: float | None) -> float | None:
    return None if share is None else 1.0
