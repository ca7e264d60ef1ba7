"""Pipeline settings from the flags that long commands share."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from edgekit.cli.options import Screen, Workers
from edgekit.exporting.export import default_jobs
from edgekit.pipeline.settings import Settings
from edgekit.terminal.progress import StageDisplay
from edgekit.units import parse_bytes
from edgekit.workers.cache import Cache, cache_folder


@contextmanager
def pipeline_settings(
    screen: Screen, workers: Workers, *, no_cache: bool = False, jobs: int = 0
) -> Generator[tuple[Settings, StageDisplay], None, None]:
    """Yields settings whose progress is shown, and the display."""
    limit = workers.memory_limit
    with StageDisplay(enabled=screen.shows_progress, no_color=screen.no_color) as display:
        yield (
            Settings(
                cache=Cache(root=cache_folder(), reuse=not no_cache),
                timeout_s=workers.timeout,
                memory_limit_bytes=parse_bytes(limit, "--memory-limit") if limit else None,
                jobs=jobs or default_jobs(),
                progress=display,
            ),
            display,
        )
