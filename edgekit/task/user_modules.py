"""Imports the user's modules under names that say nothing about where they lie, with neighbours for them alone."""

from __future__ import annotations

import hashlib
import importlib
import importlib.abc
import importlib.util
import inspect
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path, PurePath
from types import FrameType, ModuleType
from typing import Final, final

_PREFIX: Final = "_edgekit_user_"


def import_file(path: Path, base: Path) -> ModuleType:
    """Returns the module of a `.py` file, loaded once.

    Its name ends up in artifacts (TFLite names tensors by classes), so it depends on the path relative to the task's
    folder, as the task names it, and on nothing else: the same task gives the same bytes in every checkout, also where
    the file is a link.

    Args:
        path: The file, as the task names it.
        base: Folder of the task file.

    Raises:
        ImportError: Python cannot load it.
        Exception: whatever its code raises.
    """
    place = _place(path, base)
    path = path.resolve()
    name = _free_name(place, path)
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:  # only a suffix that Python cannot load gives None, and ours is .py
        raise ImportError(f"Python cannot load {path.name}.")
    module = importlib.util.module_from_spec(spec)
    _neighbours(path.parent)
    sys.modules[name] = module  # dataclasses and pickles look their module up while it loads
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def import_named(name: str, base: Path) -> ModuleType:
    """Returns the module of that name, from the task's folder or from what is installed.

    Raises:
        Exception: whatever the import raises.
    """
    finder = _neighbours(base.resolve())
    finder.wanted = name.partition(".")[0]
    try:
        return importlib.import_module(name)
    finally:
        finder.wanted = ""


@final
class _Neighbours(importlib.abc.MetaPathFinder):
    """Finds top-level modules in a folder, for the code that lies in it, before any installed one of that name.

    Only for that code: to a framework that is imported meanwhile, a `json.py` or `onnx.py` of the user's is not there.

    Args:
        folder: Where it looks, resolved.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wanted = ""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Returns where a neighbour lies, or None where it is none or somebody else imports."""
        if path is not None or not (fullname == self.wanted or _importer().is_relative_to(self.folder)):
            return None
        return PathFinder.find_spec(fullname, [str(self.folder)], target)


def _neighbours(folder: Path) -> _Neighbours:
    """Returns the finder for a folder, in force from the first call on: functions may import later, too."""
    for finder in sys.meta_path:
        if isinstance(finder, _Neighbours) and finder.folder == folder:
            return finder
    added = _Neighbours(folder)
    sys.meta_path.insert(0, added)
    # For readers of pickles and the like, which import in the user's name and find the module nowhere else.
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    return added


def _importer() -> Path:
    """Returns the file of the code that imports."""
    frame: FrameType | None = inspect.currentframe()
    while frame is not None:
        name = frame.f_code.co_filename
        if name not in _MACHINERY and not name.startswith("<frozen importlib"):
            return Path(name).resolve()
        frame = frame.f_back
    return Path("/")


_MACHINERY: Final = (__file__, importlib.__file__)


def _place(path: Path, base: Path) -> PurePath:
    """Returns where a file lies, seen from the task's folder; its name alone where it lies outside."""
    named = Path(os.path.normpath(path.absolute()))
    for folder in (Path(os.path.normpath(base.absolute())), base.resolve()):
        if named.is_relative_to(folder):
            return named.relative_to(folder)
    return PurePath(named.name)


def _free_name(place: PurePath, path: Path) -> str:
    """Returns the file's module name; one with a number where another task has a file of that name in this process."""
    text = place.as_posix()
    name = f"{_PREFIX}{place.stem}_{hashlib.sha256(text.encode(errors='surrogateescape')).hexdigest()[:12]}"
    free, number = name, 1
    while free in sys.modules and sys.modules[free].__file__ != str(path):
        number += 1
        free = f"{name}_{number}"
    return free
