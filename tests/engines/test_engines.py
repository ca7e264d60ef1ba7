"""The engines: what all promise, held by their contract, and what is each one's own. Ray's where it is installed."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from edgekit.engines import machine_check, ray_engine
from edgekit.engines.engine import Work, find_engine
from edgekit.engines.local_engine import LocalEngine
from edgekit.errors import InternalError, MachineError, UsageError
from edgekit.testing.engine_contract import EngineContract, all_of
from edgekit.workers.worker import Job, JobOptions

HAS_RAY = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed: pip install -e '.[ray]'")

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


@pytest.fixture(scope="module")
def jobs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("jobs")
    (folder / "sweep_test_jobs.py").write_text(JOBS)
    return folder


@pytest.fixture(scope="module")
def cluster(jobs_folder: Path) -> Iterator[None]:
    ray = pytest.importorskip("ray")
    patch = pytest.MonkeyPatch()
    patch.setenv("PYTHONPATH", f"{jobs_folder}:{os.environ.get('PYTHONPATH', '')}")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()
    patch.undo()


@pytest.fixture
def work(tmp_path: Path, jobs_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Work]:
    monkeypatch.syspath_prepend(str(jobs_folder))
    monkeypatch.delitem(sys.modules, "sweep_test_jobs", raising=False)
    import sweep_test_jobs as jobs  # pyright: ignore[reportMissingImports]  written just now

    (tmp_path / "pids").mkdir()

    def make(name: str, what: str = "") -> Work:
        options = JobOptions(title=name, timeout_s=60.0, environment={"PYTHONPATH": str(jobs_folder)})
        request = jobs.Request(what=what, pids=tmp_path / "pids")
        return Work(name=name, job=Job(work=jobs.work), request=request, options=options)

    return make


class TestLocal(EngineContract):
    name = "local"


@needs_ray
@pytest.mark.runtime
@pytest.mark.usefixtures("cluster")
class TestRay(EngineContract):
    name = "ray"


def test_what_goes_wrong_on_a_thread_is_a_failure_of_the_job(work: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_given: object, **_named: object) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr("edgekit.engines.local_engine.run_job", broken)
    engine = LocalEngine(1)
    engine.submit(work("one"))
    error = all_of(engine, 1)["one"].error
    engine.cancel()
    assert isinstance(error, InternalError)
    assert error.message == "The one failed with OSError: no more processes"


def test_the_local_engine_has_no_address() -> None:
    message = r'^--address "auto": the local engine runs on this machine\. Add --engine ray\.$'
    with pytest.raises(UsageError, match=message):
        find_engine("local", 1, "auto")


@needs_ray
@pytest.mark.runtime
def test_a_process_that_is_killed_is_started_anew(work: Any, cluster: None, tmp_path: Path) -> None:
    engine = find_engine("ray", 1)
    engine.submit(work("one", "sleep"))
    pids = tmp_path / "pids"
    deadline = time.monotonic() + 60
    while not list(pids.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    (first,) = [int(path.name) for path in pids.iterdir()]
    ancestors = [one for one in psutil.Process(first).parents() if one.name().startswith("ray::")]
    ancestors[0].kill()
    while len(list(pids.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(list(pids.iterdir())) == 2
    assert engine.wait(0.01) == ()
    engine.cancel()


@needs_ray
@pytest.mark.runtime
def test_a_machine_that_differs_is_an_error_before_any_work(cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_check, "code_fingerprint", lambda: "0123")
    message = (
        r"^Machines of the Ray cluster differ from this one, and nothing was started:\n"
        r"  \S+/\w{6}: edgekit \w+ \(here 0123\)\n"
        r"Install the same checkout and the same packages there, as its README says\.$"
    )
    with pytest.raises(MachineError, match=message):
        find_engine("ray", 1)


@needs_ray
def test_a_cluster_that_does_not_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")

    def away(**_given: object) -> None:
        raise ConnectionError("nobody there\nand more")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", away)
    message = (
        r"^No Ray cluster answers at ray://nowhere:1: nobody there\n"
        r"Start one with: ray start --head, or leave --address away for one of this machine\.$"
    )
    with pytest.raises(MachineError, match=message):
        find_engine("ray", 1, "ray://nowhere:1")


class RecordedRay:
    """What `RayEngine.submit` uses of Ray; keeps the options of each task."""

    def __init__(self) -> None:
        self.resources: list[dict[str, Any]] = []

    def is_initialized(self) -> bool:
        return True

    def nodes(self) -> list[dict[str, Any]]:
        sizes = ((True, 4e9), (True, 8e9), (False, 64e9))
        return [{"Alive": alive, "Resources": {"CPU": 1.0, "memory": size}} for alive, size in sizes]

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}

    def remote(self, *_: object) -> Any:
        return self if len(_) == 1 else object()

    def options(self, **given: Any) -> RecordedRay:
        self.resources.append(given)
        return self


@pytest.mark.parametrize(
    ("predicted", "reserved"),
    [(0, None), (3_000_000_000, 3_000_000_000), (20_000_000_000, 8_000_000_000)],
    ids=["unknown", "known", "more than any machine has"],
)
def test_a_task_reserves_what_its_job_is_predicted_to_take(
    work: Any, monkeypatch: pytest.MonkeyPatch, predicted: int, reserved: int | None
) -> None:
    ray = RecordedRay()
    monkeypatch.setattr(ray_engine, "_ray", lambda: ray)
    monkeypatch.setattr(ray_engine, "_refuse_other_machines", lambda _ray: None)
    engine = ray_engine.RayEngine(1)
    engine.submit(replace(work("one"), memory_bytes=predicted))
    assert engine.slots == 2
    assert [(one["num_cpus"], one.get("memory")) for one in ray.resources] == [(1, reserved)]


def test_a_cluster_without_a_cpu_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = RecordedRay()
    monkeypatch.setattr(ray, "cluster_resources", dict)
    monkeypatch.setattr(ray_engine, "_ray", lambda: ray)
    monkeypatch.setattr(ray_engine, "_refuse_other_machines", lambda _ray: None)
    message = r"^The Ray cluster has no CPU that could run a job\. Add a machine to it: ray start --address=HEAD:6379$"
    with pytest.raises(MachineError, match=message):
        ray_engine.RayEngine(1)
