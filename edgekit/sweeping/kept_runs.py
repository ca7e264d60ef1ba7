"""Runs of artifacts that are kept: an artifact that several devices share is run once on this machine.

Outputs and memory are kept, timings are not taken: other jobs of the sweep run at the same time. What is kept is about
this machine and stays in its cache.
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, final

from edgekit.artifact import hash_files
from edgekit.exporting.export import recorded_packages
from edgekit.exporting.judge import ArtifactRuns
from edgekit.files.bounded_reading import read_json
from edgekit.validators.runner_process import RunnerCall, RunnerEnd, run_export
from edgekit.workers.atomic_files import write_json
from edgekit.workers.cache import Cache, content_key, versions
from edgekit.workers.code_digest import code_digest
from edgekit.workers.request_key import content_digest
from edgekit.workers.worker import Progress

_CODE: Final = ("edgekit.validators.execution", "edgekit.validators.runners")
"""The runner is started by its path, so imports do not lead to it."""
_RECORD: Final = "record.json"
_OUTPUTS: Final = "outputs"


def kept_runs(cache: Cache) -> ArtifactRuns:
    """Returns how a sweep runs its artifacts: outputs and memory, each once."""
    return ArtifactRuns(pieces=("memory", "outputs"), target=KeptRuns(cache=cache))


@final
class _Unfinished(Exception):  # noqa: N818  it is no error: it carries a result out of the cache's builder
    """A run that ended before its time: what is kept is finished."""

    def __init__(self, end: RunnerEnd) -> None:
        super().__init__(end.failure)
        self.end = end


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRuns:
    """A `RunnerTarget` that finds a run in the cache, or keeps it there once it has finished.

    Attributes:
        cache: Where runs are kept.
        run: What runs an artifact that was not run yet.
    """

    cache: Cache
    run: Callable[[RunnerCall, Progress], RunnerEnd] = run_export

    def __call__(self, call: RunnerCall, progress: Progress) -> RunnerEnd:
        """Returns what the runner left behind; the artifact's outputs lie where the call wants them."""

        def build(place: Path) -> None:
            end = self.run(replace(call, output=place / _OUTPUTS), progress)
            if end.failure:
                raise _Unfinished(end)
            write_json(place / _RECORD, end.record)

        try:
            folder = self.cache.make("runs", run_key(call), build)
        except _Unfinished as unfinished:
            return unfinished.end
        if call.output is not None and (folder / _OUTPUTS).is_dir():
            shutil.copytree(folder / _OUTPUTS, Path(call.output))
        return RunnerEnd(record=read_json(folder / _RECORD))


def run_key(call: RunnerCall) -> str:
    """Returns the key of a run: the artifact, its data, how it is run, by what, and on which kind of machine."""
    settings = call.settings
    return content_key({
        "artifact": hash_files(Path(call.artifact))[1],
        "runtime": call.runtime,
        "modes": list(call.modes),
        "samples": None if call.samples is None else content_digest(Path(call.samples)),
        "expected": dict(call.expected),
        "threads": settings.threads,
        "package": settings.runtime_package,
        "machine": [platform.node(), platform.machine()],
        "code": code_digest(*_CODE),
        "tools": versions(recorded_packages()),
    })  # fmt: skip
