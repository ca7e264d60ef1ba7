"""Costs of Core ML models from their own graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.analysis.graph import Analysis
from edgekit.validators.coreml_evaluator.read_costs import read_costs

ct = pytest.importorskip("coremltools")
mb = ct.converters.mil.Builder

pytestmark = pytest.mark.filterwarnings("ignore")


def ones(*shape: int) -> Any:
    return np.ones(shape, np.float32)


def saved(program: Any, folder: Path, *, precision: Any = None, ranges: Any = None) -> Path:
    """Writes a package of a MIL program, its input `x` with other sizes where `ranges` has some."""
    inputs = None if ranges is None else [ct.TensorType(name="x", shape=ct.Shape(ranges))]
    model = ct.convert(
        program,
        inputs=inputs,
        minimum_deployment_target=ct.target.iOS18,
        compute_precision=precision or ct.precision.FLOAT32,
        skip_model_load=True,
    )
    path = folder / "model.mlpackage"
    model.save(str(path))
    return path


def work(analysis: Analysis) -> list[tuple[str, str, int]]:
    return [(item.type, item.kernel, item.macs) for item in analysis.operators]


def test_products_have_their_multiply_accumulates_and_weights(tmp_path):
    @mb.program(input_specs=[mb.TensorSpec((1, 4, 8, 8))], opset_version=ct.target.iOS18)
    def program(x):
        y = mb.conv(x=x, weight=ones(6, 4, 3, 3), strides=[2, 2], pad_type="same", bias=np.arange(6, dtype=np.float32))
        y = mb.relu(x=y)
        y = mb.conv(x=y, weight=ones(6, 1, 3, 3), groups=6, pad_type="same")
        y = mb.conv_transpose(x=y, weight=ones(6, 2, 2, 2), strides=[2, 2])
        y = mb.reshape(x=mb.reduce_mean(x=y, axes=[2, 3]), shape=[1, 2])
        return mb.softmax(x=mb.linear(x=y, weight=ones(5, 2), bias=ones(5)), axis=-1)

    analysis, precisions = read_costs(saved(program, tmp_path), {})
    assert work(analysis) == [
        ("conv", "dense_conv", 6 * 4 * 9 * 16),
        ("conv", "depthwise_conv", 6 * 9 * 16),
        ("conv_transpose", "dense_conv", 6 * 2 * 4 * 16),
        ("reduce_mean", "pooling", 0),
        ("linear", "linear", 10),
        ("softmax", "normalization", 0),
    ]
    assert analysis.operators[0].fused == ("relu",)
    assert analysis.operators[0].attributes["stride_h"] == 2
    assert analysis.parameters == 6 * 4 * 9 + 6 + 6 * 9 + 6 * 2 * 4 + 10 + 5
    assert set(precisions.values()) == {"fp32"}
    assert [analysis.tensors[name].shape for name in analysis.inputs] == [(1, 4, 8, 8)]


def test_products_of_activations_tables_and_layers_with_a_state_of_their_own(tmp_path):
    @mb.program(input_specs=[mb.TensorSpec((7, 1, 4)), mb.TensorSpec((3,), dtype=ct.converters.mil.mil.types.int32)])
    def program(x, ids):
        hidden, _, _ = mb.lstm(
            x=x, initial_h=ones(1, 2), initial_c=ones(1, 2), weight_ih=ones(8, 4), weight_hh=ones(8, 2),
            output_sequence=True,
        )  # fmt: skip
        rows = mb.gather(x=np.arange(20, dtype=np.float32).reshape(10, 2), indices=ids, axis=0)
        product = mb.matmul(x=mb.reshape(x=hidden, shape=[7, 2]), y=rows, transpose_y=True)
        return mb.transpose(x=product, perm=[1, 0])

    analysis, _ = read_costs(saved(program, tmp_path), {})
    assert ("lstm", "recurrent", 7 * (8 * 4 + 8 * 2)) in work(analysis)
    assert ("matmul", "attention_matmul", 7 * 3 * 2) in work(analysis)
    assert [item.type for item in analysis.operators if item.kernel == "embedding"] == ["gather"]
    assert [item.type for item in analysis.operators if item.kernel == "data_movement"] == ["transpose"]


def test_integer_layers_are_those_between_grids(tmp_path):
    @mb.program(input_specs=[mb.TensorSpec((1, 4))], opset_version=ct.target.iOS18)
    def program(x):
        grid = mb.dequantize(
            input=mb.quantize(input=x, scale=np.float32(0.1), output_dtype="int8"), scale=np.float32(0.1)
        )
        weight = mb.constexpr_blockwise_shift_scale(data=np.ones((3, 4), np.int8), scale=ones(3, 1))
        return mb.linear(x=mb.tanh(x=mb.linear(x=grid, weight=weight)), weight=ones(2, 3))

    analysis, precisions = read_costs(saved(program, tmp_path), {})
    assert [(item.type, precisions[item.name]) for item in analysis.operators] == [
        ("linear", "int8_static"), ("tanh", "fp32"), ("linear", "fp32"),
    ]  # fmt: skip
    kernels = [item for item in analysis.weights.values() if item.role == "kernel"]
    assert [(item.dtype, item.channels) for item in kernels] == [("int8", 3), ("float32", 2)]


def test_stored_weights_alone_are_no_integer_arithmetic(tmp_path):
    @mb.program(input_specs=[mb.TensorSpec((1, 4))], opset_version=ct.target.iOS18)
    def program(x):
        weight = mb.constexpr_blockwise_shift_scale(data=np.ones((3, 4), np.int8), scale=ones(3, 1))
        return mb.linear(x=x, weight=weight)

    _, precisions = read_costs(saved(program, tmp_path), {})
    assert list(precisions.values()) == ["int8_weights"]


def test_open_sizes_are_those_that_are_given_or_count_as_one(tmp_path):
    @mb.program(input_specs=[mb.TensorSpec((1, 3, ct.converters.mil.mil.get_new_symbol(), 8))])
    def program(x):
        return mb.conv(x=x, weight=ones(2, 3, 1, 1))

    path = saved(program, tmp_path, ranges=(1, 3, ct.RangeDim(8, 32, default=8), 8))
    analysis, _ = read_costs(path, {"x": (1, 3, 16, 8)})
    assert (analysis.macs, analysis.notes) == (2 * 3 * 16 * 8, ())
    analysis, _ = read_costs(path, {})
    assert analysis.macs == 2 * 3 * 8
    assert analysis.notes == ("x: its sizes are not known from the file; open ones count as 1.",)


def test_sixteen_bits_are_named(tmp_path):
    @mb.program(input_specs=[mb.TensorSpec((1, 4))])
    def program(x):
        return mb.linear(x=x, weight=ones(3, 4))

    _, precisions = read_costs(saved(program, tmp_path, precision=ct.precision.FLOAT16), {})
    assert precisions["linear_0_cast_fp16"] == "fp16"
