"""Files and folders that appear complete or not at all: written beside their place, then renamed into it.

A link is followed: it says where the user wants the file. What is no file (`/dev/null`, `/dev/stdout`, a pipe) is
written into and never replaced.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import stat
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

from edgekit.artifact import artifact_files, remove_artifact

_PARTIAL: Final = ".partial-"
_EXCHANGE: Final = 2
"""RENAME_EXCHANGE of Linux, RENAME_SWAP of macOS."""


def write_text(path: Path, text: str) -> None:
    """Writes a text file, UTF-8. What UTF-8 cannot hold (parts of file names that are none) is escaped.

    Raises:
        OSError: it cannot be written; the error names `path`.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file.

    Raises:
        OSError: it cannot be written; the error names `path`.
    """
    with _naming(path):
        if _is_stream(path):
            with _open_stream(path) as stream:
                stream.write(data)
            return
        with _appearing(path.resolve()) as partial:
            partial.write_bytes(data)


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Writes a JSON file for people to read as well. NaN and infinity are errors: JSON has neither.

    Raises:
        OSError: it cannot be written.
        ValueError: a number is not finite.
    """
    write_text(path, json.dumps(data, indent=1, allow_nan=False) + "\n")


def copy_atomically(source: Path, target: Path) -> None:
    """Copies an artifact to `target`, in the place of what is there: a file with its external data, or a folder.

    External data keeps its name, which the file holds, so it goes beside `target` under that name.

    Raises:
        OSError: it cannot be written; the error names `target`, or `source` where that cannot be read.
        NotADirectoryError: a folder cannot be written into a device or a pipe.
        ArtifactError: external data is missing.
    """
    for name, file in artifact_files(source) if source.is_file() else ():
        if name:
            (target.parent / name).parent.mkdir(parents=True, exist_ok=True)
            copy_atomically(file, target.parent / name)
    if _is_stream(target):
        if source.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(target))
        with source.open("rb") as stream, _naming(target), _open_stream(target) as into:
            shutil.copyfileobj(stream, into)
        return
    source.stat()  # what cannot be read is not the target's fault
    with _naming(target), _appearing(target.resolve()) as partial:
        _copy(source, partial)


def _copy(source: Path, target: Path) -> None:
    """Copies contents alone: modes and times are of the cache, and would differ from one copy to the next."""
    if not source.is_dir():
        shutil.copyfile(source, target)
        return
    target.mkdir()
    for item in sorted(source.iterdir()):
        _copy(item, target / item.name)


@contextmanager
def _naming(path: Path) -> Generator[None, None, None]:
    """Lets an OSError name the file that the user knows: writing names none, and renaming a hidden one."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno or errno.EIO, error.strerror or str(error), str(path)) from error


def _is_stream(path: Path) -> bool:
    """Returns True for what must be written into and not replaced: devices, pipes, what the process holds open."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    # /dev/stdout may be a plain file in the end, one that the shell has opened already.
    is_open_already = path.absolute().is_relative_to("/dev/fd") or path.absolute() in _STANDARD_STREAMS
    return is_open_already or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


_STANDARD_STREAMS: Final = (Path("/dev/stdout"), Path("/dev/stderr"))


def _open_stream(path: Path) -> BinaryIO:
    # Without blocking, a pipe that nobody reads is an error and not a wait without end. Once open it may block.
    handle = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    os.set_blocking(handle, True)
    return os.fdopen(handle, "wb")


@contextmanager
def _appearing(path: Path) -> Generator[Path, None, None]:
    """Yields where to write; what is there afterwards takes its place at `path`, unless writing failed."""
    _recover(path)
    partial = path.with_name(f"{_PARTIAL}{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        remove_artifact(partial)
        yield partial
        _replace(partial, path)
    finally:
        remove_artifact(partial)


def _replace(partial: Path, path: Path) -> None:
    """Puts `partial` in the place of `path`; what was there is removed, or lies at `partial` for its removal."""
    if not partial.is_dir():
        partial.replace(path)  # refused where a folder lies there: a file is no reason to remove one
    elif not path.exists():
        partial.rename(path)
    elif not _exchange(partial, path):
        # A folder cannot be replaced by renaming. Killed between these two, the next writer puts it back.
        aside = _aside(path)
        remove_artifact(aside)
        path.rename(aside)
        partial.rename(path)
        remove_artifact(aside)


def _aside(path: Path) -> Path:
    return path.with_name(f".replaced-{path.name}")


def _recover(path: Path) -> None:
    """Puts back what a killed process had set aside, and removes what dead processes had begun to write."""
    aside = _aside(path)
    if aside.exists():
        if path.exists():
            remove_artifact(aside)
        else:
            aside.rename(path)
    pattern = re.compile(re.escape(f"{_PARTIAL}{path.name}.") + r"(\d+)-\d+")
    for item in path.parent.glob(f"{_PARTIAL}*") if path.parent.is_dir() else ():
        found = pattern.fullmatch(item.name)
        if found and not _is_alive(int(found[1])):
            remove_artifact(item)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _exchange(one: Path, other: Path) -> bool:
    """Swaps two names in one step, so that neither is ever missing. Returns False where that cannot be done."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(one), os.fsencode(other)
    if hasattr(libc, "renameat2"):
        at_current_folder = -100
        failed = libc.renameat2(at_current_folder, names[0], at_current_folder, names[1], _EXCHANGE)
    elif hasattr(libc, "renamex_np"):
        failed = libc.renamex_np(*names, _EXCHANGE)
    else:
        return False
    number = ctypes.get_errno()
    if failed and number not in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        raise OSError(number, os.strerror(number), str(other))
    return not failed
