"""Inner tensors of ONNX files: a copy of the file whose inner tensors are outputs too, run by onnxruntime.

Tensors on grids are read as the integers between QuantizeLinear and DequantizeLinear. So no value between them becomes
an output, and onnxruntime still makes one integer kernel of dequantize, convolution, clamp and quantize, as it does for
the file itself.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, final

from edgekit.debugging.inspector import ArtifactInspector, InnerTensor, StoredGrid, grid_of, prepared, real_values
from edgekit.errors import MissingDependencyError
from edgekit.validators.runners import onnx_session, opened_artifact

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

_CLAMPS: Final = frozenset({"Clip", "HardSigmoid", "HardSwish", "LeakyRelu", "Relu"})
"""What onnxruntime merges with the operator before it."""


@final
class ONNXInspector(ArtifactInspector):
    """One ONNX file.

    Args:
        path: The file.
        threads: That onnxruntime may use.
    """

    how: ClassVar[str] = "onnxruntime, inner tensors added as outputs"

    def __init__(self, path: Path, threads: int) -> None:
        opened_artifact.check_file(path)
        self._path = path
        model, graph = _read(path)
        self._taps = graph.taps()
        self.tensors = tuple(tensor for tensor, _ in self._taps)
        with tempfile.TemporaryDirectory(prefix="edgekit-debug-") as folder:
            tapped = Path(folder) / "tapped.onnx"
            graph.write(model, [value for _, value in self._taps], tapped)
            session = _open(tapped, path, threads)
        self._session = session
        self._outputs = [spec["name"] for spec in session.outputs]
        expected = opened_artifact.described_in(session.metadata)
        order, self._specs = opened_artifact.ordered(session.inputs, expected.get("inputs", []))
        self._session_order = [order.index(i) for i in range(len(order))]
        self.inputs = tuple(graph.tensor_of(session.inputs[k]["name"]) for k in order)
        own = [spec for spec in session.outputs if spec["name"] in graph.outputs]
        out_order, _ = opened_artifact.ordered(own, expected.get("outputs", []))
        self.outputs = tuple(graph.tensor_of(own[k]["name"]) for k in out_order)

    def run(self, row: Sequence[NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """Returns the real values of all tensors, by name."""
        arrays = prepared(self._path, self._specs, row)
        values = dict(zip(self._outputs, self._session.run([arrays[i] for i in self._session_order]), strict=True))
        given = {spec["name"]: array for spec, array in zip(self._specs, arrays, strict=True)}
        found: dict[str, NDArray[np.float32]] = {}
        for tensor, value in self._taps:
            array = values[value] if value in values else given.get(value)
            if array is not None and (tensor.grid is not None or array.dtype.kind == "f"):
                found[tensor.name] = real_values(array, tensor.grid)
        return found


@final
class _Graph:
    """The main graph of an ONNX model, indexed."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        from onnx import numpy_helper

        self._graph = graph
        self.outputs = [value.name for value in graph.output]
        self.inputs = [value.name for value in graph.input]
        self._constants = {item.name: item for item in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
                self._constants[node.output[0]] = node.attribute[0].t
        self._array: Callable[[onnx.TensorProto], NDArray[Any]] = numpy_helper.to_array
        self._producer = {name: node for node in graph.node for name in node.output}
        self._users: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self._users.setdefault(name, []).append(node)

    def taps(self) -> list[tuple[InnerTensor, str]]:
        """Returns (tensor, value to read it from), in order of execution."""
        found = [
            (InnerTensor(name=name, operator="input", grid=self._read_grid(name)), name)
            for name in self.inputs
            if name not in self._constants and not self._quantizer(name)
        ]
        for node in self._graph.node:
            if node.op_type == "QuantizeLinear":
                if node.input[0] not in self._constants:
                    found.append((self._quantized(node), node.output[0]))
            elif node.op_type not in ("DequantizeLinear", "Constant"):
                found += [
                    (InnerTensor(name=name, operator=node.op_type), name)
                    for name in node.output
                    if name and not self._is_merged(name)
                ]
        return found

    def tensor_of(self, name: str) -> str:
        """Returns the name of the tensor that has the value `name`: a dequantized one is called as before."""
        producer = self._producer.get(name)
        while producer is not None and producer.op_type in ("DequantizeLinear", "QuantizeLinear"):
            name = producer.input[0]
            producer = self._producer.get(name)
        return name

    def write(self, model: onnx.ModelProto, values: Sequence[str], path: Path) -> None:
        """Writes the model with more outputs."""
        import onnx

        known = {*self.outputs, *self.inputs}
        self._graph.output.extend(onnx.helper.make_empty_tensor_value_info(v) for v in values if v not in known)
        onnx.save(model, str(path), save_as_external_data=model.ByteSize() > 1 << 30, location="weights.bin")

    def _quantized(self, node: onnx.NodeProto) -> InnerTensor:
        """Returns the tensor on the grid with which its reader reads it, which a broken file may tell otherwise."""
        source = self._producer.get(node.input[0])
        grid = self._read_grid(node.output[0]) or self._grid(node)
        return InnerTensor(name=node.input[0], operator=source.op_type if source else "input", grid=grid)

    def _read_grid(self, name: str) -> StoredGrid | None:
        reader = next((user for user in self._users.get(name, []) if user.op_type == "DequantizeLinear"), None)
        return self._grid(reader) if reader is not None else None

    def _grid(self, node: onnx.NodeProto) -> StoredGrid | None:
        scale = self._constant(node.input[1])
        zero = self._constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        if scale is None or scale.size != 1:
            return None
        dtype = "uint8" if zero is None else str(zero.dtype)
        return grid_of(float(scale.reshape(-1)[0]), 0 if zero is None else int(zero.reshape(-1)[0]), dtype)

    def _constant(self, name: str) -> NDArray[Any] | None:
        item = self._constants.get(name)
        return None if item is None else self._array(item)

    def _quantizer(self, name: str) -> onnx.NodeProto | None:
        return next((user for user in self._users.get(name, []) if user.op_type == "QuantizeLinear"), None)

    def _is_merged(self, name: str) -> bool:
        """Returns True for a value that goes into a grid, itself or through one clamp that reads nothing else."""
        if self._quantizer(name) is not None:
            return True
        users = self._users.get(name, [])
        if len(users) != 1 or name in self.outputs or users[0].op_type not in _CLAMPS:
            return False
        return self._quantizer(users[0].output[0]) is not None


def _read(path: Path) -> tuple[onnx.ModelProto, _Graph]:
    try:
        import onnx
    except ImportError as error:
        raise MissingDependencyError(
            "onnx is not installed. Install it from the checkout: pip install -e '.[onnx]'"
        ) from error
    try:
        model = onnx.load(str(path))
    except Exception as error:  # protobuf raises what its implementation likes
        raise opened_artifact.foreign(
            error, path, f"{path.name} cannot be read as ONNX: {opened_artifact.brief(error)} Copy or export it again."
        ) from error
    return model, _Graph(model.graph)


def _open(tapped: Path, path: Path, threads: int) -> onnx_session.Session:
    try:
        return onnx_session.Runtime(str(tapped), "", threads).open(str(tapped))
    except ImportError as error:
        raise MissingDependencyError(
            "onnxruntime is not installed. Install it from the checkout: pip install -e '.[onnx]'"
        ) from error
    except Exception as error:
        raise opened_artifact.foreign(
            error,
            path,
            f"{path.name} cannot be loaded by onnxruntime: {opened_artifact.brief(error)} Copy or export it again.",
        ) from error
