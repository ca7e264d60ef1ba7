"""The default engine: worker processes on this machine, each watched by a thread."""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import final

from edgekit.engines.engine import Ended, Engine, Work
from edgekit.errors import EdgekitError, InternalError, UsageError
from edgekit.workers.worker import run_job


@final
class LocalEngine(Engine):
    """A process a job, on this machine.

    Args:
        slots: Processes at a time.
        address: None: it has no other machines.

    Raises:
        UsageError: an address was given.
    """

    def __init__(self, slots: int, address: str | None = None) -> None:
        if address is not None:
            raise UsageError(f'--address "{address}": the local engine runs on this machine. Add --engine ray.')
        super().__init__(slots)
        self._cancelled = threading.Event()
        self._ended: queue.SimpleQueue[Ended] = queue.SimpleQueue()
        self._threads = ThreadPoolExecutor(max_workers=slots, thread_name_prefix="sweep")

    def submit(self, work: Work) -> None:
        """Starts a process for the job."""
        self._threads.submit(self._run, work)

    def wait(self, timeout_s: float | None) -> tuple[Ended, ...]:
        """Returns what has ended."""
        found: list[Ended] = []
        try:
            found.append(self._ended.get(timeout=timeout_s))
            while True:
                found.append(self._ended.get_nowait())
        except queue.Empty:
            return tuple(found)

    def cancel(self) -> None:
        """Ends the processes."""
        self._cancelled.set()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _run(self, work: Work) -> None:
        started = time.monotonic()
        try:
            result = run_job(work.job, work.request, work.options, work.progress, self._cancelled)
        except KeyboardInterrupt:
            return  # cancelled: nobody waits for it
        except EdgekitError as error:
            self._ended.put(Ended(name=work.name, error=error, wall_s=time.monotonic() - started))
        except Exception as error:  # on a thread nobody would see it, and the sweep would wait for ever
            wrong = InternalError(f"The {work.options.title} failed with {type(error).__name__}: {error}")
            self._ended.put(Ended(name=work.name, error=wrong, wall_s=time.monotonic() - started))
        else:
            self._ended.put(Ended(name=work.name, value=result.value, wall_s=result.wall_s))
