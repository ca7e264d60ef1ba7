"""Dask: a sweep's jobs on the machines of a Dask cluster, each in a worker process of edgekit's own there."""

from __future__ import annotations

from typing import final

from distributed import Client, Future, LocalCluster, wait

from edgekit.engines.engine import Ended, Engine, Work
from edgekit.engines.machine_check import machine_look, refuse_other_machines
from edgekit.engines.remote_job import RemoteJob, ended_remotely, run_remote
from edgekit.errors import EdgekitError, MachineError


@final
class DaskEngine(Engine):
    """One task a job. `address` is the scheduler's; without one, a cluster of this machine is started and ended."""

    def __init__(self, slots: int, address: str | None = None) -> None:
        # Processes with one thread each: `run_remote` starts the job's own process and waits for it.
        self._cluster = None if address else LocalCluster(n_workers=slots, threads_per_worker=1, dashboard_address=None)
        try:
            self._client = Client(address or self._cluster)
        except OSError as error:
            raise MachineError(f"No Dask scheduler answers at {address}: {error}") from error
        self._running: dict[Future, Work] = {}
        try:
            refuse_other_machines("Dask", self._client.run(machine_look()))
        except EdgekitError:
            self.cancel()
            raise
        super().__init__(sum(self._client.nthreads().values()))

    def submit(self, work: Work) -> None:
        # Dask takes a key that it has seen for the same result: a job that is tried again must be a new one.
        self._running[self._client.submit(run_remote, RemoteJob.of(work).to_json(), pure=False)] = work

    def wait(self, timeout_s: float | None) -> tuple[Ended, ...]:
        if not self._running:
            return ()
        try:
            done = wait(list(self._running), timeout_s, return_when="FIRST_COMPLETED").done
        except TimeoutError:
            return ()
        return tuple(self._ended(future) for future in done)

    def cancel(self) -> None:
        if self._cluster is None:
            self._client.cancel(list(self._running))
            self._client.restart(wait_for_workers=False)  # a thread cannot be ended, its process can
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()

    def _ended(self, future: Future) -> Ended:
        work = self._running.pop(future)
        error = future.exception()
        if error is not None:  # Dask's own: a machine was lost more often than it starts a job anew
            return Ended(name=work.name, error=MachineError(f"Dask lost the {work.name}: {error}"))
        return ended_remotely(work, future.result())
