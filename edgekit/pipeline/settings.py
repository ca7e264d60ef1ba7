"""The pipeline: the one place that knows sources, converters and validators, and runs them in order.

Every stage runs in a worker process and is kept in the cache under a hash of all that it depends on, so a run that was
interrupted goes on where it stopped, and a second run finds its work done.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, final

from edgekit.workers.cache import Cache, cache_folder
from edgekit.workers.worker import Job, JobOptions, JobResult, Progress, RequestT, ResultT, run_job, silent

DEFAULT_TIMEOUT_S: Final = 1800.0

LOCAL: Final = "local"
"""The engine that runs jobs as processes of this machine."""

StageProgress = Callable[[str, str, float | None], None]
"""Called with (stage, phrase, share done): one line of a progress display for each stage."""


def quiet(stage: str, phrase: str, share: float | None = None) -> None:
    """A `StageProgress` that tells nobody."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class StageLimits:
    """How the stages of a job run, as a value that travels.

    Attributes:
        timeout_s: Limit of each worker process.
        memory_limit_bytes: Limit of each worker process; None for no limit.
        worker_threads: Threads that a worker process computes with.
        reuse: Whether what is in the cache is taken from there.
    """

    timeout_s: float
    memory_limit_bytes: int | None
    worker_threads: int
    reuse: bool

    def settings(self, progress: Progress) -> Settings:
        """Returns the settings of a job's stages: one at a time, for whoever has sent the job runs many."""

        def tell(_stage: str, phrase: str, share: float | None = None) -> None:
            progress(phrase, share)

        return Settings(
            cache=Cache(root=cache_folder(), reuse=self.reuse),
            timeout_s=self.timeout_s,
            memory_limit_bytes=self.memory_limit_bytes,
            worker_threads=self.worker_threads,
            jobs=1,
            progress=tell,
        )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the pipeline runs, apart from what it works on.

    Attributes:
        cache: Where finished work is kept.
        timeout_s: Limit of each worker process.
        memory_limit_bytes: Limit of each worker process; None for no limit.
        jobs: Worker processes at a time.
        engine: Name of what runs the trials of searches and plans, where there are several at a time.
        address: Where the engine's machines are; None where it has none, or finds them.
        threads: Threads of a runtime whose latency is timed.
        worker_threads: Threads that a worker process computes with; another number gives other bytes.
        progress: Callback that gets what is going on.
        forks: Stages run in forks of this process (see `JobOptions`).
        signature: Which function of an artifact is run where its file has several; "" where it has one.
        cancelled: Once set, running workers are ended and KeyboardInterrupt is raised on their threads.
    """

    cache: Cache = field(default_factory=lambda: Cache(root=cache_folder()))
    timeout_s: float = DEFAULT_TIMEOUT_S
    memory_limit_bytes: int | None = None
    jobs: int = 2
    engine: str = LOCAL
    address: str | None = None
    threads: int = 1
    worker_threads: int = 1
    progress: StageProgress = quiet
    forks: bool = False
    signature: str = ""
    cancelled: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        """Lets what the cache has to say, and Ctrl-C while it waits, go the way of everything else."""
        object.__setattr__(self, "cache", replace(self.cache, notice=self.progress, cancelled=self.cancelled))

    def stage(self, name: str) -> Progress:
        """Returns a `Progress` that speaks for the stage `name`."""

        def tell(phrase: str, share: float | None = None) -> None:
            self.progress(name, phrase, share)

        return tell

    def limits(self) -> StageLimits:
        """Returns what of these settings travels with a job."""
        return StageLimits(
            timeout_s=self.timeout_s,
            memory_limit_bytes=self.memory_limit_bytes,
            worker_threads=self.worker_threads,
            reuse=self.cache.reuse,
        )

    def run(
        self,
        title: str,
        job: Job[RequestT, ResultT],
        request: RequestT,
        progress: Progress = silent,
    ) -> JobResult[ResultT]:
        """Runs one worker process under these settings (see `edgekit.workers.worker.run_job`).

        Its last phrase is reported once more with a share of 1, so that whoever watches knows that it has ended.
        """
        phrases: list[str] = []

        def tell(phrase: str, share: float | None = None) -> None:
            phrases[:] = [phrase]
            progress(phrase, share)

        options = JobOptions(
            title=title,
            threads=self.worker_threads,
            timeout_s=self.timeout_s,
            memory_limit_bytes=self.memory_limit_bytes,
            forks=self.forks,
        )
        result = run_job(job, request, options, tell, self.cancelled)
        for phrase in phrases:
            progress(phrase, 1.0)
        return result


def default_jobs() -> int:
    """Returns how many worker processes run at a time: one a core, four at most, for a converter takes 1 to 3 GB."""
    return min(4, os.cpu_count() or 1)
