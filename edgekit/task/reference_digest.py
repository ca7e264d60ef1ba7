"""What a reference of a task leads to, as a hash: for keys of results that depend on it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from edgekit.task.user_code import split_reference


def reference_digest(reference: str, base: Path) -> str | None:
    """Returns a hash of the file that a reference names, None where it names none that can be found without running it.

    Args:
        reference: `file.py:function`, a data file, or a folder, of which names and sizes count.
        base: Folder that relative paths start from.
    """
    path = base / reference
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        listed = "\n".join(f"{file.relative_to(path).as_posix()} {file.stat().st_size}" for file in files)
        return hashlib.sha256(listed.encode()).hexdigest()
    if ":" in reference and not path.is_file():
        path = base / split_reference(reference, "reference")[0]
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
