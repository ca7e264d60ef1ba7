from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from edgekit.converters.base import ConversionRequest
from edgekit.converters.onnx_weights import pack_blocks
from edgekit.converters.to_onnx import IO_KEY, ONNXConverter
from edgekit.errors import ConversionError, DataError
from edgekit.model import CapturedModel, TensorSpec
from edgekit.recipe import Recipe
from edgekit.samples import write_samples
from edgekit.workers.worker import silent

pytestmark = [pytest.mark.runtime, pytest.mark.filterwarnings("ignore")]  # the exporter warns at each model


@pytest.fixture(scope="module")
def convert(tiny, tmp_path_factory):
    """Returns a function that converts a tiny model; a conversion that was made before is not made again."""
    made = {}

    def run(name, recipe, io="float", **changes):
        key = (name, repr(recipe), io, repr(changes))
        if key not in made:
            model = tiny(name)
            folder = tmp_path_factory.mktemp("conversion")
            request = ConversionRequest(
                model=model.captured,
                recipe=recipe,
                calibration=model.calibration,
                io=io,
                metadata={"labels": "cat,dog", "author": "me"},
                scratch=folder,
            )
            output = folder.with_suffix(".onnx")
            made[key] = (output, ONNXConverter().run(replace(request, **changes), output, silent))
        return made[key]

    return run


EXACT_PRODUCTS = (
    "On x86 processors without VNNI onnxruntime needs the session option session.x64quantprecision=1: their 8-bit "
    "products saturate otherwise. ARM processors, and x86 ones with VNNI, need nothing, and the option would make "
    "these slower."
)


def opened(path, optimized=None):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Without it x86 processors that lack VNNI saturate the products of uint8 and int8.
    options.add_session_config_entry("session.x64quantprecision", "1")
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def outputs_of(path, rows):
    session = opened(path)
    names = [value.name for value in session.get_inputs()]
    results = [session.run(None, dict(zip(names, row, strict=True))) for row in rows]
    return [np.concatenate([item[i] for item in results]) for i in range(len(results[0]))]


def executed(path, folder):
    import onnx

    opened(path, folder / "optimized.onnx")
    return Counter(node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node)


QUALITY = [
    pytest.param("convolutions", "fp32", 90, id="convolutions-fp32"),
    pytest.param("convolutions", "fp16", 50, id="convolutions-fp16"),
    pytest.param("convolutions", "int8_static", 25, id="convolutions-int8_static"),
    pytest.param("convolutions", "int8_dynamic", 30, id="convolutions-int8_dynamic"),
    pytest.param("convolutions", "int8_weights", 30, id="convolutions-int8_weights"),
    # 30.6 dB where the flat ends of activations have their share of the steps.
    pytest.param("smooth", "int8_static", 31.2, id="smooth-int8-static"),
    pytest.param("two_inputs", "int8_static", 25, id="two_inputs-int8_static"),
    pytest.param("two_outputs", "int8_static", 25, id="two_outputs-int8_static"),
    pytest.param("token_ids", "int8_dynamic", 30, id="token_ids-int8_dynamic"),
    pytest.param("token_ids", "int8_weights", 35, id="token_ids-int8_weights"),
    pytest.param("token_ids", "int8_static", 20, id="token_ids-int8_static"),
    pytest.param("token_ids", "int4_weights", 15, id="token_ids-int4_weights"),
    pytest.param("recurrent", "int8_dynamic", 30, id="recurrent-int8_dynamic"),
    pytest.param("hybrid", "int8_hybrid", 25, id="hybrid-int8_hybrid"),
]


@pytest.mark.parametrize(("name", "precision", "least"), QUALITY)
def test_the_artifact_computes_what_the_float_model_computes(convert, tiny, sqnr, name, precision, least):
    output, _ = convert(name, Recipe(default=precision))
    made = outputs_of(output, tiny(name).rows)
    assert [sqnr(*pair) > least for pair in zip(tiny(name).outputs, made, strict=True)] == [True] * len(made)


def test_names_are_those_of_the_captured_model(convert, tiny):
    output, _ = convert("two_inputs", Recipe(default="int8_static"))
    session = opened(output)
    assert [value.name for value in session.get_inputs()] == ["left", "right"]
    assert [value.name for value in session.get_outputs()] == ["result_0"]


def test_metadata_and_io_lie_in_the_file(convert):
    output, conversion = convert("convolutions", Recipe(default="int8_static"))
    stored = opened(output).get_modelmeta().custom_metadata_map
    assert (stored["labels"], stored["author"]) == ("cat,dog", "me")
    assert json.loads(stored[IO_KEY]) == {
        "inputs": [spec.to_json() for spec in conversion.inputs],
        "outputs": [spec.to_json() for spec in conversion.outputs],
    }


@pytest.mark.parametrize("ranges", ["minmax", "percentile", "mse"])
def test_every_convolution_runs_in_integers(convert, tmp_path, ranges):
    output, conversion = convert("convolutions", Recipe(default="int8_static", ranges=ranges))
    counts = executed(output, tmp_path)
    assert (counts["QLinearConv"], counts["Conv"]) == (3, 0)
    assert conversion.float_fallbacks == ()


def test_a_hybrid_recipe_gives_each_operator_the_integers_that_suit_it(convert, tmp_path):
    output, conversion = convert("hybrid", Recipe(default="int8_hybrid"))
    counts = executed(output, tmp_path)
    assert (counts["QLinearConv"], counts["Conv"], counts["FusedConv"]) == (3, 0, 0)
    assert counts["DynamicQuantizeMatMul"] == 3
    assert (counts["QLinearMatMul"], counts["QLinearSoftmax"], counts["QLinearAdd"]) == (0, 0, 1)
    assert conversion.float_fallbacks == ()


def test_a_range_ends_where_the_clamp_ends(convert):
    import onnx
    from onnx import numpy_helper

    output, _ = convert("convolutions", Recipe(default="int8_static"))
    graph = onnx.load(output).graph
    assert "Clip" not in {node.op_type for node in graph.node}
    scales = {tensor.name: tensor for tensor in graph.initializer}
    quantized = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    found = [float(numpy_helper.to_array(scales[node.input[1]])) for node in quantized]
    assert pytest.approx(6 / 255, rel=0.01) in found  # the stem reaches far above its clamp at 6


def test_biases_are_corrected_for_what_rounding_the_weights_shifts(convert, tiny, monkeypatch, tmp_path):
    from edgekit.converters import onnx_static

    model = tiny("convolutions")
    output, _ = convert("convolutions", Recipe(default="int8_static"))
    monkeypatch.setattr(onnx_static, "correct_biases", lambda *_, **__: None)
    request = ConversionRequest(
        model=model.captured, recipe=Recipe(default="int8_static"), calibration=model.calibration, scratch=tmp_path
    )
    ONNXConverter().run(request, tmp_path / "plain.onnx", silent)
    shift = [
        abs((outputs_of(path, model.rows)[0] - model.outputs[0]).mean(axis=0)).mean()
        for path in (output, tmp_path / "plain.onnx")
    ]
    assert shift[0] < shift[1]


def test_integer_inputs_and_outputs_are_described_and_used(convert, tiny, sqnr):
    output, conversion = convert("convolutions", Recipe(default="int8_static"), io="int8")
    source, result = conversion.inputs[0], conversion.outputs[0]
    assert (source.dtype, result.dtype) == ("uint8", "uint8")
    stored = [
        (np.clip(np.round(r[0] / source.scale) + source.zero_point, 0, 255).astype(np.uint8),)
        for r in tiny("convolutions").rows
    ]
    made = (outputs_of(output, stored)[0].astype(np.float32) - result.zero_point) * result.scale
    assert sqnr(tiny("convolutions").outputs[0], made) > 22


def test_token_ids_stay_as_they_are_with_integer_io(convert):
    _, conversion = convert("token_ids", Recipe(default="int8_dynamic"), io="int8")
    assert (conversion.inputs[0].dtype, conversion.outputs[0].dtype) == ("int64", "float32")
    assert conversion.notes[-1] == '"result_0" stays float32: a float operator computes it.'


@pytest.mark.parametrize("precision", ["int8_static", "int8_weights"])
def test_a_module_that_an_override_keeps_float_stays_float(convert, precision):
    import onnx

    output, _ = convert("convolutions", Recipe(default=precision, overrides=(("depthwise", "fp32"),)))
    graph = onnx.load(output).graph
    made = {name: node.op_type for node in graph.node for name in node.output}
    weights = [made.get(node.input[1]) for node in graph.node if node.op_type == "Conv"]
    assert weights == ["DequantizeLinear", None, "DequantizeLinear"]


def test_symmetric_activations_have_zero_point_zero_and_no_pair_before_a_clamp(convert):
    import onnx
    from onnx import numpy_helper

    output, _ = convert("convolutions", Recipe(default="int8_static", symmetric_activations=True))
    graph = onnx.load(output).graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    pairs = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    zero_points = [numpy_helper.to_array(tensors[node.input[2]]) for node in pairs]
    assert {(str(value.dtype), int(value)) for value in zero_points} == {("int8", 0)}
    made = {name: node.op_type for node in graph.node for name in node.output}
    assert [made[node.input[0]] for node in graph.node if node.op_type == "Clip"] == ["Conv", "Conv"]


def test_a_dynamic_model_stores_no_float_matrix_and_no_float_table(convert):
    import onnx

    output, conversion = convert("token_ids", Recipe(default="int8_dynamic"))
    large = [
        t.name
        for t in onnx.load(output).graph.initializer
        if t.data_type == 1 and len(t.dims) > 1 and t.dims[1] > 1 and t.dims[0] > 1
    ]
    assert large == []
    assert conversion.operators["DynamicQuantizeMatMul"] == 2


def test_layers_whose_inputs_meet_many_weights_have_a_range_for_each_row(convert, tiny, sqnr):
    output, conversion = convert("wide", Recipe(default="int8_dynamic"))
    assert conversion.operators["MatMulIntegerToFloat"] == 2  # they share their input
    assert conversion.operators["QuantizeLinear"] == 1
    assert conversion.operators["DynamicQuantizeMatMul"] == 1  # the head has few outputs
    (made,) = outputs_of(output, tiny("wide").rows)
    assert sqnr(tiny("wide").outputs[0], made) > 30


def test_convolutions_under_a_dynamic_recipe_are_reported_to_keep_float_arithmetic(convert):
    _, conversion = convert("convolutions", Recipe(default="int8_dynamic"))
    assert conversion.notes == (
        (
            "3 convolutions compute in float with int8 weights: onnxruntime's dynamic integer convolution is several "
            "times slower than float. Use int8 (static) for integer convolutions."
        ),
        EXACT_PRODUCTS,
    )
    assert len(conversion.float_fallbacks) == 3


def test_an_lstm_keeps_float_arithmetic_and_says_why(convert):
    _, conversion = convert("recurrent", Recipe(default="int8_dynamic"))
    assert conversion.notes == (
        (
            "2 recurrent layers compute in float with int8 weights: onnxruntime's dynamic LSTM has one scale for a "
            "whole sequence, which loses most of the accuracy."
        ),
        EXACT_PRODUCTS,
    )


def _model_of(path, folder, inputs, outputs):
    return CapturedModel(
        name="made",
        source="made.onnx",
        source_kind="onnx",
        kind="onnx",
        path=path,
        inputs=inputs,
        outputs=outputs,
        digest="0",
        parameters=1,
        macs=None,
        family="unknown",
    )


def _file_with(folder, nodes, weights, *, opset=20, shape=(1, 4), outputs=("y",)):
    import onnx
    from onnx import helper

    float32 = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("x", float32, shape)],
        [helper.make_tensor_value_info(name, float32, shape) for name in outputs],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    path = folder / "made.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    spec = TensorSpec(name="x", shape=shape, dtype="float32")
    return _model_of(path, folder, (spec,), tuple(replace(spec, name=name) for name in outputs))


def _run(model, recipe, folder, calibration=None, **changes):
    request = ConversionRequest(model=model, recipe=recipe, calibration=calibration, scratch=folder, **changes)
    return ONNXConverter().run(request, folder / "result.onnx", silent)


def test_a_layer_whose_values_leave_float16_stays_float32(tmp_path):
    import onnx
    from onnx import helper

    nodes = [
        helper.make_node("Mul", ["x", "large"], ["big"], name="grows"),
        helper.make_node("Mul", ["big", "small"], ["back"], name="shrinks"),
        helper.make_node("Sigmoid", ["back"], ["y"], name="squashes"),
    ]
    model = _file_with(tmp_path, nodes, {"large": np.float32(1e5), "small": np.float32(1e-5)})
    samples = write_samples(tmp_path / "samples", ["x"], [(np.array([[1, 2, 3, 4]], np.float32),)])
    conversion = _run(model, Recipe(default="fp16"), tmp_path, samples.folder)
    assert conversion.notes == ("Kept in float32, as their values would leave float16: grows, shrinks.",)
    values = opened(tmp_path / "result.onnx").run(None, {"x": np.array([[1, 2, 3, 4]], np.float32)})[0]
    np.testing.assert_allclose(values, 1 / (1 + np.exp(-np.array([[1.0, 2, 3, 4]]))), rtol=1e-2)
    assert "Cast" in {node.op_type for node in onnx.load(tmp_path / "result.onnx").graph.node}


def test_float16_without_calibration_data_says_that_nothing_was_checked(convert):
    _, conversion = convert("two_inputs", Recipe(default="fp16"), calibration=None)
    assert conversion.notes == ("Without calibration data no value was checked against float16's largest, 65504.",)


def test_an_old_file_is_raised_to_an_opset_with_scales_per_channel(tmp_path):
    from onnx import helper

    weight = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="linear"),
        helper.make_node("Relu", ["h"], ["y"], name="r"),
    ]
    model = _file_with(tmp_path, nodes, {"w": weight}, opset=11)
    _run(model, Recipe(default="int8_weights"), tmp_path)
    x = np.array([[1, -2, 3, 4]], np.float32)
    np.testing.assert_allclose(
        opened(tmp_path / "result.onnx").run(None, {"x": x})[0], np.maximum(x @ weight, 0), atol=0.1
    )


@pytest.mark.parametrize("opset", [15, 18])
def test_dynamic_products_work_in_old_and_new_opsets(tmp_path, opset):
    from onnx import helper

    weight = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
    model = _file_with(
        tmp_path, [helper.make_node("MatMul", ["x", "w"], ["y"], name="linear")], {"w": weight}, opset=opset
    )
    _run(model, Recipe(default="int8_dynamic"), tmp_path)
    x = np.array([[1, -2, 3, 4]], np.float32)
    np.testing.assert_allclose(opened(tmp_path / "result.onnx").run(None, {"x": x})[0], x @ weight, atol=0.15)


def test_rows_of_zeros_stay_zeros_under_dynamic_quantization(tmp_path):
    from onnx import helper

    model = _file_with(
        tmp_path, [helper.make_node("MatMul", ["x", "w"], ["y"], name="m")], {"w": np.eye(4, dtype=np.float32)}
    )
    _run(model, Recipe(default="int8_dynamic"), tmp_path)
    assert not opened(tmp_path / "result.onnx").run(None, {"x": np.zeros((1, 4), np.float32)})[0].any()


def test_a_value_that_carries_the_name_of_an_output_makes_room(tmp_path):
    from onnx import helper

    nodes = [helper.make_node("Relu", ["x"], ["final"], name="a"), helper.make_node("Neg", ["final"], ["y"], name="b")]
    model = _file_with(tmp_path, nodes, {})
    wanted = replace(model, outputs=(replace(model.outputs[0], name="final"),))
    _run(wanted, Recipe(default="fp32"), tmp_path)
    session = opened(tmp_path / "result.onnx")
    assert [value.name for value in session.get_outputs()] == ["final"]
    np.testing.assert_array_equal(session.run(None, {"x": np.array([[1, -1, 2, 0]], np.float32)})[0], [[-1, 0, -2, 0]])


def test_a_cycle_in_a_graph_is_named():
    from onnx import helper

    from edgekit.converters.onnx_source import sort_nodes

    nodes = [helper.make_node("Neg", ["b"], ["a"], name="first"), helper.make_node("Neg", ["a"], ["b"], name="second")]
    graph = helper.make_graph(nodes, "g", [], [])
    with pytest.raises(ConversionError, match=re.escape('The ONNX graph has a cycle at the node "first".') + "$"):
        sort_nodes(graph)


def test_calibration_data_of_another_shape_is_refused_before_anything_is_converted(tiny, tmp_path):
    samples = write_samples(tmp_path / "samples", ["image"], [(np.ones((1, 3, 8, 8), np.float32),)])
    with pytest.raises(DataError, match=r"^Calibration samples of \"image\" have the shape \(3, 8, 8\)"):
        _run(tiny("convolutions").captured, Recipe(default="int8_static"), tmp_path, samples.folder)


def test_a_model_that_computes_nan_is_named_with_its_tensor(tmp_path):
    from onnx import helper

    model = _file_with(tmp_path, [helper.make_node("Log", ["x"], ["y"], name="log")], {})
    samples = write_samples(tmp_path / "samples", ["x"], [(np.array([[-1, 2, 3, 4]], np.float32),)])
    with pytest.raises(DataError) as caught:
        _run(model, Recipe(default="int8_static"), tmp_path, samples.folder)
    assert caught.value.message == (
        'The tensor "y" has NaN or infinite values while the float model runs on calibration data. '
        "Check the calibration data's preprocessing, and that the float model itself works on it."
    )


def test_infinite_values_of_a_mask_stay_float_and_layers_around_it_are_integers(tmp_path):
    import onnx
    from onnx import helper

    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["scores"], name="scores"),
        helper.make_node("Where", ["kept", "scores", "lowest"], ["masked"], name="mask"),
        helper.make_node("Mul", ["masked", "two"], ["scaled"], name="scale"),
        helper.make_node("Softmax", ["scaled"], ["shares"], name="softmax"),
        helper.make_node("Gemm", ["shares", "w2", "b2"], ["y"], name="head"),
    ]
    weights = {
        "w": np.eye(4, dtype=np.float32),
        "b": np.zeros(4, np.float32),
        "w2": np.eye(4, dtype=np.float32),
        "b2": np.zeros(4, np.float32),
        "kept": np.array([[True, True, True, False]]),
        "lowest": np.array(-np.inf, np.float32),
        "two": np.array(2.0, np.float32),
    }
    rows = [(row[None],) for row in np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)]
    model = _file_with(tmp_path, nodes, weights)
    _run(model, Recipe(default="int8_static"), tmp_path, write_samples(tmp_path / "samples", ["x"], rows).folder)
    made = onnx.load(tmp_path / "result.onnx").graph
    produced = {name: node.op_type for node in made.node for name in node.output}
    read = {node.name: [produced.get(name) for name in node.input] for node in made.node}
    assert [read["scale"][0], read["softmax"][0]] == ["Where", "Mul"]
    assert [read["scores"][0], read["head"][0]] == ["DequantizeLinear", "DequantizeLinear"]
    np.testing.assert_allclose(
        outputs_of(tmp_path / "result.onnx", rows)[0], outputs_of(tmp_path / "made.onnx", rows)[0], atol=0.05
    )


def test_infinite_values_at_a_layer_are_named(tmp_path):
    from onnx import helper

    nodes = [
        helper.make_node("Add", ["x", "lowest"], ["masked"], name="mask"),
        helper.make_node("Gemm", ["masked", "w"], ["y"], name="head"),
    ]
    weights = {"w": np.ones((4, 4), np.float32), "lowest": np.array(-np.inf, np.float32)}
    model = _file_with(tmp_path, nodes, weights)
    samples = write_samples(tmp_path / "samples", ["x"], [(np.array([[1, 2, 3, 4]], np.float32),)])
    with pytest.raises(DataError) as caught:
        _run(model, Recipe(default="int8_static"), tmp_path, samples.folder)
    assert caught.value.message == (
        'The tensor "masked" has NaN or infinite values while the float model runs on calibration data. '
        "Check the calibration data's preprocessing, and that the float model itself works on it."
    )


@pytest.mark.parametrize(
    ("recipe", "reason"),
    [
        pytest.param(Recipe(default="w8a16"), "onnxruntime has no kernels for 16-bit integer activations", id="w8a16"),
        pytest.param(
            Recipe(default="int8_static", overrides=(("head", "fp16"),)),
            "fp16 mixes with fp32 only; give the parts that must not be integers fp32",
            id="fp16 beside integers",
        ),
    ],
)
def test_recipes_that_onnxruntime_cannot_run_are_refused_with_the_reason(recipe, reason):
    assert ONNXConverter().why_not("pt2", recipe) == reason


@pytest.mark.parametrize(("bits", "block"), [(8, 32), (4, 16), (4, 32)])
def test_packed_blocks_hold_the_weights_to_half_a_step(bits, block):
    rows = np.random.default_rng(0).normal(size=(3, 50)).astype(np.float32)
    packed, scales = pack_blocks(rows, bits, block)
    count = -(-50 // block)
    assert packed.shape == (3, count, block * bits // 8)
    integers = packed if bits == 8 else np.stack([packed & 15, packed >> 4], axis=-1).reshape(3, count, block)
    restored = (integers.astype(np.float64) - 2 ** (bits - 1)) * scales.reshape(3, count, 1)
    limit = np.abs(scales).reshape(3, count, 1) * (0.5 if bits == 8 else 1.0)  # +8 of -8..7 is clipped to 7
    padded = np.pad(rows, ((0, 0), (0, count * block - 50))).reshape(3, count, block)
    assert (np.abs(restored - padded) <= limit + 1e-6).all()
