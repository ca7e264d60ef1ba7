"""State of a training run on disk: whole or not at all, and never read where it is damaged. Runs where torch is."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any, Final

from edgekit.workers.worker import Progress, silent

FORMAT: Final = 2
_DIGEST_BYTES: Final = hashlib.sha256().digest_size


def write_checkpoint(path: Path, key: str, state: dict[str, Any]) -> None:
    """Writes the state beside its place and renames it: a run that is killed meanwhile leaves the one before.

    The file begins with the SHA-256 of what follows, which is what `torch.save` writes.

    Args:
        path: The file.
        key: What the run depends on; see `read_checkpoint`.
        state: Tensors, numbers, strings, lists and dictionaries.
    """
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    torch.save({"format": FORMAT, "key": key, "state": state}, content)
    partial = path.with_name(f".partial-{path.name}")
    with partial.open("wb") as stream:
        stream.write(hashlib.sha256(content.getbuffer()).digest())
        stream.write(content.getbuffer())
    partial.replace(path)


def read_checkpoint(path: Path, key: str, progress: Progress = silent) -> dict[str, Any] | None:
    """Returns the state of an earlier run with the same key, or None where there is none.

    A file of another run is no reason to fail, and a damaged one neither, which is said: training starts anew.

    Args:
        path: The file.
        key: What the run depends on: an earlier run's state is used only where it is equal.
        progress: Is told of damage.
    """
    import torch

    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    digest, content = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        progress(f"{path.name} of an earlier run is damaged: training starts anew", None)
        return None
    found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    if found["format"] != FORMAT or found["key"] != key:
        return None
    state: dict[str, Any] = found["state"]
    return state
