"""Writes an exported torch program as a .npz: its weights, and its operators as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np

from edgekit.converters.base import Conversion, ConversionRequest, Converter
from edgekit.errors import ConversionError
from edgekit.model import CapturedKind
from edgekit.recipe import Recipe
from edgekit.workers.worker import Progress

OPERATORS = {
    "aten.linear.default": "linear",
    "aten.relu.default": "relu",
    "aten.sigmoid.default": "sigmoid",
    "aten.tanh.default": "tanh",
    "aten.add.Tensor": "add",
    "aten.mul.Tensor": "mul",
    "aten.cat.default": "cat",
}
"""What the session in npz_session.py can run."""


@final
class NpzConverter(Converter):
    """Weights as float32 or float16, operators as a list."""

    runtime: ClassVar[str] = "npz"

    def why_not(self, kind: CapturedKind, recipe: Recipe) -> str | None:
        """Returns why a model of this kind cannot be converted with this recipe, or None if it can."""
        if kind != "pt2":
            return f"it takes torch programs, and this is a {kind} file"
        if recipe.default not in ("fp32", "fp16") or recipe.overrides:
            return "it stores 32-bit or 16-bit floats and nothing else. Use --precision fp32 or fp16."
        return None

    def convert(self, request: ConversionRequest, output: Path, progress: Progress) -> Conversion:
        """Writes the archive.

        Raises:
            ConversionError: an operator that the session does not know; it is named.
        """
        from edgekit.torch_program.program_archive import load_program

        progress("reading the program", None)
        program = load_program(request.model.path, request.model.source)
        stored = np.float16 if request.recipe.default == "fp16" else np.float32
        tensors = {**program.state_dict, **program.constants}
        names = {**program.graph_signature.inputs_to_parameters, **program.graph_signature.inputs_to_buffers}
        weights = {key: tensors[name].detach().numpy().astype(stored) for key, name in sorted(names.items())}
        operators = [
            _operator(node, request.model.source) for node in program.graph.nodes if node.op == "call_function"
        ]
        graph = {
            "inputs": [
                {**spec.to_json(), "value": value}
                for spec, value in zip(request.model.inputs, program.graph_signature.user_inputs, strict=True)
            ],
            "outputs": [
                {**spec.to_json(), "value": value}
                for spec, value in zip(request.model.outputs, program.graph_signature.user_outputs, strict=True)
            ],
            "operators": operators,
            "metadata": dict(sorted(request.metadata.items())),
        }
        progress("writing the archive", None)
        with output.open("wb") as stream:  # an open file, because NumPy would add a suffix to a path without it
            np.savez(stream, graph=np.frombuffer(json.dumps(graph).encode(), np.uint8), **weights)
        return Conversion(
            inputs=request.model.inputs,
            outputs=request.model.outputs,
            operators=Counter(operator["kind"] for operator in operators),
        )


def _operator(node: Any, source: str) -> dict[str, Any]:
    kind = OPERATORS.get(str(node.target))
    if kind is None:
        raise ConversionError(
            f"{source} cannot become npz: nothing runs {node.target} ({node.name}). "
            "Replace that part of the model, or choose another format."
        )
    plain: Callable[[Any], Any] = lambda value: {"value": value.name} if hasattr(value, "all_input_nodes") else value  # noqa: E731
    arguments = [[plain(item) for item in arg] if isinstance(arg, (list, tuple)) else plain(arg) for arg in node.args]
    return {"name": node.name, "kind": kind, "arguments": arguments}
