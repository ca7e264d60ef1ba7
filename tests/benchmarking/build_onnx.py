"""Builds a tiny ONNX file: x -> relu(x @ w). Run as a script: PATH [INPUTS]."""

from __future__ import annotations

import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

inputs = int(sys.argv[2]) if len(sys.argv) > 2 else 4
weights = np.random.default_rng(0).standard_normal((inputs, 3 if inputs == 4 else inputs)).astype(np.float32)
graph = helper.make_graph(
    [helper.make_node("MatMul", ["x", "w"], ["product"]), helper.make_node("Relu", ["product"], ["y"])],
    "tiny",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, inputs])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, weights.shape[1]])],
    [numpy_helper.from_array(weights, "w")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
helper.set_model_props(model, {"edgekit.precision": "fp32"})
onnx.save(model, sys.argv[1])
