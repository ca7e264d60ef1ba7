"""What a worker finds around it is the same everywhere."""

from __future__ import annotations

import importlib
import subprocess
from pathlib import Path

import pytest

from edgekit.workers import process_environment
from edgekit.workers.worker import Job, JobOptions, run_job

LEAVER = """
import tempfile
from dataclasses import dataclass
from pathlib import Path
from edgekit.workers.worker import Progress

@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    folder: Path = Path()

def leave(request: Made, progress: Progress) -> Made:
    return Made(folder=Path(tempfile.mkdtemp()))
"""


def test_threads_hash_seed_and_locale_are_fixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    found = process_environment.process_environment(tmp_path, 1)
    assert {found["OMP_NUM_THREADS"], found["MKL_NUM_THREADS"], found["TF_NUM_INTRAOP_THREADS"]} == {"1"}
    assert (found["PYTHONHASHSEED"], found["LC_ALL"], found["PYTHONUTF8"]) == ("0", "C.UTF-8", "1")
    assert "HOME" not in found


def test_a_job_may_compute_with_more_threads(tmp_path: Path) -> None:
    assert process_environment.process_environment(tmp_path, 4)["OMP_NUM_THREADS"] == "4"


def test_a_user_without_name_gets_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("getpass.getuser", nobody)
    found = process_environment.process_environment(tmp_path, 1)
    assert found["HOME"] == str(tmp_path / "tmp")
    assert found["USER"].startswith("user-")


def test_what_a_job_leaves_in_the_temporary_folder_goes_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "job_that_leaves.py").write_text(LEAVER)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("job_that_leaves")
    options = JobOptions(title="leaver", environment={"PYTHONPATH": str(tmp_path)})
    assert not run_job(Job(work=module.leave), module.Made(), options).value.folder.exists()


def test_the_command_names_where_edgekit_lies() -> None:
    command = process_environment.python_command("folder")
    assert command[-2] == "folder"
    assert (Path(command[-1]) / "edgekit" / "workers" / "worker.py").is_file()
    assert subprocess.run([*command[:2], "pass"], check=True).returncode == 0
