"""edgekit: one model in, artifacts for four on-device runtimes out, one verdict against a device's budgets.

The functions are those of `edgekit.api`, loaded when one is used: importing edgekit costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit.api import bench, debug, devices, export, gate, ladder, plan, report, search, sweep, validate

__version__ = "0.1.0"

__all__ = ["bench", "debug", "devices", "export", "gate", "ladder", "plan", "report", "search", "sweep", "validate"]


def __getattr__(name: str) -> Any:
    """Returns a function of the API, loaded now."""
    if name in __all__:
        return getattr(importlib.import_module("edgekit.api"), name)
    raise AttributeError(f"module 'edgekit' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Returns the public names, for completion in a shell or a notebook."""
    return sorted([*__all__, "__version__"])
