"""Tiny models for the tests of a contract: captured once for each process, in a folder that goes with it."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from edgekit.testing.tiny_models import TinyModel, capture_tiny, tiny_networks

_FOLDER = tempfile.TemporaryDirectory(prefix="edgekit-tiny-")


@cache
def tiny_model(name: str) -> TinyModel:
    """Returns the tiny model of this name, one of `tiny_networks()`. Do not change its files."""
    folder = Path(_FOLDER.name) / name
    folder.mkdir()
    return capture_tiny(name, tiny_networks()[name], folder)
