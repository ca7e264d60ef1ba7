"""What an artifact computes inside: the contract of the readers, one for each format.

A reader opens an artifact so that its inner tensors can be read, and runs it row by row. Values come out as real
numbers: integers are turned back by the scale and zero point with which their readers read them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, final

from edgekit.errors import ERRORS_BY_NAME, ArtifactError
from edgekit.formats.table import all_formats, find_format
from edgekit.plugins import load_plugin
from edgekit.validators.runners import opened_artifact

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float32]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class StoredGrid:
    """The integers that a tensor is stored in: real = scale * (stored - zero_point).

    Attributes:
        scale: Step.
        zero_point: See above.
        least: Smallest integer of the type.
        largest: Largest integer of the type.
    """

    scale: float
    zero_point: int
    least: int
    largest: int

    @property
    def low(self) -> float:
        """Smallest real value that can be stored."""
        return self.scale * (self.least - self.zero_point)

    @property
    def high(self) -> float:
        """Largest real value that can be stored."""
        return self.scale * (self.largest - self.zero_point)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class InnerTensor:
    """One tensor that an artifact computes.

    Attributes:
        name: As the file calls it.
        operator: Type of the operator that makes it, `input` for an input.
        grid: None for a float tensor.
    """

    name: str
    operator: str
    grid: StoredGrid | None = None


class ArtifactInspector(ABC):
    """An artifact opened so that its inner tensors can be read. Only ever inside a worker process.

    Attributes:
        tensors: What can be read, in the order in which it is computed, inputs first.
        inputs: Names of the inputs' tensors, in the float model's order.
        outputs: Names of the outputs' tensors, in the float model's order.
        how: Where the values come from, for people.
    """

    how: ClassVar[str]
    tensors: tuple[InnerTensor, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @abstractmethod
    def run(self, row: Sequence[NDArray[Any]]) -> dict[str, Array]:
        """Returns the real values of all tensors, by name, for one row (one array (1, ...) for each input)."""


def check_inspectable(runtime: str, path: Path) -> None:
    """Checks that somebody has declared how to see inside artifacts of a format.

    Raises:
        ArtifactError: nobody has.
    """
    if find_format(runtime).inspector:
        return
    others = ", ".join(one.name for one in all_formats() if one.inspector)
    raise ArtifactError(
        f"{path.name} cannot be debugged: the format {runtime} brings no reader of what its artifacts compute inside. "
        f"Export the model to another format and debug that artifact: {others}."
    )


def open_inside(runtime: str, path: Path, threads: int) -> ArtifactInspector:
    """Returns the reader of an artifact.

    Raises:
        ArtifactError: the runtime cannot load it, or its insides cannot be read.
        MissingDependencyError: the runtime is not installed.
    """
    check_inspectable(runtime, path)
    target = find_format(runtime).inspector
    reader: type[Any] = load_plugin("reader of the format", runtime, target)
    try:
        opened: ArtifactInspector = reader(path, threads)
    except opened_artifact.RunError as error:
        raise ERRORS_BY_NAME.get(error.kind, ArtifactError)(error.message) from error
    return opened


def prepared(path: Path, specs: Sequence[Mapping[str, Any]], row: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Returns a row as the runtime stores it.

    Args:
        path: The artifact, for messages.
        specs: Specifications of the inputs, in the row's order (see `opened_artifact.ordered`).
        row: One array for each input.

    Raises:
        RunError: another number of inputs, or shapes or types that do not fit.
    """
    if len(specs) != len(row):
        raise opened_artifact.RunError(
            "DataError",
            f"{path.name} takes {len(specs)} inputs and the data has {len(row)} tensors. Give one tensor an input.",
        )
    for spec, array in zip(specs, row, strict=True):
        opened_artifact.check_fit(path, dict(spec), array.shape, array.dtype)
    return [opened_artifact.stored(path, dict(spec), array) for spec, array in zip(specs, row, strict=True)]


def real_values(stored: NDArray[Any], grid: StoredGrid | None) -> Array:
    """Returns stored values as real numbers, float32."""
    import numpy as np

    if grid is None:
        return np.asarray(stored, dtype=np.float32)
    return (stored.astype(np.float32) - np.float32(grid.zero_point)) * np.float32(grid.scale)


def grid_of(scale: float, zero_point: int, dtype: str) -> StoredGrid | None:
    """Returns the grid of an integer tensor, None where the type is no integer or has no scale."""
    import numpy as np

    if np.dtype(dtype).kind not in "iu" or not scale:
        return None
    limits = np.iinfo(dtype)
    return StoredGrid(scale=float(scale), zero_point=int(zero_point), least=int(limits.min), largest=int(limits.max))
