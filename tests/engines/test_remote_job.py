"""A job as text: it runs elsewhere as here, and paths into one cache lead into the other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekit.engines import remote_job
from edgekit.engines.engine import Work
from edgekit.engines.remote_job import RemoteJob, ended_remotely, run_remote
from edgekit.errors import InternalError, MachineError, ModelError
from edgekit.testing.engine_jobs import FAILURE, ContractRequest, ContractResult, work
from edgekit.workers.cache import Cache
from edgekit.workers.worker import Job, JobOptions


def job(pids: Path, *, fails: bool = False) -> Work:
    request = ContractRequest(pids=pids, fails=fails)
    return Work(name="one", job=Job(work=work), request=request, options=JobOptions(title="one", timeout_s=60.0))


def test_a_job_that_travels_as_text_gives_its_result(tmp_path: Path) -> None:
    sent = job(tmp_path)
    ended = ended_remotely(sent, run_remote(RemoteJob.of(sent).to_json()))
    (pid,) = [int(path.name) for path in tmp_path.iterdir()]
    assert ended.value == ContractResult(pid=pid)
    assert (ended.name, ended.error) == ("one", None)
    assert ended.wall_s > 0


def test_a_failure_travels_too(tmp_path: Path) -> None:
    sent = job(tmp_path, fails=True)
    ended = ended_remotely(sent, run_remote(RemoteJob.of(sent).to_json()))
    assert isinstance(ended.error, ModelError)
    assert ended.error.message == FAILURE


def test_an_error_of_an_unknown_class_is_a_fault(tmp_path: Path) -> None:
    answer = json.dumps({"error": "OwnError", "message": "no", "wall_s": 1.0})
    assert isinstance(ended_remotely(job(tmp_path), answer).error, InternalError)


def test_paths_into_the_driver_s_cache_lead_into_this_machine_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "here"))
    made = Cache(root=tmp_path / "here").make("captured", "abc", lambda folder: (folder / "float.pt2").touch())
    request = '{"path": "/driver/cache/captured/abc/float.pt2", "other": "/driver/cache2/x"}'
    found = remote_job.fetch_entries(request, "/driver/cache", str(tmp_path / "here"))
    assert found == f'{{"path": "{made}/float.pt2", "other": "/driver/cache2/x"}}'


def test_what_is_nowhere_is_a_fault_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "here"))
    message = (
        r"^What a job of the sweep needs \(captured 01234567\) is not on this machine\. Give every machine the same "
        r"EDGEKIT_CACHE_DIR in a shared folder, or --cache URL --cache-write\.$"
    )
    with pytest.raises(MachineError, match=message):
        remote_job.fetch_entries('"/driver/captured/0123456789/m"', "/driver", str(tmp_path / "here"))
