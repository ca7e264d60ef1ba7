"""Ray: a sweep's jobs on the machines of a cluster, each in a worker process of edgekit's own there.

Every machine must have the same edgekit, Python and tools, and the user's files at the same place: that is looked at
before any work, and nothing is installed. A machine with a cache of its own gets what a job is made from out of the
shared cache (`--cache URL --cache-write`), and puts there what it has made.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Final, final

from edgekit.engines.engine import Ended, Engine, Work
from edgekit.engines.machine_check import machine_look, refuse_other_machines
from edgekit.engines.remote_job import RemoteJob, ended_remotely, run_remote
from edgekit.errors import MachineError, MissingDependencyError
from edgekit.plain_text import first_line

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
        self._running: dict[Any, Work] = {}
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

    def submit(self, work: Work) -> None:
        """Hands the job to the cluster."""
        # More than any machine has would wait for ever: the job has the largest one to itself then.
        memory = min(work.memory_bytes, self._largest_bytes)
        task = _ray().remote(run_remote).options(
            num_cpus=1, max_retries=_RETRIES, name=work.name, **({"memory": memory} if memory else {})
        )  # fmt: skip
        self._running[task.remote(RemoteJob.of(work).to_json())] = work

    def wait(self, timeout_s: float | None) -> tuple[Ended, ...]:
        """Returns what has ended; what a lost machine ran is started anew by Ray, and has not ended."""
        ray = _ray()
        running = list(self._running)
        done, _ = ray.wait(running, num_returns=1, timeout=timeout_s)
        if done:  # others may have ended meanwhile
            done, _ = ray.wait(running, num_returns=len(running), timeout=0)
        return tuple(self._ended(one) for one in done)

    def cancel(self) -> None:
        """Ends the jobs, and the cluster where it was started for them."""
        ray = _ray()
        running = list(self._running)
        # An interrupt first, so that a job clears up; what does not end by it is killed, and its own process with it.
        for force in (False, True):
            for one in running:
                ray.cancel(one, force=force)
            if running:
                running = ray.wait(running, num_returns=len(running), timeout=_END_S)[1]
        if self._owns:
            ray.shutdown()

    def _ended(self, one: Any) -> Ended:
        work = self._running.pop(one)
        try:
            answer: str = _ray().get(one)
        except Exception as error:  # Ray's own: the machine or the process was lost more often than it is started anew
            return Ended(name=work.name, error=MachineError(f"Ray lost the {work.name}: {first_line(error)}"))
        return ended_remotely(work, answer)


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
    look = machine_look()
    answers = {
        node["NodeManagerHostname"] + "/" + node["NodeID"][:6]: ray.remote(look)
        .options(num_cpus=0, scheduling_strategy=on_node(node["NodeID"], soft=False))
        .remote()
        for node in ray.nodes()
        if node["Alive"]
    }
    found: dict[str, Mapping[str, str] | Exception] = {}
    for name, one in answers.items():
        try:
            found[name] = ray.get(one, timeout=_LOOK_LIMIT_S)
        except Exception as error:  # Ray's own, of many kinds
            found[name] = error
    refuse_other_machines("Ray", found)


def _ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise MissingDependencyError(
            "Ray is not installed. Install it from the checkout: pip install -e '.[ray]'"
        ) from error
