"""Worker processes: limits, crashes, errors, logs, progress; the parent sees a record or one error."""

from __future__ import annotations

import os
import re
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from edgekit.errors import ConversionError, EdgekitError, InputError, InternalError, ResourceError, WorkerError
from edgekit.workers.worker import Job, run_job

JOBS = '''
import os, signal, subprocess, sys, time
from edgekit.errors import ConversionError, InputError

class PluginError(ConversionError):
    """A third party's own."""

def echo(payload, progress):
    print("to stdout")
    print("to stderr", file=sys.stderr)
    return {"payload": payload, "pid": os.getpid(), "flag": os.environ.get("FLAG")}

def tell(payload, progress):
    for i in range(3):
        progress(f"step {i}", i / 2)
        time.sleep(0.25)
    progress("finished", None)
    return {}

def own_error(payload, progress):
    raise ConversionError("net.onnx: no.")

def plugin_error(payload, progress):
    raise PluginError("net.onnx: no plug-in.")

def input_error(payload, progress):
    raise InputError("plan: no.")

def key_error(payload, progress):
    print("before")
    raise KeyError("weights")

def memory_error(payload, progress):
    raise MemoryError

def crash(payload, progress):
    print("about to crash", flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)

def leave(payload, progress):
    os._exit(7)

def no_json(payload, progress):
    return {"value": object()}

def spawn_and_hang(payload, progress):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    with open(payload["pids"], "w") as file:
        file.write(f"{os.getpid()} {child.pid}")
    os.rename(payload["pids"], payload["pids"] + ".done")
    time.sleep(60)
    return {}

def grow(payload, progress):
    kept = []
    while True:
        kept.append(b"x" * 20_000_000)
        time.sleep(0.02)

def burn(payload, progress):
    kept = b"x" * 100_000_000
    started = time.process_time()
    while time.process_time() - started < 0.3:
        pass
    return {"kept": len(kept)}

not_callable = 3
'''


@pytest.fixture
def faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where files with tracebacks go."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def job(tmp_path: Path) -> Any:
    """Makes jobs whose functions lie in a module that only the worker can import."""
    (tmp_path / "jobs_of_test.py").write_text(JOBS)

    def make(function: str, payload: dict[str, Any] | None = None, **changes: Any) -> Job:
        environment = {"PYTHONPATH": str(tmp_path)} | changes.pop("environment", {})
        arguments: dict[str, Any] = {"title": "test job", "timeout_s": 60.0, "environment": environment} | changes
        return Job(entry=f"jobs_of_test:{function}", payload=payload or {}, **arguments)

    return make


def test_a_job_runs_in_another_process_and_returns_its_record(job: Any) -> None:
    result = run_job(job("echo", {"a": [1, None, "x"]}, environment={"FLAG": "on"}))
    assert result.record["payload"] == {"a": [1, None, "x"]}
    assert result.record["flag"] == "on"
    assert result.record["pid"] != os.getpid()
    assert result.wall_s > 0


def test_what_a_job_prints_goes_to_its_log_and_nowhere_else(
    job: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "logs" / "job.txt"
    run_job(job("echo", log=log))
    assert sorted(log.read_text().split("\n")) == ["", "to stderr", "to stdout"]
    assert capfd.readouterr() == ("", "")


def test_progress_is_passed_on_in_order_and_to_the_end(job: Any) -> None:
    told: list[tuple[str, float | None]] = []
    run_job(job("tell"), lambda phrase, share: told.append((phrase, share)))
    assert told == [("step 0", 0.0), ("step 1", 0.5), ("step 2", 1.0), ("finished", None)]


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        ("own_error", ConversionError, "net.onnx: no."),
        ("plugin_error", ConversionError, "net.onnx: no plug-in."),
        ("input_error", InputError, "plan: no."),
        (
            "memory_error",
            ResourceError,
            "This machine ran out of memory. Free some, or use a smaller model.",
        ),
    ],
    ids=["ours", "subclass", "base", "memory"],
)
def test_errors_raised_on_purpose_arrive_as_they_were(
    job: Any, function: str, error: type[EdgekitError], message: str
) -> None:
    with pytest.raises(error) as raised:
        run_job(job(function))
    assert type(raised.value) is error
    assert raised.value.message == message


def test_any_other_exception_is_a_fault_with_its_log_in_a_file(job: Any, faults: Path) -> None:
    with pytest.raises(InternalError) as raised:
        run_job(job("key_error"))
    found = re.fullmatch(
        r"The test job failed with KeyError: 'weights'\n"
        r"This is a fault of edgekit or of a framework that it uses: its traceback is in (.+)\.",
        raised.value.message,
    )
    assert found
    text = Path(found[1]).read_text()
    assert Path(found[1]).parent == faults
    assert re.fullmatch(r"before\nTraceback \(most recent call last\):\n(  .*\n)+KeyError: 'weights'\n", text)


def test_only_the_last_lines_of_a_long_log_are_told(tmp_path: Path) -> None:
    (tmp_path / "chatty.py").write_text(
        "import os\ndef run(payload, progress):\n    print(*range(100), sep='\\n', flush=True)\n    os._exit(9)\n"
    )
    with pytest.raises(WorkerError) as raised:
        run_job(Job(title="chat", entry="chatty:run", payload={}, environment={"PYTHONPATH": str(tmp_path)}))
    lines = raised.value.message.splitlines()
    assert len(lines) == 2 + 15
    assert lines[-1] == "  99"


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            "crash",
            "The test job was ended by signal 11 (SIGSEGV) and left no result.\nThe end of its log:\n  about to crash",
        ),
        ("leave", "The test job ended with exit code 7 and left no result.\nIts log is empty."),
    ],
    ids=["signal", "exit"],
)
def test_a_process_that_dies_is_one_clear_error(job: Any, function: str, message: str) -> None:
    with pytest.raises(WorkerError) as raised:
        run_job(job(function))
    assert raised.value.message == message


@pytest.mark.parametrize(
    ("function", "end"),
    [
        ("not_callable", "TypeError: 'int' object is not callable"),
        ("missing", "AttributeError: module 'jobs_of_test' has no attribute 'missing'"),
    ],
    ids=["callable", "name"],
)
def test_a_job_that_breaks_its_contract_is_a_fault(job: Any, faults: Path, function: str, end: str) -> None:
    with pytest.raises(InternalError) as raised:
        run_job(job(function))
    assert raised.value.message.startswith(f"The test job failed with {end}\nThis is a fault of edgekit or of a ")
    assert next(faults.glob("edgekit-fault-*")).read_text().splitlines()[-1] == end


def test_a_record_that_is_no_json_is_told_with_the_log(job: Any) -> None:
    with pytest.raises(WorkerError) as raised:
        run_job(job("no_json"))
    assert raised.value.message.splitlines()[-1] == "  TypeError: Object of type object is not JSON serializable"


def wait_for_pids(path: Path) -> list[int]:
    done = path.with_name(path.name + ".done")
    deadline = time.monotonic() + 30
    while not done.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return [int(word) for word in done.read_text().split()]


def are_gone(pids: list[int]) -> bool:
    """Whether no process is left; a child that nobody has waited for yet counts as gone."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        left = [pid for pid in pids if psutil.pid_exists(pid)]
        if all(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE for pid in left):
            return True
        time.sleep(0.05)
    return False


def test_the_time_limit_ends_a_job_and_its_children(job: Any, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with pytest.raises(ResourceError) as raised:
        run_job(job("spawn_and_hang", {"pids": str(pids)}, timeout_s=3.0))
    assert raised.value.message == (
        "The test job was stopped after 3 s, its time limit. "
        "Raise the limit with --timeout, or give the machine more time or a smaller model."
    )
    assert are_gone(wait_for_pids(pids))


def test_the_memory_limit_ends_a_job(job: Any) -> None:
    with pytest.raises(ResourceError) as raised:
        run_job(job("grow", memory_limit_bytes=200_000_000))
    assert re.fullmatch(
        r"The test job was stopped at \d+ MB of memory; its limit is 200 MB\. "
        r"Raise the limit with --memory-limit, or use a smaller model\.",
        raised.value.message,
    )


def test_an_interrupt_ends_the_whole_group(job: Any, tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    def interrupt(_phrase: str, _share: float | None) -> None:
        raise KeyboardInterrupt

    (tmp_path / "jobs_of_test.py").write_text(JOBS.replace("os.rename(", 'progress("started"); os.rename('))
    with pytest.raises(KeyboardInterrupt):
        run_job(job("spawn_and_hang", {"pids": str(pids)}), interrupt)
    found = pids if pids.exists() else pids.with_name("pids.done")
    assert are_gone([int(word) for word in found.read_text().split()])


def test_a_cancelled_job_on_a_thread_ends_its_process(job: Any, tmp_path: Path) -> None:
    pids, cancelled, raised = tmp_path / "pids", threading.Event(), []

    def run() -> None:
        try:
            run_job(job("spawn_and_hang", {"pids": str(pids)}), cancelled=cancelled)
        except KeyboardInterrupt:
            raised.append("KeyboardInterrupt")

    thread = threading.Thread(target=run)
    thread.start()
    running = wait_for_pids(pids)
    cancelled.set()
    thread.join(timeout=20)
    assert raised == ["KeyboardInterrupt"]
    assert are_gone(running)


def test_time_and_memory_of_a_job_are_the_kernels_figures(job: Any) -> None:
    result = run_job(job("burn"))
    assert result.cpu_s >= 0.3
    # Linux counts the parent's resident set at the start of a child into the child's peak, and a test process is large.
    here = psutil.Process().memory_info().rss
    assert 100_000_000 < result.peak_memory_bytes < 300_000_000 + here
    assert result.wall_s >= 0.3


def test_a_job_leaves_no_temporary_folder_behind(job: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    run_job(job("echo"))
    with pytest.raises(WorkerError):
        run_job(job("crash"))
    (own,) = scratch.iterdir()  # this process's, which goes with it
    assert [item.name for item in own.iterdir()] == [".lock"]
