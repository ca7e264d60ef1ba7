"""Inner tensors of ExecuTorch programs: a copy of the program whose inner values are outputs too, in its own runtime.

The XNNPACK payloads are the artifact's own, weights and scales included; only which of their values are outputs is
changed, and the memory plan grows by a place for each.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, final

from edgekit.debugging.inspector import ArtifactInspector, InnerTensor, StoredGrid, grid_of, prepared, real_values
from edgekit.debugging.xnnpack_graph import InnerValue, XNNPACKGraph
from edgekit.errors import ArtifactError, MissingDependencyError
from edgekit.validators.runners import executorch_session, opened_artifact

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ALIGNMENT: Final = 64
_SCALAR_TYPES: Final = {name: number for number, name in executorch_session.DTYPES.items()}


@final
class ExecuTorchInspector(ArtifactInspector):
    """One program.

    Args:
        path: The file.
        threads: Size of the runtime's thread pool.
    """

    how: ClassVar[str] = "ExecuTorch's own runtime, inner values of the XNNPACK payload added as outputs"

    def __init__(self, path: Path, threads: int) -> None:
        opened_artifact.check_file(path)
        self._path = path
        try:
            tapped = _Tapped(path, path.read_bytes())
            runtime = executorch_session.Runtime(str(path), "", threads)
        except ImportError as error:
            raise MissingDependencyError(
                "executorch is not installed. Install it from the checkout: pip install -e '.[executorch]'"
            ) from error
        with tempfile.TemporaryDirectory(prefix="edgekit-debug-") as folder:
            copy = Path(folder) / "tapped.pte"
            copy.write_bytes(tapped.data)
            try:
                self._session: Any = runtime.open(str(copy))
            except Exception as error:  # the runtime raises many kinds, all of them with this meaning
                raise opened_artifact.foreign(
                    error,
                    path,
                    f"{path.name} cannot be loaded by ExecuTorch: {opened_artifact.brief(error)} "
                    "Copy or export it again.",
                ) from error
        expected = opened_artifact.described_in(self._session.metadata)
        order, self._specs = opened_artifact.ordered(self._session.inputs, expected.get("inputs", []))
        self._session_order = [order.index(i) for i in range(len(order))]
        count = len(self._session.outputs) - len(tapped.taps)
        out_order, out_specs = opened_artifact.ordered(self._session.outputs[:count], expected.get("outputs", []))
        inputs = tuple(
            InnerTensor(name=f"input_{k}", operator="input", grid=_spec_grid(spec))
            for k, spec in zip(order, self._specs, strict=True)
        )
        outputs = tuple(
            InnerTensor(name=f"output_{k}", operator="output", grid=_spec_grid(spec) or tapped.output_grids.get(k))
            for k, spec in zip(out_order, out_specs, strict=True)
        )
        replaced = tapped.quantized_inputs
        shown = [item for item in inputs if item.name not in replaced]
        self._taps = tuple(_tensor(tap, replaced) for tap in tapped.taps)
        self.tensors = (*shown, *self._taps, *outputs)
        self.inputs = tuple(item.name for item in inputs)
        self.outputs = tuple(item.name for item in outputs)
        self._in, self._out, self._out_order = inputs, outputs, out_order

    def run(self, row: Sequence[NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """Returns the real values of all tensors, by name."""
        arrays = prepared(self._path, self._specs, row)
        raw = self._session.run([arrays[i] for i in self._session_order])
        count = len(self._out)
        given = zip(self._in, arrays, strict=True)
        found = {item.name: real_values(array, item.grid) for item, array in given}
        for item, array in zip(self._taps, raw[count:], strict=True):
            found[item.name] = real_values(array, item.grid)
        for item, k in zip(self._out, self._out_order, strict=True):
            found[item.name] = real_values(raw[k], item.grid if raw[k].dtype.kind in "iu" else None)
        return found


def _spec_grid(spec: dict[str, Any]) -> StoredGrid | None:
    return grid_of(spec["scale"] or 0.0, spec["zero_point"] or 0, spec["dtype"])


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Tap:
    """An inner value that became an output; `name` says where it lies."""

    name: str
    value: InnerValue


def _tensor(tap: _Tap, replaced: dict[str, str]) -> InnerTensor:
    value = tap.value
    stands_for = next((name for name, other in replaced.items() if other == tap.name), None)
    return InnerTensor(
        name=stands_for or tap.name,
        operator="input" if stands_for else value.operator,
        grid=grid_of(value.scale, value.zero_point, value.dtype),
    )


@final
@dataclass(slots=True)
class _Tapped:
    """A program whose inner values are outputs.

    Attributes:
        path: The .pte file.
        program: Its contents.
        data: Contents of the changed file.
        taps: The further outputs, in their order.
        quantized_inputs: Float input to the tap of its integers, which the graph reads.
        output_grids: Place of a float output that was on a grid just before, to that grid.
    """

    path: Path
    program: bytes
    data: bytes = b""
    taps: list[_Tap] = field(default_factory=list[_Tap])
    quantized_inputs: dict[str, str] = field(default_factory=dict[str, str])
    output_grids: dict[int, StoredGrid] = field(default_factory=dict[int, StoredGrid])

    def __post_init__(self) -> None:
        from executorch.exir._serialize._program import deserialize_pte_binary, serialize_pte_binary

        try:
            file: Any = deserialize_pte_binary(self.program)
        except Exception as error:  # a damaged file raises whatever its decoder trips over
            raise opened_artifact.foreign(
                error,
                self.path,
                f"{self.path.name} cannot be read as a program: {opened_artifact.brief(error)} "
                "Copy or export it again.",
            ) from error
        plan = next((item for item in file.program.execution_plan if item.name == "forward"), None)
        if plan is None:
            raise ArtifactError("The program has no method forward. Export it with edgekit or torch.export.")
        for chain in plan.chains:
            for position, instruction in enumerate(chain.instructions):
                self._tap(file.program, plan, instruction.instr_args, position)
        self.data = bytes(serialize_pte_binary(file, extract_delegate_segments=True))

    def _tap(self, program: Any, plan: Any, call: Any, position: int) -> None:
        index = getattr(call, "delegate_index", None)
        if index is None or plan.delegates[index].id != "XnnpackBackend":
            return
        reference = plan.delegates[index].processed
        inline = program.backend_delegate_data[reference.index]
        graph = XNNPACKGraph(inline.data)
        inputs = _quantized_inputs(graph, plan, call.args)
        self.output_grids |= _output_grids(graph, plan, call.args)
        chosen = [value for value in graph.values if not _is_relabelled(graph, value)]
        for value in chosen:
            tap = _Tap(name=f"xnnpack{position}.{value.identifier}", value=value)
            self.taps.append(tap)
            call.args.append(_add_output(plan, value))
            if value.identifier in inputs:
                self.quantized_inputs[inputs[value.identifier]] = tap.name
        inline.data = graph.with_outputs(chosen)


def _quantized_inputs(graph: XNNPACKGraph, plan: Any, arguments: Sequence[int]) -> dict[int, str]:
    """Returns the graph's number of each value that holds the integers of a program's input, to its name."""
    found: dict[int, str] = {}
    for place, identifier in graph.external_values().items():
        if place < len(arguments) and arguments[place] in plan.inputs:
            converted = [result for kind, result in graph.readers(identifier) if kind == "XNNConvert"]
            if converted:
                found[converted[0]] = f"input_{plan.inputs.index(arguments[place])}"
    return found


def _output_grids(graph: XNNPACKGraph, plan: Any, arguments: Sequence[int]) -> dict[int, StoredGrid]:
    """Returns the grids on which outputs of the program lie that are turned into floats at the end, by place."""
    by_identifier = {value.identifier: value for value in graph.values}
    found: dict[int, StoredGrid] = {}
    for place, identifier in graph.external_values().items():
        source = graph.source(identifier)
        if source is None or source[0] != "XNNConvert" or arguments[place] not in plan.outputs:
            continue
        value = by_identifier.get(source[1])
        grid = grid_of(value.scale, value.zero_point, value.dtype) if value is not None else None
        if grid is not None:
            found[plan.outputs.index(arguments[place])] = grid
    return found


def _is_relabelled(graph: XNNPACKGraph, value: InnerValue) -> bool:
    """Returns True for a float value that only goes into a grid: its integers stand for it."""
    readers = graph.readers(value.identifier)
    return not value.scale and bool(readers) and all(kind == "XNNConvert" for kind, _ in readers)


def _add_output(plan: Any, value: InnerValue) -> int:
    """Adds a tensor with memory of its own to the program and its outputs. Returns its index."""
    import math

    import numpy as np
    from executorch.exir import schema
    from executorch.exir.scalar_type import ScalarType

    start = plan.non_const_buffer_sizes[1] + -plan.non_const_buffer_sizes[1] % _ALIGNMENT
    size = math.prod(value.shape) * np.dtype(value.dtype).itemsize
    plan.non_const_buffer_sizes[1] = start + size + _ALIGNMENT
    tensor = schema.Tensor(
        scalar_type=ScalarType(_SCALAR_TYPES[value.dtype]),
        storage_offset=0,
        sizes=list(value.shape),
        dim_order=list(range(len(value.shape))),
        requires_grad=False,
        layout=0,
        data_buffer_idx=0,
        allocation_info=schema.AllocationDetails(
            memory_id=1, memory_offset_low=start & 0xFFFFFFFF, memory_offset_high=start >> 32
        ),
        shape_dynamism=schema.TensorShapeDynamism.STATIC,
    )
    plan.values.append(schema.EValue(tensor))
    plan.outputs.append(len(plan.values) - 1)
    return len(plan.values) - 1
