"""A file appears whole or not at all, and nothing half-written stays behind."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

import pytest

from edgekit.workers import atomic_files


def names(folder):
    return sorted(item.name for item in folder.iterdir())


def test_text_and_json_take_the_place_of_what_was_there(tmp_path):
    path = tmp_path / "a.json"
    atomic_files.write_text(path, "ä\n")
    assert path.read_text(encoding="utf-8") == "ä\n"
    atomic_files.write_json(path, {"b": [1.5]})
    assert path.read_text() == '{\n "b": [\n  1.5\n ]\n}\n'
    assert names(tmp_path) == ["a.json"]


def test_what_cannot_be_written_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        atomic_files.write_json(path, {"b": float("nan")})
    with pytest.raises(FileNotFoundError):
        atomic_files.copy_atomically(tmp_path / "missing", path)
    with pytest.raises(FileNotFoundError):
        atomic_files.write_text(tmp_path / "no" / "a.txt", "x")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.json"]


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_copy_takes_the_place_of_a_file_or_a_folder(tmp_path, is_folder):
    source, target = tmp_path / "source", tmp_path / "target"
    for place, text in ((source, "new"), (target, "old")):
        if is_folder:
            place.mkdir()
            (place / text).write_text(text)
        else:
            place.write_text(text)
    (tmp_path / ".partial-target.99999999-1").write_text("a dead process began this")
    atomic_files.copy_atomically(source, target)
    assert names(target) == ["new"] if is_folder else target.read_text() == "new"
    assert names(tmp_path) == ["source", "target"]


def test_a_link_is_followed_and_stays(tmp_path):
    (tmp_path / "link").symlink_to("real.txt")
    (tmp_path / "real.txt").write_text("old")
    atomic_files.write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


def test_a_link_to_nothing_makes_what_it_leads_to(tmp_path):
    (tmp_path / "link").symlink_to("real.txt")
    atomic_files.write_text(tmp_path / "link", "new")
    assert (tmp_path / "real.txt").read_text() == "new"


def test_a_package_behind_a_link_is_replaced_where_it_lies(tmp_path):
    for place, text in (("new", "new"), ("old", "old")):
        (tmp_path / place).mkdir()
        (tmp_path / place / "file").write_text(text)
    (tmp_path / "link").symlink_to("old")
    atomic_files.copy_atomically(tmp_path / "new", tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "old" / "file").read_text() == "new"


def test_a_package_takes_the_place_of_a_file(tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "file").write_text("inside")
    (tmp_path / "target").write_text("plain")
    atomic_files.copy_atomically(tmp_path / "package", tmp_path / "target")
    assert names(tmp_path / "target") == ["file"]
    assert names(tmp_path) == ["package", "target"]


@pytest.mark.parametrize(
    "write",
    [lambda path: atomic_files.write_text(path, "x"), lambda path: atomic_files.copy_atomically(Path(__file__), path)],
    ids=["text", "copy"],
)
def test_a_file_never_takes_the_place_of_a_folder(tmp_path, write):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "kept").write_text("")
    with pytest.raises(IsADirectoryError, match=f"Is a directory: '{re.escape(str(tmp_path))}/out'$"):
        write(tmp_path / "out")
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["kept"]


def test_a_pipe_is_written_into(tmp_path):
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    atomic_files.write_text(pipe, "through")
    read.append(os.read(reader, 100))
    (tmp_path / "plain").write_text("copied")
    atomic_files.copy_atomically(tmp_path / "plain", pipe)
    read.append(os.read(reader, 100))
    os.close(reader)
    assert read == [b"through", b"copied"]
    assert pipe.is_fifo()


def test_a_pipe_takes_more_than_it_holds_at_once(tmp_path):
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    keep_open = os.open(pipe, os.O_RDWR)  # so that the writer finds a reader, whoever of the two is first
    reader.start()
    atomic_files.write_text(pipe, "x" * 1_000_000)
    os.close(keep_open)
    reader.join(20)
    assert read == [b"x" * 1_000_000]


def test_a_pipe_that_nobody_reads_is_an_error_and_no_wait(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match=f"No such device or address: '{re.escape(str(tmp_path))}/pipe'$"):
        atomic_files.write_text(tmp_path / "pipe", "x")


def test_a_device_is_written_into_and_stays(tmp_path):
    atomic_files.write_text(Path("/dev/null"), "x")
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize(
    "write",
    [lambda path: atomic_files.write_text(path, "x"), lambda path: atomic_files.copy_atomically(Path(__file__), path)],
    ids=["text", "copy"],
)
def test_a_full_disk_names_the_file(tmp_path, write):
    full = tmp_path / "out.txt"
    full.symlink_to("/dev/full")
    with pytest.raises(OSError, match=f"No space left on device: '{re.escape(str(full))}'$"):
        write(full)


def test_a_folder_cannot_be_written_into_a_pipe(tmp_path):
    (tmp_path / "package").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(NotADirectoryError, match=f"Not a directory: '{re.escape(str(tmp_path))}/pipe'$"):
        atomic_files.copy_atomically(tmp_path / "package", tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()


def test_what_utf_8_cannot_hold_is_escaped(tmp_path):
    atomic_files.write_text(tmp_path / "a.txt", "net-\udcff.onnx")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "net-\\udcff.onnx"


def test_a_package_that_a_killed_process_set_aside_comes_back(tmp_path):
    (tmp_path / ".replaced-net.mlpackage").mkdir()
    (tmp_path / ".replaced-net.mlpackage" / "old").write_text("old")
    with pytest.raises(IsADirectoryError):
        atomic_files.write_text(tmp_path / "net.mlpackage", "no text takes its place")
    assert names(tmp_path) == ["net.mlpackage"]
    assert names(tmp_path / "net.mlpackage") == ["old"]


def test_what_a_living_process_writes_is_left_alone(tmp_path):
    (tmp_path / f".partial-a.txt.{os.getppid()}-1").write_text("half")
    atomic_files.write_text(tmp_path / "a.txt", "x")
    assert len(names(tmp_path)) == 2
