"""State of a training run on disk: whole or not at all. Runs in a worker that has torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

FORMAT: Final = 1


def write_checkpoint(path: Path, key: str, state: dict[str, Any]) -> None:
    """Writes the state beside its place and renames it: a run that is killed meanwhile leaves the one before.

    Args:
        path: The file.
        key: What the run depends on; see `read_checkpoint`.
        state: Tensors, numbers, strings, lists and dictionaries.
    """
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{path.name}")
    torch.save({"format": FORMAT, "key": key, "state": state}, partial)
    partial.replace(path)


def read_checkpoint(path: Path, key: str) -> dict[str, Any] | None:
    """Returns the state of an earlier run with the same key, or None where there is none.

    A file of another run, or one that cannot be read, is no reason to fail: training starts anew.
    """
    import pickle

    import torch

    if not path.exists():
        return None
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError):
        return None
    if not isinstance(found, dict) or found.get("format") != FORMAT or found.get("key") != key:
        return None
    state: dict[str, Any] = found["state"]
    return state
