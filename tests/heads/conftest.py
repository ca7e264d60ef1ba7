"""Frameworks whose own decoding the tests compare with; a test skips where its framework is missing."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest

SIZE = (64, 96)
"""Height and width of the pictures: unequal, so that a swap shows."""


@pytest.fixture
def torchvision_detection(monkeypatch):
    """`torchvision.models.detection`; its Python files work without its compiled operators."""
    pytest.importorskip("torch")
    if "torchvision" not in sys.modules:
        # It describes operators that a build without them lacks.
        stub = ModuleType("torchvision._meta_registrations")
        monkeypatch.setitem(sys.modules, stub.__name__, stub)
    return pytest.importorskip("torchvision.models.detection", exc_type=ImportError)


@pytest.fixture
def ultralytics_head(torchvision_detection, monkeypatch, tmp_path):
    """`ultralytics.nn.modules.head`; AGPL, so nothing installs it."""
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("YOLO_VERBOSE", "False")
    return pytest.importorskip("ultralytics.nn.modules.head", exc_type=ImportError)


@pytest.fixture
def generator():
    return np.random.default_rng(0)
