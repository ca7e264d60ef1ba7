"""What was written from memory, read again in a worker: the functions that a task's references name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

Batch: TypeAlias = "tuple[tuple[Tensor, ...], Tensor]"
"""(one tensor (batch, ...) for each input, target)."""


def example_inputs(path: str = "") -> tuple[NDArray[Any], ...]:
    """Returns the example inputs in an .npz file, one array (1, ...) for each input."""
    import numpy as np

    with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as file:
        return tuple(file[name] for name in file.files)


def rows(path: str = "") -> list[tuple[NDArray[Any], ...]]:
    """Returns the sample inputs in an .npz file: one item of all rows."""
    return [example_inputs(path)]


def batches(epoch: int, folder: str = "") -> Iterator[Batch]:
    """Yields the batches in a folder, in an order that is the epoch's own."""
    import numpy as np

    files = sorted(Path(folder).glob("*.npz"))
    for index in np.random.default_rng(epoch).permutation(len(files)):
        yield _read(files[index])


def held_out(folder: str = "") -> Iterator[Batch]:
    """Yields the batches in a folder, in the order in which they were written."""
    yield from map(_read, sorted(Path(folder).glob("*.npz")))


def _read(path: Path) -> Batch:
    import torch

    *inputs, target = (torch.from_numpy(array) for array in example_inputs(str(path)))
    return tuple(inputs), target
