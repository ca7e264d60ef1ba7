"""Order of the whole suite: files with real converters and runtimes first, so that no process ends on a long one."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    long = {item.path for item in items if item.get_closest_marker("runtime")}
    items.sort(key=lambda item: item.path not in long)
