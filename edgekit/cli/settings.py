"""Pipeline settings from the flags that long commands share."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from edgekit.cli.options import Screen, Workers
from edgekit.pipeline.settings import LOCAL, Settings, default_jobs
from edgekit.terminal.progress import StageDisplay
from edgekit.units import parse_bytes
from edgekit.workers.cache import Cache, cache_folder
from edgekit.workers.shared_cache import shared_cache_named


@contextmanager
def pipeline_settings(
    screen: Screen,
    workers: Workers,
    *,
    no_cache: bool = False,
    jobs: int = 0,
    engine: str = LOCAL,
    address: str | None = None,
) -> Generator[tuple[Settings, StageDisplay], None, None]:
    """Yields settings whose progress is shown, and the display."""
    limit = workers.memory_limit
    with (
        shared_cache_named(workers.shared_cache, writes=workers.cache_write),
        StageDisplay(enabled=screen.shows_progress, no_color=screen.no_color) as display,
    ):
        yield (
            Settings(
                cache=Cache(root=cache_folder(), reuse=not no_cache),
                timeout_s=workers.timeout,
                memory_limit_bytes=parse_bytes(limit, "--memory-limit") if limit else None,
                jobs=jobs or default_jobs(),
                engine=engine,
                address=address,
                progress=display,
            ),
            display,
        )
