"""What every engine promises: a process a job, failures as values, a wait that ends, a cancel that leaves nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest

from edgekit.engines.engine import Ended, Engine, Work, find_engine
from edgekit.errors import ModelError
from edgekit.testing.engine_jobs import FAILURE, ContractRequest, work
from edgekit.workers.worker import Job, JobOptions

_LIMIT_S = 60.0
_GONE_S = 15.0

Submit = Callable[..., None]


class EngineContract:
    """Inherit it as `class TestName(EngineContract)`; the engine is found by its name, as a sweep finds it.

    Class attributes:
        name: The engine, as its entry point calls it.
        address: Where its machines are; None where it starts them itself.
    """

    name: ClassVar[str]
    address: ClassVar[str | None] = None

    @pytest.fixture
    def engine(self) -> Iterator[Engine]:
        """The engine, with two jobs at a time requested; cancelled at the end."""
        made = find_engine(self.name, 2, self.address)
        yield made
        made.cancel()

    @pytest.fixture
    def pids(self, tmp_path: Path) -> Path:
        """Folder in which jobs leave their process ids."""
        folder = tmp_path / "pids"
        folder.mkdir()
        return folder

    @pytest.fixture
    def submit(self, pids: Path) -> Submit:
        """Hands an engine a job of that name."""

        def hand_over(engine: Engine, name: str, **facts: Any) -> None:
            request = ContractRequest(pids=pids, **facts)
            options = JobOptions(title=name, timeout_s=_LIMIT_S)
            engine.submit(Work(name=name, job=Job(work=work), request=request, options=options, memory_bytes=1_000_000))

        return hand_over

    def test_it_has_room_for_a_job(self, engine: Engine) -> None:
        """A sweep hands over no more than `slots`: with none it would wait for ever."""
        assert engine.slots >= 1

    def test_each_job_runs_in_a_process_of_its_own_and_a_failure_is_a_value(
        self, engine: Engine, submit: Submit
    ) -> None:
        """A job that fails costs no other one."""
        submit(engine, "one")
        submit(engine, "two")
        submit(engine, "three", fails=True)
        found = all_of(engine, 3)
        assert found["one"].value.pid != found["two"].value.pid
        assert isinstance(found["three"].error, ModelError)
        assert found["three"].error.message == FAILURE
        assert all(one.wall_s > 0 for one in found.values())

    def test_waiting_ends_without_an_end(self, engine: Engine) -> None:
        """Else Ctrl-C and the budget of time would not be looked at."""
        assert engine.wait(0.01) == ()

    def test_a_job_that_runs_has_not_ended(self, engine: Engine, submit: Submit, pids: Path) -> None:
        """And what has ended is said once."""
        submit(engine, "one", sleep_s=600.0)
        _until(lambda: len(list(pids.iterdir())) == 1)
        assert engine.wait(0.01) == ()
        submit(engine, "two")
        assert set(all_of(engine, 1)) == {"two"}
        assert engine.wait(0.01) == ()

    def test_cancel_ends_the_processes(self, submit: Submit, pids: Path) -> None:
        """Those of jobs that run; what waits does not begin."""
        engine = find_engine(self.name, 2, self.address)
        for name in ("one", "two", "three"):
            submit(engine, name, sleep_s=600.0)
        _until(lambda: len(list(pids.iterdir())) >= min(engine.slots, 2))
        engine.cancel()
        running = [int(path.name) for path in pids.iterdir()]
        _until(lambda: not any(map(psutil.pid_exists, running)), _GONE_S)


def all_of(engine: Engine, count: int) -> dict[str, Ended]:
    """Returns so many jobs that have ended, by their names."""
    found: dict[str, Ended] = {}
    deadline = time.monotonic() + _LIMIT_S
    while len(found) < count and time.monotonic() < deadline:
        found |= {ended.name: ended for ended in engine.wait(0.2)}
    return found


def _until(holds: Callable[[], bool], limit_s: float = _LIMIT_S) -> None:
    deadline = time.monotonic() + limit_s
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert holds()
