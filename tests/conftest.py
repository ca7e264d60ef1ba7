"""Surroundings and order of the whole suite."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable

import psutil
import pytest

# The processes of pytest-xdist set it to 80: how wide a table is must not depend on how the tests were started.
os.environ.pop("COLUMNS", None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts files with real converters and runtimes first, so that no process ends on a long one."""
    long = {item.path for item in items if item.get_closest_marker("runtime")}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(scope="session")
def are_gone() -> Callable[[Iterable[int]], bool]:
    """Waits until none of some processes is left, and says whether that came true."""
    return _are_gone


def _are_gone(pids: Iterable[int]) -> bool:
    left = list(pids)
    deadline = time.monotonic() + 10  # a signal is sent at once, and the kernel takes its time on a busy machine
    while left := [pid for pid in left if not _is_gone(pid)]:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _is_gone(pid: int) -> bool:
    """Returns whether a process has ended; one that nobody has waited for yet has."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
