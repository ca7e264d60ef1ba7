"""Inner values of Core ML packages, from edgekit's evaluator: it proves the file, not Apple's arithmetic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, final

from edgekit.debug.inside import InnerTensor, Inside, StoredGrid, prepared
from edgekit.validators import coreml_evaluator
from edgekit.validators.coreml_evaluator.graph import Operation, Reference
from edgekit.validators.runners import coreml_session, runner

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LIMITS: dict[str, tuple[int, int]] = {"int8": (-128, 127), "uint8": (0, 255)}


@final
class CoreMLInside(Inside):
    """One package.

    Args:
        path: The `.mlpackage` folder.
        threads: Of the evaluator's arithmetic.
    """

    how: ClassVar[str] = "Core ML evaluator, values of the saved program (not Apple's runtime)"

    def __init__(self, path: Path, threads: int) -> None:
        runner.check_file(path)
        self._path = path
        self._program = coreml_evaluator.load(path, threads=threads)
        session = coreml_session.Session(self._program)
        expected = runner.described_in(session.metadata)
        order, self._specs = runner.ordered(session.inputs, expected.get("inputs", []))
        operations = self._program.operations
        self._value_of = _standing_for(operations)
        constants = self._program.constants
        self._read_from: dict[str, str] = {}
        tensors: list[InnerTensor] = []
        made = [(spec["name"], "input") for spec in session.inputs]
        made += [(result.name, op.type) for op in operations for result in op.outputs]
        sources = {result.name: op for op in operations for result in op.outputs}
        for name, operator in made:
            producer = sources.get(name)
            if producer is not None and producer.type in ("quantize", "dequantize"):
                continue
            read = self._value_of.get(name, name)
            grid = _grid(sources[read], sources, constants) if read != name else None
            self._read_from[name] = read
            tensors.append(InnerTensor(name=name, operator=operator, grid=grid))
        self.tensors = tuple(tensors)
        self.inputs = tuple(session.inputs[k]["name"] for k in order)
        out_order, _ = runner.ordered(session.outputs, expected.get("outputs", []))
        back = {read: name for name, read in self._read_from.items()}
        self.outputs = tuple(back.get(name, name) for name in (session.outputs[k]["name"] for k in out_order))

    def run(self, row: Sequence[NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """Returns the real values of all tensors, by name."""
        import numpy as np

        arrays = prepared(self._path, self._specs, row)
        values: dict[str, NDArray[Any]] = {spec["name"]: a for spec, a in zip(self._specs, arrays, strict=True)}
        given = dict(values)

        def keep(name: str, value: NDArray[Any]) -> None:
            values[name] = value

        self._program.run(given, trace=keep)
        found = {name: values[read] for name, read in self._read_from.items() if read in values}
        return {name: np.array(array, np.float32) for name, array in found.items() if array.dtype.kind == "f"}


def _standing_for(operations: Sequence[Operation]) -> dict[str, str]:
    """Returns value to the dequantized value that its readers read, for values that go into a grid."""
    integers: dict[str, str] = {}
    found: dict[str, str] = {}
    for operation in operations:
        source = operation.inputs.get("input", ())
        if not source or not isinstance(source[0], Reference):
            continue
        if operation.type == "quantize":
            integers[operation.outputs[0].name] = source[0].name
        elif operation.type == "dequantize" and source[0].name in integers:
            found.setdefault(integers[source[0].name], operation.outputs[0].name)
    return found


def _grid(dequantize: Operation, sources: Mapping[str, Operation], constants: Mapping[str, Any]) -> StoredGrid | None:
    """Returns the grid of a dequantize operator with one scale, else None."""
    import numpy as np

    def constant(name: str) -> NDArray[Any] | None:
        given = dequantize.inputs.get(name, ())
        if not given:
            return None
        item = constants.get(given[0].name) if isinstance(given[0], Reference) else given[0]
        return None if item is None else np.asarray(item)

    scale, zero = constant("scale"), constant("zero_point")
    integers = dequantize.inputs["input"][0]
    source = sources.get(integers.name) if isinstance(integers, Reference) else None
    limits = _LIMITS.get(source.outputs[0].type.dtype) if source is not None else None
    if scale is None or scale.size != 1 or limits is None:
        return None
    zero_point = 0 if zero is None else int(zero.reshape(-1)[0])
    return StoredGrid(scale=float(scale.reshape(-1)[0]), zero_point=zero_point, least=limits[0], largest=limits[1])
