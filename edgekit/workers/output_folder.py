"""The folder that a command writes into: tried before the work."""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from edgekit.errors import ResourceError


@contextmanager
def output_folder(folder: Path) -> Generator[Path, None, None]:
    """Yields the output folder, made and tried before the work; takes it away again if nothing was written into it.

    Raises:
        ResourceError: it cannot be written.
    """
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ResourceError(
            f"The output folder {folder} cannot be written: {error.strerror}. Give another one with --output."
        ) from error
    try:
        yield folder
    finally:
        if is_new and not any(folder.iterdir()):
            folder.rmdir()
