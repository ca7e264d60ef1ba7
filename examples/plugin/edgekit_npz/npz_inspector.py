"""Inner tensors of .npz models, for `edgekit debug`: the session keeps every operator's result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, final

from edgekit.debugging.inspector import ArtifactInspector, InnerTensor, prepared, real_values
from edgekit.validators.runners import runner
from edgekit_npz.npz_file import read_npz
from edgekit_npz.npz_session import Session

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@final
class NpzInspector(ArtifactInspector):
    """One .npz model.

    Args:
        path: The file.
        threads: Not used: NumPy takes them from the environment.
    """

    how: ClassVar[str] = "NumPy, the result of every operator kept"

    def __init__(self, path: Path, threads: int) -> None:
        del threads
        runner.check_file(path)
        file = read_npz(path)
        self._path, self._session = path, Session(str(path))
        self.inputs, self.outputs = tuple(file.inputs), tuple(file.outputs)
        self.tensors = (
            *(InnerTensor(name=name, operator="input") for name in self.inputs),
            *(InnerTensor(name=operator["name"], operator=operator["kind"]) for operator in file.operators),
        )

    def run(self, row: Sequence[NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """Returns the values of all tensors, by name."""
        self._session.run(prepared(self._path, self._session.inputs, row))
        return {tensor.name: real_values(self._session.values[tensor.name], None) for tensor in self.tensors}
