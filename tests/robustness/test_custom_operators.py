"""A TFLite file with operators of its own: nothing is loaded for them, and the message names them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.runtime


def write_custom(path: Path, name: str) -> None:
    """Writes a model whose only operator is a custom one."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    graph, operator, code, model = schema.SubGraphT(), schema.OperatorT(), schema.OperatorCodeT(), schema.ModelT()
    graph.tensors = []
    for tensor_name in ("x", "y"):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = tensor_name, [1, 4], schema.TensorType.FLOAT32, 0
        graph.tensors.append(tensor)
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0], [1]
    graph.inputs, graph.outputs, graph.operators = [0], [1], [operator]
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode, code.version = name, 1
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], [schema.BufferT()]
    builder = flatbuffers.Builder(256)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path.write_bytes(bytes(builder.Output()))


@pytest.mark.parametrize("name", ["FlexPyFunc", "ReadSecrets"])
@pytest.mark.parametrize("command", ["plan", "validate"])
def test_a_custom_operator_is_refused_by_name_and_nothing_runs(tmp_path: Path, name: str, command: str) -> None:
    write_custom(tmp_path / "net.tflite", name)
    # A library that lies beside the file is not looked for, whatever it is called.
    (tmp_path / f"lib{name}.so").write_bytes(b"\x7fELF")
    arguments = [
        command,
        "net.tflite",
        "--device",
        "pi4",
        *(["--without", "accuracy"] if command == "validate" else []),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "edgekit", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "edgekit: net.tflite (" in done.stderr
    assert "cannot be loaded by ai-edge-litert" in done.stderr
    assert name in done.stderr
    assert "Traceback" not in done.stderr
