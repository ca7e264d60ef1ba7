"""What a process leaves on the way: gone with it, or swept after it."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from edgekit.errors import ResourceError
from edgekit.workers.process_folder import PREFIX, oldest_start, process_folder, sweep, temporary_folder

MAKE = """
import os, sys, time
from pathlib import Path
from edgekit.workers.process_folder import process_folder
(process_folder(Path(sys.argv[1])) / "half").write_text("")
print("made", flush=True)
time.sleep(60) if sys.argv[2] == "stay" else None
"""


def start(folder, how):
    process = subprocess.Popen([sys.executable, "-c", MAKE, str(folder), how], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"made\n"
    return process


def test_a_process_has_one_folder_for_each_parent(tmp_path):
    assert process_folder(tmp_path) == process_folder(tmp_path)
    assert process_folder(tmp_path).parent == tmp_path


def test_the_folder_of_a_process_that_ends_is_gone(tmp_path):
    with start(tmp_path, "go") as process:
        assert process.wait(20) == 0
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_killed_process_is_swept_and_that_of_a_running_one_is_not(tmp_path):
    before = time.time() - 2
    with start(tmp_path, "stay") as process:
        assert sweep(tmp_path) == 0
        assert before < oldest_start(tmp_path) < time.time() + 2
        process.kill()
    assert sweep(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []
    assert oldest_start(tmp_path) is None


def test_a_folder_that_is_being_made_is_left_alone_until_its_maker_must_be_dead(tmp_path):
    folder = tmp_path / f"{PREFIX}x"
    folder.mkdir()
    assert sweep(tmp_path) == 0
    os.utime(folder, (0, 0))
    assert sweep(tmp_path) == 1


def test_links_and_other_names_are_not_swept(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / f"{PREFIX}link").symlink_to(tmp_path / "other")
    os.utime(tmp_path / "other", (0, 0))
    assert sweep(tmp_path) == 0
    assert (tmp_path / "other").is_dir()


def test_a_folder_that_somebody_removed_is_made_again(tmp_path):
    (process_folder(tmp_path) / ".lock").unlink()
    process_folder(tmp_path).rmdir() if process_folder(tmp_path).exists() else None
    assert process_folder(tmp_path).is_dir()


def test_a_temporary_folder_lasts_as_long_as_its_block(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with temporary_folder("job") as folder:
        assert folder.name.startswith("job-")
        assert folder.parent == process_folder(tmp_path)
    assert not folder.exists()


def test_a_temporary_folder_that_cannot_be_written_is_one_message(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with pytest.raises(ResourceError) as caught, temporary_folder("job"):
        pytest.fail("made")
    assert caught.value.message == (
        "The temporary folder cannot be written: No such file or directory. Free it, or name another one with TMPDIR."
    )
