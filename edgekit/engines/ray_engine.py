"""Ray: a sweep's jobs on the machines of a cluster, each in a worker process of edgekit's own there.

Every machine must have the same edgekit, Python and tools, and the user's files at the same place: that is looked at
before any work, and nothing is installed. A machine with a cache of its own gets what a job is made from out of the
shared cache (`--cache URL --cache-write`), and puts there what it has made.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Final, final

from edgekit.engines.engine import Ended, Engine, Work
from edgekit.errors import ERRORS_BY_NAME, EdgekitError, InternalError, MachineError, MissingDependencyError
from edgekit.exporting.export import recorded_packages
from edgekit.plain_text import first_line
from edgekit.workers.cache import Cache, cache_folder, code_fingerprint, versions
from edgekit.workers.shared_cache import URL_VARIABLE, WRITE_VARIABLE
from edgekit.workers.structure import structure, unstructure
from edgekit.workers.worker import Job, JobOptions, run_job, types_of

_RETRIES: Final = 3
"""How often Ray starts a job anew whose machine or process was lost."""
_LOOK_LIMIT_S: Final = 120.0
_END_S: Final = 5.0
"""Seconds that a job has to end after an interrupt."""


@final
class RayEngine(Engine):
    """Tasks of a Ray cluster: one CPU each, and the memory that the job is predicted to take.

    Ray places a task where both are free, starts what a lost machine or process ran anew, and moves results that do
    not fit into its memory to disk: they are small, for what jobs make lies in the cache.

    Args:
        slots: Not used: a cluster has as many as it has CPUs.
        address: The cluster's, such as `ray://head:10001` or `auto`; None asks `RAY_ADDRESS`, and without that a
            cluster of this machine alone is started and ended.

    Raises:
        MissingDependencyError: Ray is not installed.
        MachineError: no cluster answers, or a machine differs from this one.
    """

    def __init__(self, slots: int, address: str | None = None) -> None:  # noqa: ARG002  what every engine takes
        ray = _ray()
        self._names: dict[Any, tuple[str, Job[Any, Any]]] = {}
        self._owns = not ray.is_initialized()
        try:
            if self._owns:
                ray.init(address=address, include_dashboard=False, log_to_driver=False, configure_logging=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise MachineError(
                f"No Ray cluster answers{'' if address is None else f' at {address}'}: {first_line(error)}\n"
                "Start one with: ray start --head, or leave --address away for one of this machine."
            ) from error
        try:
            _refuse_other_machines(ray)
            cpus = _cpus(ray.cluster_resources())
        except BaseException:
            self.cancel()
            raise
        super().__init__(cpus)
        self._largest_bytes = int(max(node["Resources"].get("memory", 0) for node in ray.nodes() if node["Alive"]))
        self._root = str(Cache(root=cache_folder()).place())

    def submit(self, work: Work) -> None:
        """Hands the job to the cluster."""
        # More than any machine has would wait for ever: the job has the largest one to itself then.
        memory = min(work.memory_bytes, self._largest_bytes)
        task = _ray().remote(run_on_node).options(
            num_cpus=1, max_retries=_RETRIES, name=work.name, **({"memory": memory} if memory else {})
        )  # fmt: skip
        options = {**asdict(work.options), "log": None, "environment": dict(work.options.environment)}
        started = task.remote(
            work.job.entry, json.dumps(unstructure(work.request)), options, self._root, _shared_cache_names()
        )
        self._names[started] = (work.name, work.job)

    def wait(self, timeout_s: float | None) -> tuple[Ended, ...]:
        """Returns what has ended; what a lost machine ran is started anew by Ray, and has not ended."""
        ray = _ray()
        running = list(self._names)
        done, _ = ray.wait(running, num_returns=1, timeout=timeout_s)
        if done:  # others may have ended meanwhile
            done, _ = ray.wait(running, num_returns=len(running), timeout=0)
        return tuple(self._ended(one) for one in done)

    def cancel(self) -> None:
        """Ends the jobs, and the cluster where it was started for them."""
        ray = _ray()
        running = list(self._names)
        # An interrupt first, so that a job clears up; what does not end by it is killed, and its own process with it.
        for force in (False, True):
            for one in running:
                ray.cancel(one, force=force)
            if running:
                running = ray.wait(running, num_returns=len(running), timeout=_END_S)[1]
        if self._owns:
            ray.shutdown()

    def _ended(self, one: Any) -> Ended:
        name, job = self._names.pop(one)
        try:
            answer = json.loads(_ray().get(one))
        except Exception as error:  # Ray's own: the machine or the process was lost more often than it is started anew
            return Ended(name=name, error=MachineError(f"Ray lost the {name}: {first_line(error)}"))
        if "error" in answer:
            kind = ERRORS_BY_NAME.get(answer["error"], InternalError)
            return Ended(name=name, error=kind(answer["message"]), wall_s=answer["wall_s"])
        value: Any = structure(answer["value"], types_of(job.work)[1], f"result of the {name}")
        return Ended(name=name, value=value, wall_s=answer["wall_s"])


def run_on_node(
    entry: str, request: str, options: Mapping[str, Any], driver_root: str, shared: Mapping[str, str]
) -> str:
    """Runs a job on the machine where Ray has put it, and returns its result, or its error, as JSON.

    Args:
        entry: The job's `module:function`.
        request: The request as JSON.
        options: The fields of its `JobOptions`.
        driver_root: Folder of the driver's cache, from which paths in the request start.
        shared: Environment variables that name the shared cache.
    """
    os.environ.update(shared)
    started = time.monotonic()
    module, name = entry.split(":")
    job: Job[Any, Any] = Job(work=getattr(importlib.import_module(module), name))
    root = str(Cache(root=cache_folder()).place())
    try:
        here = request if root == driver_root else fetch_entries(request, driver_root, root)
        value: Any = structure(json.loads(here), types_of(job.work)[0], f"request of the {options['title']}")
        result = run_job(job, value, JobOptions(**options))
    except EdgekitError as error:
        return json.dumps({
            "error": type(error).__name__, "message": error.message, "wall_s": time.monotonic() - started
        })  # fmt: skip
    answer = json.dumps({"value": unstructure(result.value), "wall_s": result.wall_s})
    return answer.replace(json.dumps(root)[1:-1] + "/", json.dumps(driver_root)[1:-1] + "/")


def fetch_entries(request: str, driver_root: str, root: str) -> str:
    """Returns a request in which paths into the driver's cache lead into this machine's, which holds what they name.

    Raises:
        MachineError: an entry is neither here nor in the shared cache.
    """
    before, after = (json.dumps(folder)[1:-1] + "/" for folder in (driver_root, root))
    cache = Cache(root=cache_folder())
    for kind, key in sorted(set(re.findall(re.escape(before) + r"([\w-]+)/([\w-]+)", request))):
        if cache.find(kind, key) is None:
            raise MachineError(
                f"What a job of the sweep needs ({kind} {key[:8]}) is not on this machine. Give every machine the same "
                "EDGEKIT_CACHE_DIR in a shared folder, or --cache URL --cache-write."
            )
    return request.replace(before, after)


def _shared_cache_names() -> dict[str, str]:
    return {name: os.environ[name] for name in (URL_VARIABLE, WRITE_VARIABLE) if name in os.environ}


def _cpus(resources: Mapping[str, float]) -> int:
    """Returns the CPUs of a cluster; raises MachineError where it has none: its jobs would wait for ever."""
    cpus = int(resources.get("CPU", 0))
    if not cpus:
        raise MachineError(
            "The Ray cluster has no CPU that could run a job. Add a machine to it: ray start --address=HEAD:6379"
        )
    return cpus


def _refuse_other_machines(ray: Any) -> None:
    """Raises MachineError where a machine of the cluster lacks what the jobs need, or has another version of it."""
    on_node = importlib.import_module("ray.util.scheduling_strategies").NodeAffinitySchedulingStrategy
    look = _looker(recorded_packages())
    nodes = [node for node in ray.nodes() if node["Alive"]]
    answers = {
        node["NodeManagerHostname"] + "/" + node["NodeID"][:6]: ray.remote(look)
        .options(num_cpus=0, scheduling_strategy=on_node(node["NodeID"], soft=False))
        .remote()
        for node in nodes
    }
    wanted = {"edgekit": code_fingerprint(), **versions(recorded_packages()), **_platform()}
    faults: list[str] = []
    for name, one in answers.items():
        try:
            found = ray.get(one, timeout=_LOOK_LIMIT_S)
        except Exception as error:  # Ray's own, of many kinds
            faults.append(f"  {name}: {first_line(error)}")
            continue
        differing = [
            f"{what} {found.get(what) or 'missing'} (here {here or 'missing'})"
            for what, here in wanted.items()
            if found.get(what, "") != here
        ]
        faults += [f"  {name}: {', '.join(differing)}"] if differing else []
    if faults:
        raise MachineError(
            "Machines of the Ray cluster differ from this one, and nothing was started:\n" + "\n".join(faults) + "\n"
            "Install the same checkout and the same packages there, as its README says."
        )


def _platform() -> dict[str, str]:
    return {"python": f"{sys.version_info.major}.{sys.version_info.minor}", "platform": sys.platform}


def _looker(packages: tuple[str, ...]) -> Callable[[], dict[str, str]]:
    """Returns a function that says what a machine has. Ray sends it by value: edgekit may be missing there."""

    def look() -> dict[str, str]:
        import sys
        from importlib.metadata import PackageNotFoundError, version

        found = {"python": f"{sys.version_info.major}.{sys.version_info.minor}", "platform": sys.platform}
        for name in packages:
            try:
                found[name] = version(name)
            except PackageNotFoundError:
                found[name] = ""
        try:
            from edgekit.workers.cache import code_fingerprint as fingerprint

            found["edgekit"] = fingerprint()
        except ImportError:
            found["edgekit"] = ""
        return found

    return look


def _ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise MissingDependencyError(
            "Ray is not installed. Install it from the checkout: pip install -e '.[ray]'"
        ) from error
