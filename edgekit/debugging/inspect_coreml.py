"""Inner values of Core ML packages, from edgekit's evaluator: it proves the file, not Apple's arithmetic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, final

from edgekit.debugging.inspector import ArtifactInspector, InnerTensor, StoredGrid, prepared, real_values
from edgekit.validators import coreml_evaluator
from edgekit.validators.coreml_evaluator.graph import Operation, Reference
from edgekit.validators.runners import coreml_session, opened_artifact

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LIMITS: dict[str, tuple[int, int]] = {"int8": (-128, 127), "uint8": (0, 255)}


@final
class CoreMLInspector(ArtifactInspector):
    """One package.

    Args:
        path: The `.mlpackage` folder.
        threads: Threads of the evaluator's arithmetic.
    """

    how: ClassVar[str] = "Core ML evaluator, values of the saved program (not Apple's runtime)"

    def __init__(self, path: Path, threads: int) -> None:
        opened_artifact.check_file(path)
        self._path = path
        self._program = coreml_evaluator.load(path, threads=threads)
        session = coreml_session.Session(self._program)
        expected = opened_artifact.described_in(session.metadata)
        order, self._specs = opened_artifact.ordered(session.inputs, expected.get("inputs", []))
        reader = _Reader(self._program.operations, self._program.constants)
        self._read_from: dict[str, tuple[str, StoredGrid | None]] = {}
        tensors: list[InnerTensor] = []
        made = [(spec["name"], "input") for spec in session.inputs]
        made += [
            (result.name, item.type)
            for item in self._program.operations
            for result in item.outputs
            if item.type not in ("quantize", "dequantize")
        ]
        for name, operator in made:
            read, grid, integers = reader.standing_for(name)
            self._read_from[name] = (read, grid if integers else None)
            tensors.append(InnerTensor(name=name, operator=operator, grid=grid))
        self.tensors = tuple(tensors)
        self.inputs = tuple(session.inputs[k]["name"] for k in order)
        out_order, _ = opened_artifact.ordered(session.outputs, expected.get("outputs", []))
        back = {read: name for name, (read, _) in self._read_from.items()}
        names = [str(session.outputs[k]["name"]) for k in out_order]
        self.outputs = tuple(back.get(name, name) for name in names)

    def run(self, row: Sequence[NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """Returns the real values of all tensors, by name."""
        import numpy as np

        arrays = prepared(self._path, self._specs, row)
        values: dict[str, NDArray[Any]] = {spec["name"]: a for spec, a in zip(self._specs, arrays, strict=True)}
        given = dict(values)

        def keep(name: str, value: NDArray[Any]) -> None:
            values[name] = value.copy()  # a later operator may write its result into the same memory

        self._program.run(given, trace=keep)
        found: dict[str, NDArray[np.float32]] = {}
        for name, (read, grid) in self._read_from.items():
            array = values.get(read)
            if array is not None and (grid is not None or array.dtype.kind == "f"):
                found[name] = real_values(np.asarray(array), grid)
        return found


@final
class _Reader:
    """Says where a value is to be read: one that goes into a grid is what comes out of the grid."""

    def __init__(self, operations: Sequence[Operation], constants: Mapping[str, Any]) -> None:
        self._constants = constants
        self._quantizers: dict[str, Operation] = {}
        self._dequantizers: dict[str, list[Operation]] = {}
        self._users: dict[str, list[Operation]] = {}
        for operation in operations:
            source = operation.inputs.get("input", ())
            name = source[0].name if source and isinstance(source[0], Reference) else ""
            if operation.type == "quantize":
                self._quantizers.setdefault(name, operation)
            elif operation.type == "dequantize":
                self._dequantizers.setdefault(name, []).append(operation)
            for items in operation.inputs.values():
                for item in items:
                    if isinstance(item, Reference):
                        self._users.setdefault(item.name, []).append(operation)

    def standing_for(self, name: str) -> tuple[str, StoredGrid | None, bool]:
        """Returns (value to read, its grid, True where it holds integers to which the grid must be applied).

        coremltools multiplies the scales of what an addition reads, and of its result, by one number
        (distributive_quantized_binary_op_scale_normalization). The scale before such an addition is the real one.
        """
        quantizer = self._quantizers.get(name)
        if quantizer is None:
            return name, None, False
        integers = quantizer.outputs[0]
        limits = _LIMITS.get(integers.type.dtype)
        readers = self._dequantizers.get(integers.name, [])
        plain = [item for item in readers if not self._only_added(item)]
        if limits is None or not readers:
            return name, None, False
        if plain:
            return plain[0].outputs[0].name, self._grid(plain[0], limits), False
        grid = self._grid(quantizer, limits)
        return (integers.name, grid, True) if grid is not None else (readers[0].outputs[0].name, None, False)

    def _only_added(self, dequantizer: Operation) -> bool:
        users = self._users.get(dequantizer.outputs[0].name, [])
        return bool(users) and all(user.type in ("add", "sub") for user in users)

    def _grid(self, operation: Operation, limits: tuple[int, int]) -> StoredGrid | None:
        """Returns the grid of an operator with one scale, else None."""
        scale, zero = self._constant(operation, "scale"), self._constant(operation, "zero_point")
        if scale is None or scale.size != 1:
            return None
        zero_point = 0 if zero is None else int(zero.reshape(-1)[0])
        return StoredGrid(scale=float(scale.reshape(-1)[0]), zero_point=zero_point, least=limits[0], largest=limits[1])

    def _constant(self, operation: Operation, name: str) -> NDArray[Any] | None:
        import numpy as np

        given = operation.inputs.get(name, ())
        if not given:
            return None
        item = self._constants.get(given[0].name) if isinstance(given[0], Reference) else given[0]
        return None if item is None else np.asarray(item)
