"""Pipeline settings from the flags that long verbs share."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

from edgekit.cli.progress import StageDisplay
from edgekit.pipeline.settings import Settings
from edgekit.units import parse_bytes
from edgekit.workers.cache import Cache, cache_folder


@contextmanager
def pipeline_settings(
    *,
    show_progress: bool,
    no_color: bool,
    no_cache: bool,
    jobs: int,
    timeout_s: float,
    memory_limit: str | None,
) -> Generator[tuple[Settings, StageDisplay], None, None]:
    """Yields settings whose progress is shown, and the display.

    A polite end (SIGTERM, as CI systems send it) is treated as Ctrl-C: workers are ended, the cache stays whole.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise KeyboardInterrupt

    is_main = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGTERM, interrupt) if is_main else None
    try:
        with StageDisplay(enabled=show_progress, no_color=no_color) as display:
            yield (
                Settings(
                    cache=Cache(root=cache_folder(), reuse=not no_cache),
                    timeout_s=timeout_s,
                    memory_limit_bytes=parse_bytes(memory_limit, "--memory-limit") if memory_limit else None,
                    jobs=jobs,
                    progress=display,
                ),
                display,
            )
    finally:
        if previous is not None:
            signal.signal(signal.SIGTERM, previous)
