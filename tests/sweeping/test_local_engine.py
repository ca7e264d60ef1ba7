"""The local engine: a process a job, failures as values, everything ended by cancel."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from edgekit.errors import InternalError, ModelError
from edgekit.sweeping.engine import Work
from edgekit.sweeping.local_engine import LocalEngine
from edgekit.workers.worker import Job, JobOptions

JOBS = """
import os, time
from dataclasses import dataclass
from pathlib import Path
from edgekit.errors import ModelError
from edgekit.workers.worker import Progress

@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    what: str = ""
    pids: Path = Path()

@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    pid: int

def work(request: Request, progress: Progress) -> Given:
    (request.pids / str(os.getpid())).touch()
    if request.what == "fail":
        raise ModelError("not this one")
    if request.what == "sleep":
        time.sleep(60)
    return Given(pid=os.getpid())
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "sweep_test_jobs.py").write_text(JOBS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "sweep_test_jobs", raising=False)
    import sweep_test_jobs as jobs  # pyright: ignore[reportMissingImports]  written just now

    (tmp_path / "pids").mkdir()

    def make(name: str, what: str = "") -> Work:
        options = JobOptions(title=name, timeout_s=60.0, environment={"PYTHONPATH": str(tmp_path)})
        request = jobs.Request(what=what, pids=tmp_path / "pids")
        return Work(name=name, job=Job(work=jobs.work), request=request, options=options)

    return make


def all_of(engine: LocalEngine, count: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    deadline = time.monotonic() + 60
    while len(found) < count and time.monotonic() < deadline:
        found |= {ended.name: ended for ended in engine.wait(0.2)}
    return found


def test_each_job_runs_in_a_process_of_its_own_and_a_failure_is_a_value(work: Any) -> None:
    engine = LocalEngine(2)
    for name, what in (("one", ""), ("two", ""), ("three", "fail")):
        engine.submit(work(name, what))
    found = all_of(engine, 3)
    engine.cancel()
    assert found["one"].value.pid != found["two"].value.pid
    assert isinstance(found["three"].error, ModelError)
    assert found["three"].error.message == "not this one"


def test_waiting_ends_without_an_end(work: Any) -> None:
    engine = LocalEngine(1)
    assert engine.wait(0.01) == ()
    engine.cancel()


def test_cancel_ends_the_processes(work: Any, tmp_path: Path) -> None:
    engine = LocalEngine(2)
    for name in ("one", "two", "three"):
        engine.submit(work(name, "sleep"))
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "pids").iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    engine.cancel()
    pids = [int(path.name) for path in (tmp_path / "pids").iterdir()]
    assert len(pids) == 2
    assert not any(map(psutil.pid_exists, pids))
    assert engine.wait(0.01) == ()


def test_what_goes_wrong_on_a_thread_is_a_failure_of_the_job(work: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_given: object, **_named: object) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr("edgekit.sweeping.local_engine.run_job", broken)
    engine = LocalEngine(1)
    engine.submit(work("one"))
    error = all_of(engine, 1)["one"].error
    engine.cancel()
    assert isinstance(error, InternalError)
    assert error.message == "The one failed with OSError: no more processes"
