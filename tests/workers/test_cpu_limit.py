"""A worker that computes without end in native code is ended by its processor time, and says what was wrong."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from edgekit.errors import ModelError
from edgekit.workers.cpu_limit import cpu_limit, limit_in, reached_limit
from edgekit.workers.worker import Job, JobOptions, run_job

JOBS = """
import re, time
from dataclasses import dataclass
from edgekit.errors import ModelError
from edgekit.workers.cpu_limit import cpu_limit

ENDLESS = ("(a+)+b", "a" * 60)

@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    limit_s: float = 0.2
    stuck: bool = True

@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    done: bool = True

def read(request: Request, progress) -> Result:
    with cpu_limit(request.limit_s, ModelError("net.h5: reading it comes to no end.")):
        if request.stuck:
            re.match(*ENDLESS)  # in C, without a look at signals from Python
    time.sleep(0.05)
    return Result()

def read_after(request: Request, progress) -> Result:
    with cpu_limit(request.limit_s, ModelError("net.h5: reading it comes to no end.")):
        pass
    end = time.process_time() + 3 * request.limit_s
    while time.process_time() < end:
        pass
    return Result()
"""


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    (tmp_path / "stuck_jobs.py").write_text(JOBS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    import importlib

    return importlib.import_module("stuck_jobs")


def test_a_reader_that_comes_to_no_end_is_ended_with_its_error(jobs, tmp_path):
    with pytest.raises(ModelError, match=r"^net\.h5: reading it comes to no end\.$"):
        run_job(Job(work=jobs.read), jobs.Request(), JobOptions(title="capture", log=tmp_path / "log.txt"))


@pytest.mark.parametrize("name", ["read", "read_after"])
def test_a_reader_that_ends_is_left_alone_and_so_is_what_follows(jobs, tmp_path, name):
    result = run_job(
        Job(work=getattr(jobs, name)), jobs.Request(stuck=False), JobOptions(title="capture", log=tmp_path / "log.txt")
    )
    assert result.value.done


def test_only_the_timer_of_a_limit_counts(tmp_path, monkeypatch):
    monkeypatch.setattr("edgekit.workers.cpu_limit._job_folders", [])
    limit_in(tmp_path)
    with cpu_limit(60.0, ModelError("no end")):
        left = {"error": "ModelError", "message": "no end"}
        assert reached_limit(tmp_path, -signal.SIGPROF) == left
        assert reached_limit(tmp_path, -signal.SIGSEGV) is None
    assert reached_limit(tmp_path, -signal.SIGPROF) is None
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
