"""Inner tensors of TFLite files, from LiteRT's interpreter with all tensors preserved.

The interpreter's own kernels run then, without the XNNPACK delegate, which keeps its inner tensors to itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, final

from edgekit.debugging.inspector import ArtifactInspector, InnerTensor, StoredGrid, grid_of, prepared, real_values
from edgekit.errors import MissingDependencyError
from edgekit.validators.runners import opened_artifact, tflite_session

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@final
class TFLiteInspector(ArtifactInspector):
    """One TFLite file.

    Args:
        path: The file.
        threads: That the interpreter may use.
    """

    how: ClassVar[str] = "LiteRT's own kernels with all tensors preserved (no XNNPACK delegate)"

    def __init__(self, path: Path, threads: int) -> None:
        self._path = path
        self._interpreter = _interpreter(path, threads)
        session = tflite_session.Session(self._interpreter, str(path))
        expected = opened_artifact.described_in(session.metadata)
        order, self._specs = opened_artifact.ordered(session.inputs, expected.get("inputs", []))
        self._session_order = [order.index(i) for i in range(len(order))]
        self._session = session
        details, operators = self._described()
        replaced = _conversions(operators, details)
        self._grids: dict[int, tuple[str, StoredGrid | None]] = {}
        tensors: list[InnerTensor] = []
        made = [(index, "input") for index in session.input_indices]
        made += [(int(index), str(item["op_name"])) for item in operators for index in item["outputs"]]
        for index, operator in made:
            if index in replaced or index in self._grids or index not in details:
                continue
            tensor = _described(details[index], operator)
            if tensor is not None:
                self._grids[index] = (tensor.name, tensor.grid)
                tensors.append(tensor)
        self.tensors = tuple(tensors)
        self.inputs = tuple(self._name(session.input_indices[k], replaced) for k in order)
        out_order, _ = opened_artifact.ordered(session.outputs, expected.get("outputs", []))
        self.outputs = tuple(self._name(session.output_indices[k], replaced) for k in out_order)

    def run(self, row: Sequence[NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """Returns the real values of all tensors, by name."""
        arrays = prepared(self._path, self._specs, row)
        self._session.run([arrays[i] for i in self._session_order])
        return {
            name: real_values(self._interpreter.get_tensor(index), grid) for index, (name, grid) in self._grids.items()
        }

    def _described(self) -> tuple[dict[int, Any], list[Any]]:
        """Returns what the interpreter knows of all tensors, by index, and of all operators."""
        try:
            details = {int(item["index"]): item for item in self._interpreter.get_tensor_details()}
            operators = self._interpreter._get_ops_details()  # noqa: SLF001
        except Exception as error:
            raise opened_artifact.foreign(
                error,
                self._path,
                f"{self._path.name} cannot be described by LiteRT: {opened_artifact.brief(error)} "
                "The file is damaged: copy or export it again.",
            ) from error
        return details, [item for item in operators if item["op_name"] != "DELEGATE"]

    def _name(self, index: int, replaced: dict[int, int]) -> str:
        while index in replaced:
            index = replaced[index]
        return self._grids[index][0] if index in self._grids else ""


def _interpreter(path: Path, threads: int) -> Any:
    opened_artifact.check_file(path)
    try:
        from ai_edge_litert import interpreter as litert
    except ImportError as error:
        raise MissingDependencyError(
            "ai-edge-litert is not installed, and only its interpreter shows what a TFLite file computes inside. "
            "Install it from the checkout: pip install -e '.[tflite]'"
        ) from error
    try:
        return litert.Interpreter(
            model_path=str(path),
            num_threads=threads,
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
    except (ValueError, RuntimeError) as error:
        raise opened_artifact.RunError(
            "ArtifactError",
            f"{path.name} cannot be loaded by LiteRT: {opened_artifact.brief(error)} Copy or export it again.",
        ) from error


def _conversions(operators: Sequence[Any], details: dict[int, Any]) -> dict[int, int]:
    """Returns tensor to the tensor that stands for it: a float one to its integers, which its readers read."""
    replaced: dict[int, int] = {}
    for item in operators:
        if item["op_name"] in ("QUANTIZE", "DEQUANTIZE"):
            source, result = int(item["inputs"][0]), int(item["outputs"][0])
            if _is_float(details.get(source)) and not _is_float(details.get(result)):
                replaced[source] = result
            elif _is_float(details.get(result)) and not _is_float(details.get(source)):
                replaced[result] = source
    return {index: to for index, to in replaced.items() if replaced.get(to) != index}


def _is_float(detail: Any) -> bool:
    import numpy as np

    return detail is not None and np.dtype(detail["dtype"]).kind == "f"


def _described(detail: Any, operator: str) -> InnerTensor | None:
    """Returns the tensor, None where its values are no real numbers (shapes, indices, a scale for each channel)."""
    import numpy as np

    scale, zero_point = detail["quantization"]
    grid = grid_of(scale, zero_point, np.dtype(detail["dtype"]).name)
    if grid is None and not _is_float(detail):
        return None
    # Two tensors may have one name; the index makes it the file's own.
    return InnerTensor(name=f"{detail['name']}#{detail['index']}", operator=operator, grid=grid)
