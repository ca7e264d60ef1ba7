"""Surroundings and order of the whole suite."""

from __future__ import annotations

import os

import pytest

# The processes of pytest-xdist set it to 80: how wide a table is must not depend on how the tests were started.
os.environ.pop("COLUMNS", None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts files with real converters and runtimes first, so that no process ends on a long one."""
    long = {item.path for item in items if item.get_closest_marker("runtime")}
    items.sort(key=lambda item: item.path not in long)
