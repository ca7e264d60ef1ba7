"""Odd surroundings: the right exit code and one message, never a traceback."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.workers.process import OUT_OF_MEMORY

PYTHON = [sys.executable, "-P"] if sys.version_info >= (3, 11) else [sys.executable]
ROOT = str(Path(__file__).parents[2])

NOBODY = ("unshare", "--user", "--map-user=12345", "--map-group=12345")
"""Starts a program as a user without an entry, who may read what this user may."""


def _can_be_nobody() -> bool:
    try:
        return subprocess.run([*NOBODY, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


nobody = pytest.mark.skipif(not _can_be_nobody(), reason="this machine gives no user namespaces")


def edgekit(
    *arguments: str | bytes,
    cwd: Path,
    shell: str = "",
    front: tuple[str, ...] = (),
    before: Callable[[], None] | None = None,
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """Runs `edgekit ARGUMENTS`, with `shell` behind it (redirections) and a program in `front`."""
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR", "SYSTEMROOT") if name in os.environ}
    command = [*front, "sh", "-c", f'exec "$@" {shell}', "sh", sys.executable, "-m", "edgekit", *arguments]
    return subprocess.run(
        command, cwd=cwd, env={"PYTHONPATH": ROOT, **kept, **environment}, capture_output=True, text=True,
        errors="surrogateescape", preexec_fn=before, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("shell", "code", "message"),
    [
        (">/dev/full", 3, "edgekit: standard output: No space left on device\n"),
        (">&-", 0, ""),
        ("2>&-", 0, ""),
        ("2>/dev/full", 0, ""),
        ("<&- >&- 2>&-", 0, ""),
    ],
)
def test_streams_that_take_nothing(tmp_path: Path, shell: str, code: int, message: str) -> None:
    ran = edgekit("devices", "list", cwd=tmp_path, shell=shell)
    assert (ran.returncode, ran.stderr) == (code, message)


def test_an_error_keeps_its_code_where_it_cannot_be_said(tmp_path: Path) -> None:
    assert edgekit("nosuch", cwd=tmp_path, shell="2>/dev/full").returncode == 2


def test_a_reader_that_leaves_changes_no_exit_code(tmp_path: Path) -> None:
    script = '{ "$@"; echo "code $?" >&2; } | true'
    command = ["sh", "-c", script, "sh", sys.executable, "-m", "edgekit", "devices", "list", "--json"]
    ran = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": ROOT}, capture_output=True, text=True, check=True
    )
    assert ran.stderr == "code 0\n"


def test_a_folder_that_was_removed(tmp_path: Path) -> None:
    ran = subprocess.run(
        ["sh", "-c", 'mkdir gone; cd gone; rmdir ../gone; exec "$@"', "sh", sys.executable, "-m", "edgekit", "devices"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": ROOT}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 3
    assert ran.stderr == (
        "edgekit: The current folder cannot be used: No such file or directory. "
        "It was removed or may not be read: go to another.\n"
    )


def test_names_that_ascii_or_utf_8_cannot_hold(tmp_path: Path) -> None:
    ran = edgekit("plan", b"\xff\xe2\x9c\x93.onnx", "-d", "pi4", cwd=tmp_path, PYTHONIOENCODING="ascii", HOME="/tmp")
    assert ran.returncode == 2
    assert ran.stderr == f"edgekit: \\udcff\\u2713.onnx: no such file or folder in {tmp_path}.\n"


@nobody
def test_a_user_without_entry_and_home(tmp_path: Path) -> None:
    ran = edgekit("cache", cwd=tmp_path, front=NOBODY, TMPDIR=str(tmp_path))
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == f"{tmp_path}/edgekit-cache-12345: 0 B of 20 GB\n"


@nobody
@pytest.mark.parametrize(
    ("arguments", "denied"), [(("gate", "out", "-d", "pi4"), "out"), (("export", "-d", "pi4"), "{folder}/edgekit.toml")]
)
def test_a_folder_that_may_not_be_read(tmp_path: Path, arguments: tuple[str, ...], denied: str) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    script = 'cd locked; chmod 0 .; "$@"; code=$?; chmod 700 "$OLDPWD"/locked; exit $code'
    ran = subprocess.run(
        [*NOBODY, "sh", "-c", script, "sh", sys.executable, "-m", "edgekit", *arguments],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": ROOT}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 3
    assert re.fullmatch(rf"edgekit: {re.escape(denied.format(folder=folder))}\S*: Permission denied\n", ran.stderr), (
        ran.stderr
    )


GREEDY = """
import torch

def build():
    return torch.nn.Linear(4, 2**34)  # 256 GiB

def inputs():
    return (torch.zeros(1, 4),)
"""


@pytest.mark.runtime
def test_a_model_that_gets_no_memory(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(GREEDY)
    limit = 16 * 2**30
    ran = edgekit(
        "plan", "model.py:build", "--example-inputs", "model.py:inputs", "-d", "pi4", "-q", cwd=tmp_path,
        before=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)), HOME=str(tmp_path),
    )  # fmt: skip
    first, *_, last = ran.stderr.splitlines()
    assert (ran.returncode, first) == (3, "edgekit: model.py:build failed:")
    assert "can't allocate memory" in ran.stderr
    assert last == OUT_OF_MEMORY


def test_few_open_files(tmp_path: Path) -> None:
    ran = edgekit("devices", "list", cwd=tmp_path, before=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8)))
    assert ran.returncode in (0, 3)
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("name", ["json", "onnx", "typer"])
def test_a_file_beside_the_model_that_is_called_like_a_package_is_not_run(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text("raise SystemExit('it ran')\n")
    ran = edgekit("--version", cwd=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_worker_does_not_import_from_the_current_folder(tmp_path: Path) -> None:
    for name in ("json", "tempfile", "importlib", "edgekit", "numpy", "threading"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('it ran')\n")
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "job_here.py").write_text(
        "from dataclasses import dataclass\n"
        "from edgekit.workers.worker import Progress\n"
        "@dataclass\nclass Name:\n    name: str = ''\n"
        "def run(request: Name, progress: Progress) -> Name:\n    import numpy\n    return Name(name=numpy.__name__)\n"
    )
    code = (
        "import json, sys; sys.path[:] = [p for p in sys.path if p]\n"
        "from edgekit.workers.worker import Job, JobOptions, run_job\n"
        "import job_here\n"
        "print(json.dumps(run_job(Job(work=job_here.run), job_here.Name(), JobOptions(title='t')).value.name))"
    )
    path = os.pathsep.join([ROOT, str(tmp_path / "jobs")])
    ran = subprocess.run(
        [*PYTHON, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, '"numpy"\n', "")
