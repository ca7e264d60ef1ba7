"""Costed graphs of TFLite files, written here by hand with the schema."""

from __future__ import annotations

import re

import numpy as np
import pytest

from edgekit.analysis.analyze import analyze
from edgekit.analysis.read_flatbuffer import read_flatbuffer
from edgekit.errors import ModelError

flatbuffers = pytest.importorskip("flatbuffers")
schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
RNG = np.random.default_rng(0)
TYPES = {"float32": schema.TensorType.FLOAT32, "int8": schema.TensorType.INT8, "int32": schema.TensorType.INT32}


def tflite(tensors, operators, inputs, outputs):
    """Returns a file's bytes.

    `tensors`: (name, shape, dtype, values or None). `operators`: (builtin name, inputs, outputs, options or None).
    """
    model = schema.ModelT()
    model.version = 3
    graph = schema.SubGraphT()
    model.subgraphs, model.buffers, model.operatorCodes = [graph], [schema.BufferT()], []
    graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [], inputs, outputs
    for name, shape, dtype, values in tensors:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, shape, TYPES[dtype], len(model.buffers)
        buffer = schema.BufferT()
        if values is not None:
            buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        model.buffers.append(buffer)
        graph.tensors.append(tensor)
    for kind, reads, writes, options in operators:
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, kind)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = len(model.operatorCodes), reads, writes
        if options is not None:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
            operator.builtinOptions = options
        model.operatorCodes.append(code)
        graph.operators.append(operator)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def weight(*shape, dtype="float32"):
    return (RNG.standard_normal(shape) * 10).astype(dtype)


def cnn(dtype="float32"):
    conv = schema.Conv2DOptionsT()
    conv.strideH = conv.strideW = 2
    conv.fusedActivationFunction = schema.ActivationFunctionType.RELU6
    tensors = [
        ("x", [1, 16, 16, 3], dtype, None),
        ("w", [8, 3, 3, 3], dtype, weight(8, 3, 3, 3, dtype=dtype)),
        ("b", [8], "int32" if dtype == "int8" else "float32", weight(8, dtype="int32" if dtype == "int8" else dtype)),
        ("c", [1, 8, 8, 8], dtype, None),
        ("dw", [1, 3, 3, 8], dtype, weight(1, 3, 3, 8, dtype=dtype)),
        ("d", [1, 8, 8, 8], dtype, None),
        ("fw", [5, 512], dtype, weight(5, 512, dtype=dtype)),
        ("r", [1, 512], dtype, None),
        ("y", [1, 5], dtype, None),
    ]
    operators = [
        ("CONV_2D", [0, 1, 2], [3], conv),
        ("DEPTHWISE_CONV_2D", [3, 4, -1], [5], schema.DepthwiseConv2DOptionsT()),
        ("RESHAPE", [5], [7], None),
        ("FULLY_CONNECTED", [7, 6, -1], [8], schema.FullyConnectedOptionsT()),
    ]
    return tflite(tensors, operators, [0], [8])


def test_a_cnn_is_read(tmp_path):
    (tmp_path / "net.tflite").write_bytes(cnn())
    found = analyze("tflite", tmp_path / "net.tflite")
    assert [(o.kernel, o.macs) for o in found.operators] == [
        ("dense_conv", 8 * 8 * 8 * 27), ("depthwise_conv", 8 * 8 * 8 * 9), ("linear", 5 * 512),
    ]  # fmt: skip
    assert found.operators[0].name == "CONV_2D_0+RELU6"
    assert found.operators[0].attributes == {"kernel_h": 3, "kernel_w": 3, "stride_h": 2, "stride_w": 2, "groups": 1}
    assert found.weights["dw"].channels == 8
    assert found.parameters == 8 * 27 + 8 + 72 + 5 * 512
    assert found.family == "cnn"


def test_integers_take_a_quarter_of_the_memory():
    float_, integer = read_flatbuffer(cnn(), "a"), read_flatbuffer(cnn("int8"), "b")
    assert float_.memory.live_peak_bytes == 4 * integer.memory.live_peak_bytes


def test_weights_behind_dequantize_are_weights():
    tensors = [
        ("x", [1, 4], "float32", None),
        ("packed", [3, 4], "int8", weight(3, 4, dtype="int8")),
        ("w", [3, 4], "float32", None),
        ("y", [1, 3], "float32", None),
    ]
    operators = [("DEQUANTIZE", [1], [2], None), ("FULLY_CONNECTED", [0, 2, -1], [3], schema.FullyConnectedOptionsT())]
    (linear,) = read_flatbuffer(tflite(tensors, operators, [0], [3]), "a").operators
    assert (linear.kernel, linear.weights, linear.macs) == ("linear", ("packed",), 12)


def test_tensors_of_one_name_are_distinguished():
    tensors = [("t", [1, 4], "float32", None), ("t", [1, 4], "float32", None)]
    found = read_flatbuffer(tflite(tensors, [("TANH", [0], [1], None)], [0], [1]), "a")
    assert sorted(found.tensors) == ["t", "t#1"]


def test_other_bytes_are_refused():
    with pytest.raises(ModelError) as caught:
        read_flatbuffer(b"PK\x03\x04nope", "net.tflite")
    assert caught.value.message == "net.tflite: not a TFLite file: bytes 4 to 8 are b'nope'; expected b'TFL3'."


def test_a_truncated_file_is_refused():
    with pytest.raises(ModelError) as caught:
        read_flatbuffer(cnn()[:200], "net.tflite")
    pattern = r"net\.tflite: the TFLite file is damaged: (?s:.+)\. Expected a complete flatbuffer\."
    assert re.fullmatch(pattern, caught.value.message)
