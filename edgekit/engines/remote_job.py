"""A job as text, for engines whose machines are others: what they send, run there, and read from the answer.

Nothing is pickled: what travels is JSON. Paths into the driver's cache lead into that of the machine, which fetches
what it lacks from the shared cache.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import time
from dataclasses import asdict, dataclass
from typing import Any, final

from edgekit.engines.engine import Ended, Work
from edgekit.errors import ERRORS_BY_NAME, EdgekitError, InternalError, MachineError
from edgekit.workers.cache import Cache, cache_folder
from edgekit.workers.shared_cache import URL_VARIABLE, WRITE_VARIABLE
from edgekit.workers.structure import structure, unstructure
from edgekit.workers.worker import Job, JobOptions, run_job, types_of


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteJob:
    """A job and what its machine must know.

    Attributes:
        entry: The job's `module:function`.
        request: The request as JSON.
        options: The fields of its `JobOptions`.
        driver_root: Folder of the driver's cache, from which paths in the request start.
        shared: Environment variables that name the shared cache.
    """

    entry: str
    request: str
    options: dict[str, Any]
    driver_root: str
    shared: dict[str, str]

    @staticmethod
    def of(work: Work) -> RemoteJob:
        """Returns what to send for a job."""
        options = {**asdict(work.options), "log": None, "environment": dict(work.options.environment)}
        return RemoteJob(
            entry=work.job.entry,
            request=json.dumps(unstructure(work.request)),
            options=options,
            driver_root=_root(),
            shared={name: os.environ[name] for name in (URL_VARIABLE, WRITE_VARIABLE) if name in os.environ},
        )

    def to_json(self) -> str:
        """Returns what `run_remote` takes."""
        return json.dumps(asdict(self))


def run_remote(sent: str) -> str:
    """Runs a job in a worker process of the machine where an engine has put it; returns its result or error as JSON.

    Args:
        sent: What `RemoteJob.to_json` returned.
    """
    remote = RemoteJob(**json.loads(sent))
    os.environ.update(remote.shared)
    started = time.monotonic()
    module, name = remote.entry.split(":")
    job: Job[Any, Any] = Job(work=getattr(importlib.import_module(module), name))
    title, root = remote.options["title"], _root()
    try:
        here = remote.request if root == remote.driver_root else fetch_entries(remote.request, remote.driver_root, root)
        value: Any = structure(json.loads(here), types_of(job.work)[0], f"request of the {title}")
        result = run_job(job, value, JobOptions(**remote.options))
    except EdgekitError as error:
        return json.dumps({
            "error": type(error).__name__, "message": error.message, "wall_s": time.monotonic() - started
        })  # fmt: skip
    answer = json.dumps({"value": unstructure(result.value), "wall_s": result.wall_s})
    return answer.replace(_in_json(root), _in_json(remote.driver_root))


def ended_remotely(work: Work, answer: str) -> Ended:
    """Returns how a job has ended, from what `run_remote` returned there."""
    read = json.loads(answer)
    if "error" in read:
        kind = ERRORS_BY_NAME.get(read["error"], InternalError)
        return Ended(name=work.name, error=kind(read["message"]), wall_s=read["wall_s"])
    value: Any = structure(read["value"], types_of(work.job.work)[1], f"result of the {work.name}")
    return Ended(name=work.name, value=value, wall_s=read["wall_s"])


def fetch_entries(request: str, driver_root: str, root: str) -> str:
    """Returns a request in which paths into the driver's cache lead into this machine's, which holds what they name.

    Raises:
        MachineError: an entry is neither here nor in the shared cache.
    """
    before, after = map(_in_json, (driver_root, root))
    cache = Cache(root=cache_folder())
    for kind, key in sorted(set(re.findall(re.escape(before) + r"([\w-]+)/([\w-]+)", request))):
        if cache.find(kind, key) is None:
            raise MachineError(
                f"What a job of the sweep needs ({kind} {key[:8]}) is not on this machine. Give every machine the same "
                "EDGEKIT_CACHE_DIR in a shared folder, or --cache URL --cache-write."
            )
    return request.replace(before, after)


def _root() -> str:
    return str(Cache(root=cache_folder()).place())


def _in_json(folder: str) -> str:
    return json.dumps(folder)[1:-1] + "/"
