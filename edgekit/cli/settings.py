"""Pipeline settings from the flags that long commands share."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager

from edgekit.cli.options import Screen, Workers
from edgekit.errors import UsageError
from edgekit.pipeline.settings import Settings, default_jobs
from edgekit.terminal.progress import StageDisplay
from edgekit.units import parse_bytes
from edgekit.workers.cache import Cache, cache_folder
from edgekit.workers.shared_cache import URL_VARIABLE, WRITE_VARIABLE


@contextmanager
def _shared_cache(workers: Workers) -> Generator[None, None, None]:
    """Names the shared cache of the flags where worker processes find it too: in the environment.

    Raises:
        UsageError: `--cache-write` without a cache.
    """
    if workers.cache_write and not (workers.shared_cache or os.environ.get(URL_VARIABLE)):
        raise UsageError(f"--cache-write names no cache. Give --cache URL, or set {URL_VARIABLE}.")
    given = {URL_VARIABLE: workers.shared_cache, WRITE_VARIABLE: "1" if workers.cache_write else None}
    before = {name: os.environ.get(name) for name in given}
    os.environ.update({name: value for name, value in given.items() if value is not None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def pipeline_settings(
    screen: Screen, workers: Workers, *, no_cache: bool = False, jobs: int = 0
) -> Generator[tuple[Settings, StageDisplay], None, None]:
    """Yields settings whose progress is shown, and the display."""
    limit = workers.memory_limit
    with _shared_cache(workers), StageDisplay(enabled=screen.shows_progress, no_color=screen.no_color) as display:
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
