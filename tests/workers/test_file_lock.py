"""A lock file: one holder at a time, gone with its holder, nothing left behind."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from edgekit.workers.file_lock import file_lock, take_lock

HOLD = """
import sys, time
from pathlib import Path
from edgekit.workers.file_lock import take_lock
assert take_lock(Path(sys.argv[1])) is not None
print("held", flush=True)
time.sleep(60)
"""


def never(seconds):
    pytest.fail(f"waited {seconds} s")


def test_a_lock_is_a_file_only_while_it_is_held(tmp_path):
    path = tmp_path / "lock"
    with file_lock(path, never):
        assert path.exists()
        assert take_lock(path) is None
    assert not path.exists()


def test_who_waits_is_reported_for_how_long_and_gets_it_afterwards(tmp_path):
    path, reported, free = tmp_path / "lock", [], threading.Event()

    def hold():
        with file_lock(path, never):
            held.set()
            free.wait(10)

    held = threading.Event()
    other = threading.Thread(target=hold)
    other.start()
    held.wait(10)

    def wait(seconds):
        reported.append(seconds)
        free.set()

    with file_lock(path, wait):
        other.join()
    assert reported == sorted(reported)
    assert reported


def test_what_waiting_raises_ends_it(tmp_path):
    path = tmp_path / "lock"

    def give_up(seconds):
        raise KeyboardInterrupt

    with file_lock(path, never), pytest.raises(KeyboardInterrupt), file_lock(path, give_up):
        pytest.fail("held twice")


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    path = tmp_path / "lock"
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE)
    with process:
        assert process.stdout.readline() == b"held\n"
        assert take_lock(path) is None
        process.kill()
        process.wait()
    with file_lock(path, never):
        pass


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="Too many levels of symbolic links"), file_lock(tmp_path / "lock", never):
        pytest.fail("followed")
    assert not (tmp_path / "elsewhere").exists()
