"""Training data and losses of a Python program, as references that a training worker can load.

The worker is a process of its own: it can take a function that it finds in a module, and batches that were written to
files. It cannot take a function of a notebook or of the script that runs, and edgekit says so.
"""

from __future__ import annotations

import hashlib
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgekit.errors import DataError, UsageError
from edgekit.in_memory.arrays import is_array, to_numpy
from edgekit.pipeline.scratch import move_contents
from edgekit.pipeline.settings import Settings
from edgekit.task.task import Training

if TYPE_CHECKING:
    from numpy.typing import NDArray

_KEYS: Final = ("batches", "loss", "epochs", "held_out")
_HOW: Final = "Put it into a file of its own and import it from there, or name it as text: train.py:function."


def training_of(given: Mapping[str, Any], settings: Settings) -> Training:
    """Returns the training that a mapping with the keys of [training] describes.

    Args:
        given: `batches` and `held_out`: text, a function of a module, or batches in memory: a DataLoader, a list of
            (inputs, target), a pair of arrays. `loss`: text or a function of a module. `epochs`: a number.
        settings: Where batches are written to.

    Raises:
        UsageError: an unknown key, a missing one, or a function that a worker cannot load.
        DataError: batches that cannot be written.
    """
    if unknown := [key for key in given if key not in _KEYS]:
        raise UsageError(f"training has the keys {', '.join(unknown)}; expected {', '.join(_KEYS)}.")
    if missing := [key for key in ("batches", "loss") if given.get(key) is None]:
        raise UsageError(f"training has no {' and no '.join(missing)}. Give both, as [training] in a task file does.")
    held_out = given.get("held_out")
    return Training(
        batches=_batches(given["batches"], "batches", settings),
        loss=given["loss"] if isinstance(given["loss"], str) else function_reference(given["loss"], "training loss"),
        epochs=int(given.get("epochs", 1)),
        held_out=None if held_out is None else _batches(held_out, "held_out", settings),
    )


def function_reference(function: object, what: str) -> str:
    """Returns the text by which a worker finds a function: `torch.nn.functional:cross_entropy`, `/path/train.py:loss`.

    Raises:
        UsageError: it is no function, or lies in no module that a worker can import.
    """
    name = getattr(function, "__qualname__", None)
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    if name is None or module is None or not callable(function):
        raise UsageError(f"{what} is of type {type(function).__name__}; expected a function of a module. {_HOW}")
    if module.__name__ == "__main__" or "<" in name:
        raise UsageError(
            f"{what}: the function {name} lives in {module.__name__} only, and training runs in another process that "
            f"cannot reach it. {_HOW}"
        )
    file = getattr(module, "__file__", None)
    installed = [sysconfig.get_paths()[key] for key in ("stdlib", "purelib", "platlib")]
    if file is None or "." in module.__name__ or any(Path(file).is_relative_to(folder) for folder in installed):
        return f"{module.__name__}:{name}"
    return f"{file}:{name}"


def _batches(given: Any, key: str, settings: Settings) -> str:
    if isinstance(given, str):
        return given
    if callable(given) and not isinstance(given, Iterable):
        return function_reference(given, f"training {key}")
    if isinstance(given, tuple) and len(given) == 2 and is_array(given[1]):
        given = [given]
    folder = _write_batches(given, key, settings)
    function = "batches" if key == "batches" else "held_out"
    return f"edgekit.in_memory.stored:{function}(folder={str(folder)!r})"


def _write_batches(given: Iterable[object], key: str, settings: Settings) -> Path:
    """Writes batches to one folder of the cache, named by what they hold; returns it.

    Raises:
        DataError: there is none, or one is no pair.
    """
    import numpy as np

    digest = hashlib.sha256()
    with settings.cache.scratch() as scratch:
        for i, arrays in enumerate(_arrays_of(given, key)):
            np.savez(scratch / f"{i:06d}.npz", *arrays)
            for array in arrays:
                digest.update(f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        if not any(scratch.iterdir()):
            raise DataError(f"training {key} in memory is empty: expected at least one batch (inputs, target).")
        name = digest.hexdigest()[:32]
        return settings.cache.make("batches", name, lambda place: move_contents(scratch, place))


def _arrays_of(given: Iterable[object], key: str) -> Iterable[list[NDArray[Any]]]:
    """Yields each batch as its inputs and, last, its target."""
    for index, item in enumerate(given):
        if not isinstance(item, (tuple, list)) or len(item) != 2:
            raise DataError(
                f"training {key}: batch {index} is a {type(item).__name__}; expected a pair (inputs, target)."
            )
        inputs, target = item
        yield [*(to_numpy(x) for x in (inputs if isinstance(inputs, (tuple, list)) else (inputs,))), to_numpy(target)]
