"""What files say by themselves, read by hand: the formats' own suites hold it against their runtimes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.validators.stored_facts.facts import read_stored_facts


def onnx_file(path: Path) -> Path:
    """Writes a file with a float product, one of stored integers between grids, a dynamic one and a plain one."""
    float_weight = np.ones((8, 6), np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "in float"),
        helper.make_node("QuantizeLinear", ["a", "scale", "zero"], ["a_q"]),
        helper.make_node("DequantizeLinear", ["a_q", "scale", "zero"], ["a_dq"]),
        helper.make_node("DequantizeLinear", ["v", "scale", "zero"], ["v_dq"]),
        helper.make_node("Transpose", ["v_dq"], ["v_t"], perm=[1, 0]),
        helper.make_node("MatMul", ["a_dq", "v_t"], ["b"], "in integers"),
        helper.make_node("MatMul", ["b", "v_t"], ["c"], "stored"),
        helper.make_node("MatMulInteger", ["a_q", "v"], ["d"], "dynamic"),
        helper.make_node("MatMul", ["b", "c"], ["e"], "of two activations"),
        helper.make_node("MatMul", ["e", "u"], ["column"], "to one column"),
        helper.make_node("MatMul", ["column", "t"], ["y"], "a column times a row"),
    ]
    constants = {
        "w": float_weight,
        "v": np.ones((6, 6), np.int8),
        "u": np.ones((6, 1), np.float32),
        "t": np.ones((1, 6), np.float32),
        "scale": np.float32(0.1),
        "zero": np.int8(0),
    }
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [6, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [6, 6])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    helper.set_model_props(model, {"labels": "cat", "edgekit.precision": "int8-static"})
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("zero", [np.int8(-3), np.int8(127), np.uint8(0), np.uint8(200)], ids=str)
@pytest.mark.parametrize("raw", [True, False], ids=["raw", "numbers"])
def test_the_zero_point_of_what_a_product_reads_is_known(tmp_path: Path, zero: Any, raw: bool) -> None:
    path = onnx_file(tmp_path / "net.onnx")
    model = onnx.load(path)
    (tensor,) = (one for one in model.graph.initializer if one.name == "zero")
    kind = TensorProto.INT8 if zero.dtype == np.int8 else TensorProto.UINT8
    tensor.CopyFrom(helper.make_tensor("zero", kind, [], zero.tobytes() if raw else [int(zero)], raw=raw))
    onnx.save(model, path)
    facts = read_stored_facts("onnx", path)
    assert facts is not None
    assert (facts.operators[1].dtype, facts.operators[1].zero_point) == (str(zero.dtype), int(zero))


def test_an_onnx_file_says_what_its_products_store(tmp_path: Path) -> None:
    facts = read_stored_facts("onnx", onnx_file(tmp_path / "net.onnx"))
    assert facts is not None
    assert facts.metadata == {"labels": "cat", "edgekit.precision": "int8-static"}
    assert [(x.name, x.arithmetic, x.weights, x.weight_bits) for x in facts.operators] == [
        ("in float", "float", 48, 32),
        ("in integers", "integer", 36, 8),
        ("stored", "float", 36, 8),
        ("dynamic", "dynamic", 36, 8),
    ]
    assert [(x.dtype, x.zero_point) for x in facts.operators] == [("", None), ("int8", 0), ("", None), ("", None)]
    assert not facts.is_exact


@pytest.mark.parametrize(
    ("runtime", "name"),
    [("onnx", "a.onnx"), ("tflite", "a.tflite"), ("executorch", "a.pte"), ("coreml", "a.mlpackage")],
)
@pytest.mark.parametrize("content", [b"", b"no model at all", bytes(4096), b"\xff" * 4096], ids=len)
def test_a_file_that_cannot_be_read_says_nothing(runtime: str, name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    facts = read_stored_facts(runtime, path)
    assert facts is None or (facts.operators, facts.metadata) == ((), {})


def test_a_file_that_is_cut_off_says_nothing(tmp_path: Path) -> None:
    content = onnx_file(tmp_path / "net.onnx").read_bytes()
    (tmp_path / "cut.onnx").write_bytes(content[: len(content) // 2])
    facts = read_stored_facts("onnx", tmp_path / "cut.onnx")
    assert facts is None or not facts.metadata


def test_a_format_without_a_reader_says_nothing(tmp_path: Path) -> None:
    assert read_stored_facts("nobody's", tmp_path / "a.xyz") is None


def test_no_runtime_is_imported(tmp_path: Path) -> None:
    import subprocess

    path = onnx_file(tmp_path / "net.onnx")
    program = (
        "import sys; from pathlib import Path; "
        "from edgekit.validators.stored_facts.facts import read_stored_facts; "
        f"assert read_stored_facts('onnx', Path({str(path)!r})) is not None; "
        "sys.exit(','.join(x for x in ('onnx', 'onnxruntime', 'torch', 'tensorflow') if x in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
