from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgekit.converters import tflite_static
from edgekit.converters.base import ConversionRequest
from edgekit.converters.tflite_file import constant, embedded, operators, read, text, write
from edgekit.converters.to_tflite import TFLiteConverter
from edgekit.errors import ConversionError, DataError
from edgekit.model import CapturedModel, TensorSpec
from edgekit.recipe import Recipe
from edgekit.samples import write_samples
from edgekit.workers.worker import silent

pytestmark = [pytest.mark.runtime, pytest.mark.filterwarnings("ignore")]  # LiteRT and torch warn at each conversion


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
            output = folder.with_suffix(".tflite")
            made[key] = (output, TFLiteConverter().run(replace(request, **changes), output, silent))
        return made[key]

    return run


def opened(path):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def outputs_of(path, rows):
    interpreter = opened(path)
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    results = []
    for row in rows:
        for detail, array in zip(inputs, row, strict=True):
            interpreter.set_tensor(detail["index"], array.astype(detail["dtype"]))
        interpreter.invoke()
        results.append([interpreter.get_tensor(detail["index"]) for detail in outputs])
    return [np.concatenate([item[i] for item in results]) for i in range(len(outputs))]


@pytest.mark.parametrize(
    ("name", "precision", "least"),
    [
        pytest.param("convolutions", "fp32", 90, id="convolutions-fp32"),
        pytest.param("convolutions", "fp16", 50, id="convolutions-fp16"),
        pytest.param("convolutions", "int8_static", 22, id="convolutions-int8_static"),
        pytest.param("convolutions", "int8_weights", 30, id="convolutions-int8_weights"),
        # 30.6 dB where the flat ends of activations have their share of the steps.
        pytest.param("smooth", "int8_static", 31.2, id="smooth-int8-static"),
        pytest.param("two_inputs", "int8_static", 25, id="two_inputs-int8_static"),
        pytest.param("two_outputs", "int8_static", 25, id="two_outputs-int8_static"),
        pytest.param("token_ids", "int8_static", 15, id="token_ids-int8_static"),
        pytest.param("token_ids", "int8_dynamic", 30, id="token_ids-int8_dynamic"),
        pytest.param("token_ids", "int8_weights", 35, id="token_ids-int8_weights"),
        pytest.param("token_ids", "int4_weights", 15, id="token_ids-int4_weights"),
        pytest.param("bottleneck", "int4_weights", 15, id="bottleneck-int4_weights"),
        pytest.param("recurrent", "int8_dynamic", 30, id="recurrent-int8_dynamic"),
        pytest.param("hybrid", "int8_hybrid", 25, id="hybrid-int8_hybrid"),
        pytest.param("skipped", "int8_static", 25, id="skipped-int8_static"),
        pytest.param("energies", "int8_static", 25, id="energies-int8_static"),
    ],
)
def test_the_artifact_computes_what_the_float_model_computes(convert, tiny, sqnr, name, precision, least):
    output, _ = convert(name, Recipe(default=precision))
    made = outputs_of(output, tiny(name).rows)
    assert [sqnr(*pair) > least for pair in zip(tiny(name).outputs, made, strict=True)] == [True] * len(made)


def test_a_hybrid_recipe_gives_each_operator_the_integers_that_suit_it(convert):
    output, conversion = convert("hybrid", Recipe(default="int8_hybrid"))
    interpreter = opened(output)
    interpreter.allocate_tensors()
    types = {detail["index"]: detail["dtype"] for detail in interpreter.get_tensor_details()}
    found = {}
    for operator in interpreter._get_ops_details():
        kinds = tuple(np.dtype(types[i]).name for i in operator["inputs"][:2] if i in types)
        found.setdefault(operator["op_name"], []).append(kinds)
    assert found["CONV_2D"] == [("int8", "int8")] * 3
    # The fourth is the product of the queries with themselves.
    assert sorted(found["FULLY_CONNECTED"]) == [("float32", "float32"), *[("float32", "int8")] * 3]
    assert {kinds[0] for kinds in (*found["SOFTMAX"], *found["BATCH_MATMUL"])} == {"float32"}
    assert conversion.float_fallbacks == ()


def test_names_are_those_of_the_captured_model_in_tensors_and_signature(convert):
    output, _ = convert("two_inputs", Recipe(default="int8_static"))
    interpreter = opened(output)
    assert [detail["name"] for detail in interpreter.get_input_details()] == ["left", "right"]
    assert [detail["name"] for detail in interpreter.get_output_details()] == ["result_0"]
    signature = interpreter.get_signature_list()["serving_default"]
    assert (sorted(signature["inputs"]), signature["outputs"]) == (["left", "right"], ["result_0"])


def test_a_norm_keeps_its_scale_and_the_layers_behind_it_their_weights(convert, tiny):
    import torch

    output, _ = convert("normed_projections", Recipe(default="fp32"))
    weights = torch.export.load(tiny("normed_projections").captured.path).state_dict
    interpreter = opened(output)
    interpreter.allocate_tensors()
    for module in ("query", "value", "out"):
        found = [
            interpreter.get_tensor(detail["index"])
            for detail in interpreter.get_tensor_details()
            if tuple(detail["shape"]) == (64, 64) and detail["name"].startswith(f"{module}/")
        ]
        np.testing.assert_array_equal(found, [weights[f"{module}.weight"].detach().numpy()])


def test_a_layer_behind_a_norm_keeps_its_own_precision(convert):
    recipe = Recipe(default="int8_dynamic", overrides=(("value", "fp32"),))
    output, _ = convert("normed_projections", recipe)
    types = {
        detail["name"].partition("/")[0]: np.dtype(detail["dtype"]).name
        for detail in opened(output).get_tensor_details()
        if tuple(detail["shape"]) == (64, 64)
    }
    assert types == {"query": "int8", "value": "float32", "out": "int8"}


def test_tensors_are_named_after_modules(convert):
    output, _ = convert("convolutions", Recipe(default="int8_static"))
    names = [detail["name"] for detail in opened(output).get_tensor_details()]
    assert {"stem", "depthwise", "project", "head"} <= {name.partition("/")[0] for name in names}
    assert not any("torch.nn" in name for name in names)


def test_metadata_and_io_lie_in_the_file(convert):
    output, conversion = convert("convolutions", Recipe(default="int8_static"))
    assert embedded(output.read_bytes()) == {
        "io": {
            "inputs": [spec.to_json() for spec in conversion.inputs],
            "outputs": [spec.to_json() for spec in conversion.outputs],
        },
        "metadata": {"labels": "cat,dog", "author": "me"},
    }


def test_constants_lie_on_boundaries_of_sixteen_bytes(convert):
    from ai_edge_litert import schema_py_generated as schema

    content = convert("convolutions", Recipe(default="fp32"))[0].read_bytes()
    packed = schema.Model.GetRootAs(content, 0)
    starts = []
    for i in range(packed.BuffersLength()):
        buffer = packed.Buffers(i)
        if not buffer.DataIsNone():
            starts.append(buffer._tab.Vector(buffer._tab.Offset(4)))
    assert starts
    assert {start % 16 for start in starts} == {0}


@pytest.mark.parametrize("ranges", ["minmax", "percentile", "mse"])
def test_every_weighted_operator_runs_in_integers(convert, ranges):
    output, conversion = convert("convolutions", Recipe(default="int8_static", ranges=ranges))
    details = opened(output).get_tensor_details()
    assert conversion.float_fallbacks == ()
    assert not [d["name"] for d in details if d["dtype"] == np.float32 and d["name"] not in {"image", "result_0"}]


def test_integer_inputs_and_outputs_are_described_and_used(convert, tiny, sqnr):
    output, conversion = convert("convolutions", Recipe(default="int8_static"), io="int8")
    source, result = conversion.inputs[0], conversion.outputs[0]
    assert (source.dtype, result.dtype) == ("int8", "int8")
    assert not {"QUANTIZE", "DEQUANTIZE"} & set(conversion.operators)
    rows = [(np.clip(np.round(r[0] / source.scale) + source.zero_point, -128, 127),) for r in tiny("convolutions").rows]
    made = (outputs_of(output, rows)[0].astype(np.float32) - result.zero_point) * result.scale
    assert sqnr(tiny("convolutions").outputs[0], made) > 22


def test_token_ids_become_int32_and_the_note_says_so(convert):
    _, conversion = convert("token_ids", Recipe(default="int8_dynamic"))
    assert conversion.inputs[0].dtype == "int32"
    assert conversion.narrowed == (
        '"ids" is int32 where the float model has int64: TFLite (LiteRT) narrows it, so larger numbers do not fit.',
    )


def test_an_end_that_computes_in_float_is_named_under_integer_io(convert):
    _, conversion = convert("token_ids", Recipe(default="int8_dynamic"), io="int8")
    assert conversion.notes[-1] == '"result_0" stays float32: the operator at that end computes in float.'


@pytest.mark.parametrize("precision", ["int8_static", "int8_weights"])
def test_a_module_that_an_override_keeps_float_stays_float(convert, precision):
    output, _ = convert("convolutions", Recipe(default=precision, overrides=(("depthwise", "fp32"),)))
    model = read(output.read_bytes())
    kinds = {}
    for graph, operator, kind in operators(model):
        if kind in {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}:
            made = [o for _, o, k in operators(model) if k == "DEQUANTIZE" and o.outputs[0] == operator.inputs[1]]
            kinds[kind] = not made and constant(model, graph.tensors[operator.inputs[1]]) is not None
    assert kinds == {"CONV_2D": False, "DEPTHWISE_CONV_2D": True, "FULLY_CONNECTED": False}


def test_a_table_is_stored_in_integers_under_static_ranges_too(convert):
    output, _ = convert("token_ids", Recipe(default="int8_static"))
    details = opened(output).get_tensor_details()
    assert [d["dtype"] for d in details if tuple(d["shape"]) == (200, 32)] == [np.int8]


def test_an_operator_that_an_override_does_not_cover_is_float_and_not_the_default_s(convert, tiny, sqnr):
    overrides = (("left", "int8_weights"), ("right", "int8_weights"), ("", "fp32"))
    output, conversion = convert("two_inputs", Recipe(default="int8_static", overrides=overrides))
    details = {d["name"]: d["dtype"] for d in opened(output).get_tensor_details()}
    assert {details[name] for name in details if name in {"left/0", "right/0"}} == {np.float32}
    assert conversion.float_fallbacks == ()
    assert sqnr(tiny("two_inputs").outputs[0], outputs_of(output, tiny("two_inputs").rows)[0]) > 25


def test_a_recurrent_layer_keeps_float_arithmetic_and_says_why(convert):
    _, conversion = convert("recurrent", Recipe(default="int8_dynamic"))
    assert conversion.notes == (
        "1 recurrent layers compute in float with int8 weights: integer activations would lose accuracy at each step.",
    )


def test_the_bias_of_a_dead_channel_survives_quantization(tmp_path):
    import torch

    layer = torch.nn.Conv2d(2, 4, 1)
    with torch.no_grad():
        layer.weight[1] = 0.0
        layer.weight[2] = 1e-9
        layer.bias.copy_(torch.tensor([0.1, 0.7, -0.9, 0.2]))
    example = torch.rand(1, 2, 4, 4)
    torch.export.save(torch.export.export(layer.eval(), (example,)), tmp_path / "float.pt2")
    spec = TensorSpec(name="x", shape=(1, 2, 4, 4), dtype="float32")
    model = _captured(tmp_path / "float.pt2", (spec,), (replace(spec, name="y", shape=(1, 4, 4, 4)),))
    samples = write_samples(tmp_path / "samples", ["x"], [(example.numpy(),)])
    _run(model, Recipe(default="int8_static"), tmp_path, samples.folder)
    made = outputs_of(tmp_path / "result.tflite", [(example.numpy(),)])[0]
    np.testing.assert_allclose(made[0, 1:3].mean(axis=(1, 2)), [0.7, -0.9], atol=0.01)


def _in_integers(module, rows, folder):
    """Converts a module of four inputs, all of it in integers, and returns its rows and what it makes of them."""
    import torch

    torch.export.save(torch.export.export(module, rows[0]), folder / "float.pt2")
    spec = TensorSpec(name="x", shape=(1, 4), dtype="float32")
    model = _captured(folder / "float.pt2", (spec,), (replace(spec, name="y"),))
    arrays = [(row[0].numpy(),) for row in rows]
    samples = write_samples(folder / "samples", ["x"], arrays)
    assert _run(model, Recipe(default="int8_static"), folder, samples.folder).float_fallbacks == ()
    with torch.no_grad():
        return arrays, np.concatenate([module(*row).numpy() for row in rows])


def test_infinite_values_of_a_mask_stay_float_and_layers_around_it_are_integers(tmp_path):
    import torch

    class Masked(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scores, self.head = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
            self.register_buffer("kept", torch.tensor([[True, True, True, False]]))

        def forward(self, x):
            scores = torch.where(self.kept, self.scores(x), -torch.inf)
            return self.head((scores - scores.amax(1, keepdim=True)).exp())

    torch.manual_seed(0)
    module, rows = Masked().eval(), [(torch.randn(1, 4),) for _ in range(8)]
    arrays, expected = _in_integers(module, rows, tmp_path)
    np.testing.assert_allclose(outputs_of(tmp_path / "result.tflite", arrays)[0], expected, atol=0.05)


def test_a_choice_between_a_value_and_a_stored_one_is_made_in_integers(tmp_path):
    import torch

    class Chosen(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
            self.register_buffer("least", torch.tensor([-0.5, 0.0, 0.5, 1.0]))

        def forward(self, x):
            y = self.body(x)
            return self.head(torch.where(y > 0.25, y, self.least))

    torch.manual_seed(0)
    module, rows = Chosen().eval(), [(torch.randn(1, 4),) for _ in range(32)]
    arrays, expected = _in_integers(module, rows, tmp_path)
    made = np.concatenate([outputs_of(tmp_path / "result.tflite", [row])[0] for row in arrays])
    assert np.median(np.abs(made - expected)) < 0.02  # a value beside the threshold may fall on its other side


def test_a_shared_bias_is_corrected_for_each_reader_alone(convert, tiny):
    output, _ = convert("convolutions", Recipe(default="fp32"))
    model = read(output.read_bytes())
    chosen = [o for _, o, kind in operators(model) if kind in {"CONV_2D", "DEPTHWISE_CONV_2D"}]
    chosen[1].inputs[2] = chosen[0].inputs[2]
    calibration = tflite_static.calibrate(write(model), tiny("convolutions").calibration, silent)
    tflite_static.correct_biases(model, calibration.input_means, ())
    assert len({operator.inputs[2] for operator in chosen}) == len(chosen)


def test_operators_that_stay_float_keep_their_biases(convert, tiny):
    output, _ = convert("convolutions", Recipe(default="fp32"))
    model = read(output.read_bytes())
    before = write(model)
    calibration = tflite_static.calibrate(before, tiny("convolutions").calibration, silent)
    everything = [text(graph.tensors[o.outputs[0]].name) for graph, o, _ in operators(model)]
    tflite_static.correct_biases(model, calibration.input_means, everything)
    assert write(model) == before


def test_without_statistics_no_channel_is_lifted(convert):
    model = read(convert("convolutions", Recipe(default="fp32"))[0].read_bytes())
    before = write(model)
    tflite_static.lift_weak_channels(model, {})
    assert write(model) == before


def test_calibration_data_of_another_type_is_refused_before_anything_is_converted(tiny, tmp_path):
    samples = write_samples(tmp_path / "samples", ["image"], [(np.ones((1, 3, 24, 24), np.uint8),)])
    with pytest.raises(DataError, match=r"^Calibration samples of \"image\" are uint8; the model takes float32\."):
        _run(tiny("convolutions").captured, Recipe(default="int8_static"), tmp_path, samples.folder)


@pytest.mark.parametrize(
    ("kind", "recipe", "reason"),
    [
        pytest.param(
            "tflite",
            Recipe(),
            "a .tflite file is a finished artifact; give the model that it was made from",
            id="tflite",
        ),
        pytest.param(
            "onnx",
            Recipe(),
            "it takes torch programs and Keras models; give the model that the .onnx file was made from",
            id="onnx",
        ),
        pytest.param(
            "pt2",
            Recipe(default="w8a16"),
            "LiteRT runs 16-bit integer activations with reference kernels only, 26 times slower than float",
            id="w8a16",
        ),
        pytest.param(
            "pt2",
            Recipe(default="int4_weights", group_size=48),
            "LiteRT's 4-bit kernels take groups of 32, 64, 128, 256 weights and the recipe asks for 48",
            id="group of 48",
        ),
    ],
)
def test_what_tflite_cannot_hold_is_refused_with_the_reason(kind, recipe, reason):
    assert TFLiteConverter().why_not(kind, recipe) == reason


def test_the_quantizer_s_own_rejection_is_passed_on(tiny, tmp_path, monkeypatch):
    from ai_edge_quantizer import quantizer

    def refuse(*_, **__):
        raise ValueError("no such rule\nsecond line")

    monkeypatch.setattr(quantizer.Quantizer, "quantize", refuse)
    with pytest.raises(ConversionError) as caught:
        _run(tiny("two_inputs").captured, Recipe(default="int8_weights"), tmp_path)
    assert caught.value.message == (
        "two_inputs.py:build cannot become tflite int8-weights: ai-edge-quantizer says: no such rule"
    )


def _captured(path, inputs, outputs, kind="pt2"):
    return CapturedModel(
        name="made",
        source="made.py:build",
        source_kind="torch",
        kind=kind,
        path=path,
        inputs=inputs,
        outputs=outputs,
        digest="0",
        parameters=1,
        macs=None,
        family="unknown",
    )


def _run(model, recipe, folder, calibration=None, **changes):
    request = ConversionRequest(model=model, recipe=recipe, calibration=calibration, scratch=folder, **changes)
    return TFLiteConverter().run(request, folder / "result.tflite", silent)
