"""The folder that a verb writes into: tried before the work, and never left with half a file."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from edgekit.artifact import remove_artifact
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


def copy_whole(source: Path, target: Path) -> None:
    """Copies a file or a package folder to `target`, whole or not at all.

    Raises:
        ResourceError: it cannot be written.
    """
    partial = target.with_name(f".partial-{target.name}")
    try:
        remove_artifact(partial)
        if source.is_dir():
            shutil.copytree(source, partial)
        else:
            shutil.copyfile(source, partial)
        remove_artifact(target)
        partial.rename(target)
    except OSError as error:
        raise ResourceError(f"{target} cannot be written: {error.strerror}.") from error
    finally:
        remove_artifact(partial)
