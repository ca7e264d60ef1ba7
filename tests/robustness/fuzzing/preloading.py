"""Imports into this process what a command imports in its workers, so that forks of this process need not."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from fuzzing.forked_run import remove, run_forked

_NEVER_HERE = ("executorch",)
"""ExecuTorch's runtime aborts in the child of a process that has imported it."""

_IMPORTED_WHOLE = ("tensorflow", "torch", "keras", "coremltools", "jax", "onnxruntime")
"""Their parts depend on the order in which they come: the first two levels bring the rest."""


def preload(act: Callable[[], int], lay_out: Callable[[Path], object], codes: tuple[int, ...]) -> None:
    """Runs `act` on sound files in a child, and imports here what it and its workers have imported.

    Args:
        act: Returns an exit code.
        lay_out: Puts the files into `work` of the folder that it gets.
        codes: Exit codes that it may end with.
    """
    place = Path(tempfile.mkdtemp(prefix="edgekit-preload-"))
    try:
        lay_out(place)
        listed = place / "modules.json"
        _scout(act, place, listed, codes)
        for module in _missing(json.loads(listed.read_text()) if listed.exists() else []):
            importlib.import_module(module)
    finally:
        remove(place)


def _scout(act: Callable[[], int], place: Path, listed: Path, codes: tuple[int, ...]) -> None:
    """Runs an act; its workers are forks too, and each adds to the list what it has imported."""
    parent = os.getpid()

    def list_modules() -> None:
        if os.getpid() != parent:
            known = json.loads(listed.read_text()) if listed.exists() else []
            listed.write_text(json.dumps([*known, *(one for one in list(sys.modules) if one not in known)]))

    real_exit = os._exit

    def leave(code: int) -> None:
        list_modules()
        real_exit(code)

    os._exit = leave
    try:
        ran = run_forked(act, place)
    finally:
        os._exit = real_exit
    if ran.code not in codes:
        raise RuntimeError(f"the sound files give exit code {ran.code}: {ran.said}")


def _missing(names: Iterable[str]) -> Iterator[str]:
    """Yields modules that can be imported as they are called, and are not yet here."""
    for name in names:
        if name in sys.modules or name.startswith(("_", "model", "data", *_NEVER_HERE)) or ".__" in name:
            continue
        top = name.partition(".")[0]
        if top in _IMPORTED_WHOLE and name.count(".") > 1:
            continue
        try:
            if importlib.util.find_spec(name) is not None:
                yield name
        except (ImportError, ValueError, AttributeError):
            continue
