"""What a TorchScript archive is, told from its members. Imports no framework.

`torch.jit.save`, `save` of a scripted module and `_save_for_lite_interpreter` write a zip archive with the source of
each module in `code/`. `torch.save` writes one without: a pickle, which edgekit does not load.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Final

from edgekit.errors import ModelError

_RUNS_AT_LOAD: Final = b"__setstate__"
_MOST_CODE: Final = 1 << 26
"""Bytes of source that are searched; generated code of a network of thousands of layers has a few million."""


def is_torchscript(path: Path) -> bool:
    """Returns True for a zip archive that holds TorchScript, whatever its suffix."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError):
        return False
    below = {name.partition("/")[2] for name in names}
    return "constants.pkl" in below and any(name.startswith("code/") for name in below)


def check_archive(path: Path, title: str) -> bool:
    """Refuses an archive that would run code while it is loaded; returns True where it keeps the shapes of a trace.

    torch's own reader builds tensors, numbers and the file's classes from the pickles inside, and nothing else. What it
    runs of the file is `__setstate__`, which modules with packed weights (quantized ones) have.

    Raises:
        ModelError: it is damaged, or a module in it has a `__setstate__`.
    """
    damaged = f"{title} is damaged: it is no complete zip archive. Copy or save the file again."
    try:
        with zipfile.ZipFile(path) as archive:
            code = [info for info in archive.infolist() if "/code/" in info.filename and info.filename.endswith(".py")]
            if sum(info.file_size for info in code) > _MOST_CODE:
                raise ModelError(f"{title} holds more than {_MOST_CODE >> 20} MB of code; no model needs that.")
            for info in code:
                if _RUNS_AT_LOAD in archive.read(info):
                    raise ModelError(_packed(title, info.filename))
            return any(name.endswith("/traced_inputs.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, ValueError) as error:
        raise ModelError(damaged) from error


def _packed(title: str, member: str) -> str:
    return (
        f"{title}: {member.partition('/code/')[2]} has a __setstate__, which would run while the file is loaded, and "
        "edgekit runs no code of a file. Modules whose weights are packed for torch's own quantized kernels have one: "
        "save the float model before it is quantized, and let edgekit quantize it (--precision int8)."
    )
