"""Worker processes: limits, crashes, errors, logs, progress; the parent sees a record or one error."""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from edgekit.errors import (
    ConversionError,
    EdgekitError,
    InputError,
    InternalError,
    MachineError,
    ResourceError,
    WorkerError,
)
from edgekit.workers.process import OUT_OF_MEMORY
from edgekit.workers.process_environment import python_command
from edgekit.workers.structure import unstructure
from edgekit.workers.worker import Job, JobOptions, JobResult, Progress, run_job, silent

JOBS = '''
import os, signal, subprocess, sys, time
from dataclasses import dataclass
from pathlib import Path
from edgekit.errors import ConversionError, InputError
from edgekit.workers.worker import Progress

class ThirdPartyError(ConversionError):
    """A third party's own."""

@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    words: tuple[str | None, ...] = ()
    pids: Path = Path()

@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    request: Request = Request()
    pid: int = 0
    flag: str | None = None

def echo(request: Request, progress: Progress) -> Result:
    print("to stdout")
    print("to stderr", file=sys.stderr)
    return Result(request=request, pid=os.getpid(), flag=os.environ.get("FLAG"))

def tell(request: Request, progress: Progress) -> Result:
    for i in range(3):
        progress(f"step {i}", i / 2)
        time.sleep(0.25)
    progress("finished", None)
    return Result()

def draw(request: Request, progress: Progress) -> Result:
    import random
    import numpy as np
    return Result(flag=f"{random.random()} {np.random.rand()}")

def load_user_code(request: Request, progress: Progress) -> Result:
    import code_of_the_user
    return Result(flag=code_of_the_user.WORD)

def own_error(request: Request, progress: Progress) -> Result:
    raise ConversionError("net.onnx: no.")

def plugin_error(request: Request, progress: Progress) -> Result:
    raise ThirdPartyError("net.onnx: no plug-in.")

def input_error(request: Request, progress: Progress) -> Result:
    raise InputError("plan: no.")

def key_error(request: Request, progress: Progress) -> Result:
    print("before")
    raise KeyError("weights")

def memory_error(request: Request, progress: Progress) -> Result:
    raise MemoryError

def users_memory(request: Request, progress: Progress) -> Result:
    try:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 68719476736 bytes.")
    except RuntimeError as error:
        raise ConversionError("model.py:build failed: no.") from error

def killed(request: Request, progress: Progress) -> Result:
    os.kill(os.getpid(), signal.SIGKILL)

def crash(request: Request, progress: Progress) -> Result:
    print("about to crash", flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)

def leave(request: Request, progress: Progress) -> Result:
    os._exit(7)

def wrong_value(request: Request, progress: Progress) -> Result:
    return Result(pid="twelve")

def other_type(request: Request, progress: Progress) -> Result:
    return request

def spawn_and_hang(request: Request, progress: Progress) -> Result:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    with open(request.pids, "w") as file:
        file.write(f"{os.getpid()} {child.pid}")
    os.rename(request.pids, str(request.pids) + ".done")
    time.sleep(60)

def make_process_folder(request: Request, progress: Progress) -> Result:
    from edgekit.workers.process_folder import process_folder
    (request.pids / "made").write_text(str(process_folder(request.pids).is_dir()))
    return Result()

def grow(request: Request, progress: Progress) -> Result:
    kept = []
    while True:
        kept.append(b"x" * 20_000_000)
        time.sleep(0.02)

def burn(request: Request, progress: Progress) -> Result:
    kept = b"x" * 100_000_000
    started = time.process_time()
    while time.process_time() - started < 0.3:
        pass
    return Result(pid=len(kept))
'''


@pytest.fixture
def faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where files with tracebacks go."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


Run = Callable[..., JobResult[Any]]


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module of the functions above."""
    (tmp_path / "jobs_of_test.py").write_text(JOBS)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("jobs_of_test")
    del sys.modules["jobs_of_test"]


@pytest.fixture(params=[False, True], ids=["fresh", "fork"])
def run(jobs: Any, tmp_path: Path, request: pytest.FixtureRequest) -> Run:
    """Runs a function of the module in a worker, a fresh process and a fork of this one."""
    forks: bool = request.param

    def run_named(function: str, progress: Progress = silent, cancelled: Any = None, **changes: Any) -> JobResult[Any]:
        fields = {name: changes.pop(name) for name in ("words", "pids") if name in changes}
        environment = {"PYTHONPATH": str(tmp_path)} | changes.pop("environment", {})
        options: dict[str, Any] = {
            "title": "test job",
            "timeout_s": 60.0,
            "environment": environment,
            "forks": forks,
        } | changes
        if forks:
            importlib.reload(jobs)  # a test may have changed it, and a fork has what is loaded
        job = Job(work=getattr(jobs, function))
        return run_job(job, jobs.Request(**fields), JobOptions(**options), progress, cancelled)

    return run_named


def test_code_that_a_job_loads_leaves_no_bytecode_behind_that_would_hide_an_edit(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "code_of_the_user.py"
    # Bytecode is held to be fresh by the second and the size of its source.
    for word in ("first", "other"):
        file.write_text(f"WORD = {word!r}")
        os.utime(file, (1_000_000_000, 1_000_000_000))
        assert run("load_user_code", environment={"PYTHONDONTWRITEBYTECODE": ""}).value.flag == word
    assert not list(tmp_path.rglob("code_of_the_user*.pyc"))


def test_a_job_runs_in_another_process_and_returns_its_result(run: Run, jobs: Any) -> None:
    result = run("echo", words=("x", None), pids=Path("a"), environment={"FLAG": "on"})
    assert result.value.request == jobs.Request(words=("x", None), pids=Path("a"))
    assert result.value.flag == "on"
    assert result.value.pid != os.getpid()
    assert result.wall_s > 0


def test_each_process_draws_random_numbers_of_its_own(run: Run) -> None:
    np.random.rand()  # noqa: NPY002  what a fork takes over
    drawn = [word for _ in range(2) for word in run("draw").value.flag.split()]
    assert len(set(drawn)) == 4


def test_what_a_job_prints_goes_to_its_log_and_nowhere_else(
    run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "logs" / "job.txt"
    run("echo", log=log)
    assert sorted(log.read_text().split("\n")) == ["", "to stderr", "to stdout"]
    assert capfd.readouterr() == ("", "")


def test_progress_is_passed_on_in_order_and_to_the_end(run: Run) -> None:
    reported: list[tuple[str, float | None]] = []
    run("tell", lambda phrase, share: reported.append((phrase, share)))
    assert reported == [("step 0", 0.0), ("step 1", 0.5), ("step 2", 1.0), ("finished", None)]


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        ("own_error", ConversionError, "net.onnx: no."),
        ("plugin_error", ConversionError, "net.onnx: no plug-in."),
        ("input_error", InputError, "plan: no."),
        ("memory_error", ResourceError, OUT_OF_MEMORY),
        ("users_memory", ResourceError, f"model.py:build failed: no.\n{OUT_OF_MEMORY}"),
        ("killed", ResourceError, f"The test job was ended by signal 9 (SIGKILL). {OUT_OF_MEMORY}"),
    ],
    ids=["ours", "subclass", "base", "memory", "memory of user code", "killed as the kernel does"],
)
def test_errors_raised_on_purpose_arrive_as_they_were(
    run: Run, function: str, error: type[EdgekitError], message: str
) -> None:
    with pytest.raises(error) as raised:
        run(function)
    assert type(raised.value) is error
    assert raised.value.message == message


def test_any_other_exception_is_a_fault_with_its_log_in_a_file(run: Run, faults: Path) -> None:
    with pytest.raises(InternalError) as raised:
        run("key_error")
    found = re.fullmatch(
        r"The test job failed with KeyError: 'weights'\n"
        r"This is a fault of edgekit or of a framework that it uses: its traceback is in (.+)\.",
        raised.value.message,
    )
    assert found
    text = Path(found[1]).read_text()
    assert Path(found[1]).parent == faults
    assert re.fullmatch(r"before\nTraceback \(most recent call last\):\n(  .*\n)+KeyError: 'weights'\n", text)


def test_only_the_last_lines_of_a_long_log_are_reported(run: Run, tmp_path: Path) -> None:
    text = "    print(*range(100), sep='\\n', flush=True)\n    os._exit(7)"
    (tmp_path / "jobs_of_test.py").write_text(JOBS.replace("    os._exit(7)", text))
    with pytest.raises(WorkerError) as raised:
        run("leave", title="chat")
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
def test_a_process_that_dies_is_one_clear_error(run: Run, function: str, message: str) -> None:
    with pytest.raises(WorkerError) as raised:
        run(function)
    assert raised.value.message == message


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("echo = 3", "TypeError: 3 is not a module, class, method, or function."),
        ("", "AttributeError: module 'jobs_of_test' has no attribute 'echo'"),
    ],
    ids=["callable", "name"],
)
@pytest.mark.parametrize("run", [False], ids=["fresh"], indirect=True)
def test_a_function_that_a_fresh_process_does_not_find_is_a_fault(
    run: Run, faults: Path, tmp_path: Path, text: str, end: str
) -> None:
    (tmp_path / "jobs_of_test.py").write_text(text)
    with pytest.raises(InternalError) as raised:
        run("echo")
    assert raised.value.message.startswith(f"The test job failed with {end}\nThis is a fault of edgekit or of a ")
    assert next(faults.glob("edgekit-fault-*")).read_text().splitlines()[-1] == end


@pytest.mark.parametrize(
    ("function", "end"),
    [
        ("wrong_value", "ValueError: invalid literal for int() with base 10: 'twelve'"),
        ("other_type", "TypeError: other_type returned a Request; expected a Result"),
    ],
    ids=["field", "type"],
)
def test_a_result_that_is_not_what_the_function_declares_is_a_fault(
    run: Run, faults: Path, function: str, end: str
) -> None:
    with pytest.raises(InternalError) as raised:
        run(function)
    assert raised.value.message.startswith(f"The test job failed with {end}\nThis is a fault of edgekit or of a ")
    assert next(faults.glob("edgekit-fault-*")).read_text().splitlines()[-1] == end


def wait_for_pids(path: Path) -> list[int]:
    done = path.with_name(path.name + ".done")
    deadline = time.monotonic() + 30
    while not done.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return [int(word) for word in done.read_text().split()]


def test_the_time_limit_ends_a_job_and_its_children(
    run: Run, tmp_path: Path, are_gone: Callable[[list[int]], bool]
) -> None:
    pids = tmp_path / "pids"
    with pytest.raises(ResourceError) as raised:
        run("spawn_and_hang", timeout_s=3.0, pids=pids)
    assert raised.value.message == (
        "The test job was stopped after 3 s, its time limit. "
        "Raise the limit with --timeout, or give the machine more time or a smaller model."
    )
    assert are_gone(wait_for_pids(pids))


def test_the_memory_limit_ends_a_job(run: Run) -> None:
    with pytest.raises(ResourceError) as raised:
        run("grow", memory_limit_bytes=200_000_000)
    assert re.fullmatch(
        r"The test job was stopped at (\d+ MB|[\d.]+ GB) of memory; its limit is 200 MB\. "
        r"Raise the limit with --memory-limit, or use a smaller model\.",
        raised.value.message,
    )


def test_an_interrupt_ends_the_whole_group(run: Run, tmp_path: Path, are_gone: Callable[[list[int]], bool]) -> None:
    pids = tmp_path / "pids"

    def interrupt(_phrase: str, _share: float | None) -> None:
        raise KeyboardInterrupt

    (tmp_path / "jobs_of_test.py").write_text(JOBS.replace("os.rename(", 'progress("started", None); os.rename('))
    with pytest.raises(KeyboardInterrupt):
        run("spawn_and_hang", interrupt, pids=pids)
    found = pids if pids.exists() else pids.with_name("pids.done")
    assert are_gone([int(word) for word in found.read_text().split()])


PARENT = """
import json, os, signal, subprocess, sys, time
from pathlib import Path
folder, job = Path(sys.argv[1]), json.loads(sys.argv[2])
(folder / "job.json").write_text(json.dumps({**job, "parent": os.getpid() + PARENT_IS_OTHER}))
worker = subprocess.Popen(sys.argv[3:], start_new_session=True)
(folder / "worker").write_text(str(worker.pid))
while not PARENT_IS_OTHER and not (folder / "pids.done").exists():
    time.sleep(0.02)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("is_gone_before", [False, True], ids=["while-it-works", "before-it-began"])
def test_a_worker_whose_parent_was_killed_ends_with_all_that_it_started(
    jobs: Any, tmp_path: Path, are_gone: Callable[[list[int]], bool], *, is_gone_before: bool
) -> None:
    job = {"entry": Job(work=jobs.spawn_and_hang).entry, "request": unstructure(jobs.Request(pids=tmp_path / "pids"))}
    code = PARENT.replace("PARENT_IS_OTHER", str(int(is_gone_before)))
    command = [sys.executable, "-c", code, str(tmp_path), json.dumps(job), *python_command(str(tmp_path))]
    parent = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(tmp_path)}, check=False)
    assert parent.returncode == -signal.SIGKILL
    found = [path for path in (tmp_path / "worker", tmp_path / "pids.done") if path.exists()]
    assert len(found) == 1 + (not is_gone_before)
    assert are_gone([int(word) for path in found for word in path.read_text().split()])


def test_a_cancelled_job_on_a_thread_ends_its_process(
    run: Run, tmp_path: Path, are_gone: Callable[[list[int]], bool]
) -> None:
    pids, cancelled, raised = tmp_path / "pids", threading.Event(), []

    def run_on_thread() -> None:
        try:
            run("spawn_and_hang", cancelled=cancelled, pids=pids)
        except KeyboardInterrupt:
            raised.append("KeyboardInterrupt")

    thread = threading.Thread(target=run_on_thread)
    thread.start()
    running = wait_for_pids(pids)
    cancelled.set()
    thread.join(timeout=20)
    assert raised == ["KeyboardInterrupt"]
    assert are_gone(running)


def test_time_and_memory_of_a_job_are_the_kernels_figures(run: Run) -> None:
    result = run("burn")
    assert result.cpu_s >= 0.3
    # Linux counts the parent's resident set at the start of a child into the child's peak, and a test process is large.
    here = psutil.Process().memory_info().rss
    assert 100_000_000 < result.peak_memory_bytes < 300_000_000 + here
    assert result.wall_s >= 0.3


def test_a_job_leaves_no_temporary_folder_behind(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    run("echo")
    with pytest.raises(WorkerError):
        run("crash")
    (own,) = scratch.iterdir()  # this process's, which goes with it
    assert [item.name for item in own.iterdir()] == [".lock"]


def test_a_worker_leaves_no_folder_of_its_own_behind(run: Run, tmp_path: Path) -> None:
    run("make_process_folder", pids=tmp_path)
    assert list(tmp_path.glob("edgekit-process-*")) == []
    assert (tmp_path / "made").read_text() == "True"


def test_windows_is_refused_in_one_sentence(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(MachineError) as caught:
        run_job(Job(work=silent), None, JobOptions(title="test"))
    assert caught.value.message == (
        "edgekit does not run models on Windows: LiteRT's and ExecuTorch's converters have no builds for it. "
        "Use Linux, or WSL 2 on this machine."
    )
