"""Dynamic linear layers of ONNX files on graphs of a few nodes: which operators they become, and what these compute."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekit.converters.onnx_source import OnnxFloatGraph
from edgekit.converters.onnx_weights import quantize_weights
from edgekit.recipe import Recipe
from edgekit.samples import write_samples

pytestmark = pytest.mark.runtime

ROWS, WIDTH, OUTPUTS = 6, 32, 400


def weights(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(shape).normal(size=shape).astype(np.float32)


def graph(
    *nodes: tuple[str, str, str], tensors: Mapping[str, NDArray[Any]], shape: tuple[int, ...] = (1, ROWS, WIDTH)
) -> Any:
    """Returns a model from (operator, inputs, output) triples; it reads `x` and writes `y`."""
    import onnx

    made = [onnx.helper.make_node(kind, reads.split(), [writes], name=writes) for kind, reads, writes in nodes]
    kind = onnx.TensorProto.FLOAT
    body = onnx.helper.make_graph(
        made,
        "small",
        [onnx.helper.make_tensor_value_info("x", kind, shape)],
        [onnx.helper.make_tensor_value_info("y", kind, None)],
        [onnx.numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    return onnx.helper.make_model(body, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)


def quantized(model: Any, samples: Path | None = None) -> tuple[Counter[str], Any]:
    """Returns the operators of the dynamic INT8 model, and the model; the float one is left alone."""
    copied = type(model)()
    copied.CopyFrom(model)
    source = OnnxFloatGraph(model=copied, modules={node.name: node.name for node in copied.graph.node})
    made = quantize_weights(source, Recipe(default="int8_dynamic"), [], samples)
    return Counter(node.op_type for node in made.graph.node), made


def run(model: Any, x: NDArray[np.float32]) -> NDArray[np.float32]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")  # exact without VNNI too
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0], np.float32)


def decibels(model: Any, made: Any, x: NDArray[np.float32]) -> float:
    expected = run(model, x)
    return float(10 * np.log10((expected**2).sum() / ((run(made, x) - expected) ** 2).sum()))


def rows_of_sizes(low: float, high: float) -> NDArray[np.float32]:
    """Returns (1, ROWS, WIDTH) whose rows grow from `low` to `high`, off the middle."""
    return ((weights(1, ROWS, WIDTH) + 1) * np.geomspace(low, high, ROWS)[:, None]).astype(np.float32)


LINEAR = (("MatMul", "x w", "product"), ("Add", "product b", "y"))
TENSORS = {"w": weights(WIDTH, OUTPUTS), "b": weights(OUTPUTS)}


def test_rows_of_different_size_have_ranges_of_their_own_and_the_bias_is_added_with_the_offset() -> None:
    model = graph(*LINEAR, tensors=TENSORS)
    counts, made = quantized(model)
    assert (counts["MatMulIntegerToFloat"], counts["QuantizeLinear"], counts["Add"]) == (1, 1, 1)
    assert decibels(model, made, rows_of_sizes(0.01, 100)) > 38


def test_a_row_of_equal_values_is_exact_but_for_the_weights() -> None:
    model = graph(*LINEAR, tensors=TENSORS)
    _, made = quantized(model)
    assert decibels(model, made, np.full((1, ROWS, WIDTH), 3, np.float32)) > 38
    assert np.allclose(run(made, np.zeros((1, ROWS, WIDTH), np.float32)), TENSORS["b"])


def test_layers_with_and_without_a_bias_share_their_input() -> None:
    model = graph(
        *(("MatMul", "x w", "product"), ("Add", "product b", "left"), ("MatMul", "x v", "right")),
        ("Sub", "left right", "y"),
        tensors={**TENSORS, "v": weights(WIDTH, OUTPUTS)[::-1].copy()},
    )
    counts, made = quantized(model)
    assert (counts["MatMulIntegerToFloat"], counts["QuantizeLinear"]) == (2, 1)
    assert decibels(model, made, rows_of_sizes(0.1, 10)) > 35


def test_one_row_needs_no_small_operators() -> None:
    model = graph(*LINEAR, tensors=TENSORS, shape=(1, WIDTH))
    counts, made = quantized(model)
    assert counts == {"DynamicQuantizeMatMul": 1}
    assert decibels(model, made, weights(1, WIDTH)) > 35


def test_what_an_attention_puts_out_has_one_range() -> None:
    shares = np.full((1, ROWS, ROWS), 1, np.float32)
    model = graph(
        *(("Mul", "x x", "values"), ("Softmax", "given", "shares"), ("MatMul", "shares values", "mixed")),
        *(("Transpose", "mixed", "turned"), ("Transpose", "turned", "back")),
        *(("MatMul", "back w", "product"), ("Add", "product b", "y")),
        tensors={**TENSORS, "given": shares},
    )
    assert quantized(model)[0]["DynamicQuantizeMatMul"] == 1
    other = graph(
        ("Mul", "x x", "values"), ("MatMul", "values w", "product"), ("Add", "product b", "y"), tensors=TENSORS
    )
    assert quantized(other)[0]["DynamicQuantizeMatMul"] == 0


NORMALIZED = (("LayerNormalization", "x gamma beta", "n"), ("MatMul", "n w", "product"), ("Add", "product b", "y"))
NORM = {"gamma": np.ones(WIDTH, np.float32), "beta": np.zeros(WIDTH, np.float32), **TENSORS}
BROAD = {"gamma": np.ones(512, np.float32), "beta": np.zeros(512, np.float32), "w": weights(512, OUTPUTS)}
ALIKE = weights(1, 12, 512)
OUTLIER = np.where(np.arange(ALIKE.size).reshape(ALIKE.shape) == 0, 1e4, np.sign(ALIKE)).astype(np.float32)


@pytest.mark.parametrize(
    ("value", "one_range"),
    [
        pytest.param(ALIKE, 1, id="rows that are alike"),
        pytest.param(OUTLIER, 0, id="a row with an outlier"),
    ],
)
def test_calibration_samples_say_whether_one_range_serves_all_rows(
    tmp_path: Path, value: NDArray[np.float32], one_range: int
) -> None:
    model = graph(*NORMALIZED, tensors={**NORM, **BROAD}, shape=(1, 12, 512))
    samples = write_samples(tmp_path / "samples", ["x"], [(value,)] * 3)
    counts, made = quantized(model, samples.folder)
    assert counts["DynamicQuantizeMatMul"] == one_range
    assert quantized(model)[0]["DynamicQuantizeMatMul"] == 0
    assert [item.name for item in made.graph.output] == ["y"]
    assert decibels(model, made, value) > 30


def test_a_model_that_is_too_large_to_run_needs_no_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgekit.converters import onnx_dynamic_inputs

    monkeypatch.setattr(onnx_dynamic_inputs, "_MOST_BYTES", 1000)
    samples = write_samples(tmp_path / "samples", ["x"], [(weights(1, ROWS, WIDTH),)])
    model = graph(*NORMALIZED, tensors=NORM)
    assert quantized(model, samples.folder)[1] == quantized(model)[1]


def test_a_channel_that_samples_do_not_move_keeps_half_of_the_reach_that_its_normalization_tells(
    tmp_path: Path,
) -> None:
    import onnx

    still = weights(1, ROWS, WIDTH)
    still[..., 0] = 0
    still[..., 1] -= still.sum(axis=-1)  # a mean of 0, so that channel 0 stays 0 behind the normalization
    samples = write_samples(tmp_path / "samples", ["x"], [(still,)])
    squares: list[float] = []
    for folder in (None, samples.folder):
        tensors = {item.name: item for item in quantized(graph(*NORMALIZED, tensors=NORM), folder)[1].graph.initializer}
        squares.append(float(onnx.numpy_helper.to_array(tensors["n.rows.smoothing"])[0]) ** 2)
    assert squares[1] / squares[0] == pytest.approx(2, rel=1e-3)


def test_a_bias_that_is_computed_is_added_by_its_own_operator() -> None:
    model = graph(
        *(("Relu", "x", "r"), ("ReduceMean", "r", "mean"), ("Expand", "mean wide", "c"), ("Gemm", "r w c", "y")),
        shape=(ROWS, WIDTH),
        tensors={"w": TENSORS["w"], "wide": np.array([ROWS, OUTPUTS], np.int64)},
    )
    counts, made = quantized(model)
    assert (counts["MatMulIntegerToFloat"], counts["Add"]) == (1, 2)
    assert decibels(model, made, weights(ROWS, WIDTH)) > 35


def test_sums_before_a_normalization_are_kept_apart_from_it() -> None:
    nodes = (
        *(("MatMul", "x w", "product"), ("Add", "product b", "wide"), ("MatMul", "wide v", "narrow")),
        *(("Add", "narrow x", "sum"), ("LayerNormalization", "sum gamma beta", "y")),
    )
    model = graph(*nodes, tensors={**NORM, "v": weights(OUTPUTS, WIDTH)})
    counts, made = quantized(model)
    assert (counts["Add"], counts["Sum"], counts["LayerNormalization"]) == (1, 1, 1)
    assert decibels(model, made, weights(1, ROWS, WIDTH)) > 30
