"""A lock between processes: a file that one of them holds, and that the kernel lets go of when its holder dies."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_LONGEST_PAUSE_S: Final = 0.1

# What file systems without locks answer. The work goes on without one then: the lock saves work that is done twice,
# and renaming alone keeps what is written complete.
_WITHOUT_LOCKS: Final = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def file_lock(path: Path, while_waiting: Callable[[float], None]) -> Generator[None, None, None]:
    """Holds the lock file `path`, which is there only while somebody holds it.

    Args:
        path: The lock file; its folder must exist.
        while_waiting: Called again and again with the seconds waited so far; what it raises ends the waiting.

    Raises:
        OSError: the file cannot be made.
    """
    started = time.monotonic()
    pause = 0.001
    while (handle := take_lock(path)) is None:
        while_waiting(time.monotonic() - started)
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_S)
    try:
        yield
    finally:
        # Removed while it is held: whoever opened it meanwhile sees that it is gone, and starts over.
        path.unlink(missing_ok=True)
        os.close(handle)


def remove_free_locks(folder: Path) -> None:
    """Removes the lock files in a folder that nobody holds: those of killed processes."""
    for path in folder.iterdir() if folder.is_dir() else ():
        try:
            handle = take_lock(path)
        except OSError:
            continue  # it vanished, or is no file of ours
        if handle is not None:
            path.unlink(missing_ok=True)
            os.close(handle)


def take_lock(path: Path) -> int | None:
    """Returns a file descriptor that holds the lock, or None where another process or thread holds it.

    Raises:
        OSError: the file cannot be made.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if _lock(handle) and _is_still_there(handle, path):
            return handle
    except BaseException:
        os.close(handle)
        raise
    os.close(handle)
    return None


def _lock(handle: int) -> bool:
    import fcntl  # not on Windows, where importing edgekit must work still

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _WITHOUT_LOCKS:
            raise
    return True


def _is_still_there(handle: int, path: Path) -> bool:
    """Returns False where the last holder has removed the file between our opening and our locking it."""
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False
