from __future__ import annotations

import contextlib
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from edgekit.analysis.graph_builder import GraphBuilder
from edgekit.converters import to_executorch_lowering
from edgekit.converters.base import ConversionRequest
from edgekit.converters.to_executorch import ExecuTorchConverter
from edgekit.errors import ConversionError, DataError, ModelError
from edgekit.recipe import Recipe
from edgekit.samples import write_samples
from edgekit.workers.worker import silent

pytestmark = [pytest.mark.runtime, pytest.mark.filterwarnings("ignore")]  # the runtime warns at each load


@pytest.fixture(scope="module")
def convert(tiny, tmp_path_factory):
    """Returns a function that converts a tiny model; a conversion that was made before is not made again."""
    made = {}

    def run(name, recipe, io="float", calibration=None, *, again=False, **changes):
        key = (name, repr(recipe), io, str(calibration), repr(changes))
        if again or key not in made:
            made[key] = make(name, recipe, io, calibration, changes)
        return made[key]

    def make(name, recipe, io, calibration, changes):
        model = tiny(name)
        folder = tmp_path_factory.mktemp("conversion")
        request = ConversionRequest(
            model=replace(model.captured, **changes),
            recipe=recipe,
            calibration=calibration or model.calibration,
            io=io,
            metadata={"labels": "cat,dog", "edgekit.precision": recipe.name},
            scratch=folder,
        )
        output = folder.with_suffix(".pte")
        return output, ExecuTorchConverter().run(request, output, silent)

    return run


def opened(path):
    from edgekit.validators.runners.executorch_session import Runtime

    return Runtime(str(path), "", 1).open(str(path))


def outputs_of(session, rows):
    results = [session.run([np.ascontiguousarray(array) for array in row]) for row in rows]
    return [np.concatenate([item[i] for item in results]) for i in range(len(results[0]))]


@pytest.mark.parametrize(
    ("name", "precision", "least_db"),
    [
        pytest.param("convolutions", "fp32", 100, id="cnn-fp32"),
        pytest.param("convolutions", "fp16", 50, id="cnn-fp16"),
        pytest.param("convolutions", "int8_static", 30, id="cnn-int8-static"),
        pytest.param("convolutions", "int8_dynamic", 30, id="cnn-int8-dynamic"),
        # 30.6 dB where the flat ends of activations have their share of the steps.
        pytest.param("smooth", "int8_static", 31.2, id="smooth-int8-static"),
        pytest.param("two_inputs", "int8_static", 30, id="two-inputs-int8-static"),
        pytest.param("token_ids", "int8_static", 28, id="ids-int8-static"),
        pytest.param("token_ids", "int8_dynamic", 30, id="ids-int8-dynamic"),
        pytest.param("token_ids", "int4_weights", 12, id="ids-int4"),
        pytest.param("two_outputs", "int8_static", 30, id="two-outputs-int8-static"),
        pytest.param("recurrent", "fp32", 100, id="lstm-fp32"),
        pytest.param("hybrid", "int8_hybrid", 25, id="hybrid-int8-hybrid"),
        pytest.param("skipped", "int8_static", 25, id="skipped-int8-static"),
        pytest.param("energies", "int8_static", 25, id="energies-int8-static"),
    ],
)
def test_the_program_computes_what_the_float_model_does(convert, tiny, sqnr, name, precision, least_db):
    model = tiny(name)
    path, _ = convert(name, Recipe(default=precision))
    found = outputs_of(opened(path), model.rows)
    assert len(found) == len(model.outputs)
    for reference, other in zip(model.outputs, found, strict=True):
        assert sqnr(reference, other) > least_db


def test_all_operators_of_a_convolutional_net_run_in_xnnpack(convert):
    _, made = convert("convolutions", Recipe(default="int8_static"))
    assert not [name for name in made.operators if name.startswith("portable/")]
    assert made.operators["xnnpack/convolution"] == 3
    assert made.float_fallbacks == ()
    assert made.notes == (f"XNNPACK runs all {sum(made.operators.values())} operators.",)


def test_an_embedding_table_is_stored_in_bytes_and_named_as_outside_xnnpack(convert):
    _, made = convert("token_ids", Recipe(default="int8_dynamic"))
    assert made.operators["portable/embedding_byte"] == 1
    assert "portable kernels run embedding_byte x1" in made.notes[0]


def test_a_table_of_one_column_stays_float(convert, tiny, sqnr):
    """A scale for each row would be one for each value, and ExecuTorch's kernel takes no such rows."""
    path, made = convert("narrow_table", Recipe(default="int8_static"))
    assert made.operators["portable/embedding"] == 1
    assert sqnr(tiny("narrow_table").outputs[0], outputs_of(opened(path), tiny("narrow_table").rows)[0]) > 25


def test_what_stays_float_against_the_recipe_is_named_by_its_module(convert):
    _, made = convert("convolutions", Recipe(default="int8_dynamic"))
    assert made.float_fallbacks == ("depthwise (aten.conv2d.default)",)


def test_integer_inputs_and_outputs_come_with_scale_and_zero_point(convert, tiny, sqnr):
    model = tiny("two_inputs")
    path, made = convert("two_inputs", Recipe(default="int8_static"), io="int8")
    session = opened(path)
    assert [item["dtype"] for item in (*session.inputs, *session.outputs)] == ["int8"] * 3
    rows = [
        [
            np.clip(np.round(a / s.scale) + s.zero_point, -128, 127).astype(np.int8)
            for a, s in zip(row, made.inputs, strict=True)
        ]
        for row in model.rows
    ]
    (stored,) = outputs_of(session, rows)
    spec = made.outputs[0]
    assert sqnr(model.outputs[0], (stored.astype(np.float64) - spec.zero_point) * spec.scale) > 28


def test_integer_inputs_and_outputs_without_a_grid_are_refused(convert):
    with pytest.raises(
        ConversionError,
        match=re.escape(
            'token_ids.py:build cannot have int8 inputs and outputs with int8-dynamic: "result_0" has no calibrated '
            "grid. Use --io float, or --precision int8-static."
        )
        + "$",
    ):
        convert("token_ids", Recipe(default="int8_dynamic"), io="int8")


def test_metadata_and_the_description_of_tensors_are_read_back_from_the_file(convert):
    path, made = convert("two_inputs", Recipe(default="fp32"))
    found = opened(path).metadata
    assert found["labels"] == "cat,dog"
    described = json.loads(found["edgekit.io"])
    assert [item["name"] for item in described["inputs"]] == ["left", "right"]
    assert described["outputs"] == [spec.to_json() for spec in made.outputs]


def test_the_same_request_gives_the_same_bytes(convert):
    first = convert("two_inputs", Recipe(default="int8_static"))[0].read_bytes()
    assert convert("two_inputs", Recipe(default="int8_static"), again=True)[0].read_bytes() == first


def test_leaving_work_out_of_the_lowering_does_not_change_a_byte(convert, monkeypatch):
    quick = convert("two_inputs", Recipe(default="int8_static"))[0].read_bytes()
    monkeypatch.setattr(to_executorch_lowering, "_without_needless_work", contextlib.nullcontext)
    assert convert("two_inputs", Recipe(default="int8_static"), again=True)[0].read_bytes() == quick


@pytest.mark.parametrize(
    ("kind", "recipe", "reason"),
    [
        *(
            pytest.param(
                kind,
                Recipe(),
                "ExecuTorch is reached through torch, and this model was not imported into torch. "
                "Give the torch model (module:factory or a .pt2 file), or use --format onnx or tflite.",
                id=kind,
            )
            for kind in ("onnx", "keras", "savedmodel")
        ),
        pytest.param(
            "tflite",
            Recipe(),
            "a .tflite file is an artifact already; it can be validated and gated, not converted.",
            id="tflite",
        ),
        pytest.param(
            "pt2",
            Recipe(default="w8a16"),
            "XNNPACK has no kernels with 16-bit integer activations. Use --precision int8, int8-dynamic or fp16.",
            id="w8a16",
        ),
        pytest.param(
            "pt2",
            Recipe(default="int8_weights"),
            "XNNPACK has no kernels that read integer weights and compute in float. "
            "Use --precision int8-dynamic: the same size, in integer arithmetic.",
            id="int8-weights",
        ),
        pytest.param(
            "pt2",
            Recipe(default="int8_static", overrides=(("head", "fp16"),)),
            "XNNPACK takes one float type for the whole program. Use fp32 for the parts that stay float.",
            id="fp16-beside-int8",
        ),
        pytest.param(
            "pt2",
            Recipe(default="int4_weights", group_size=24),
            "XNNPACK's 4-bit kernels take groups of a multiple of 32 columns, not of 24.",
            id="group-size",
        ),
        pytest.param("pt2", Recipe(default="int8_static"), None, id="accepted"),
    ],
)
def test_what_cannot_be_converted_has_a_reason(kind, recipe, reason):
    assert ExecuTorchConverter().why_not(kind, recipe) == reason


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        (512, None),
        (
            513,
            (
                "l has 1 layers over 513 steps. ExecuTorch has no recurrent operators, and the layer would be unrolled "
                "into 513 cells; at most 512 are accepted."
            ),
        ),
    ],
    ids=["short", "long"],
)
def test_a_long_recurrent_layer_is_refused_before_it_is_converted(steps, reason):
    builder = GraphBuilder()
    for name, columns in (("w", 6), ("r", 8)):
        builder.store(name, (32, columns), "float32", lambda columns=columns: np.ones((32, columns), "f4"))
    for name, channels in (("x", 6), ("y", 8)):
        builder.tensor(name, (1, steps, channels), "float32")
    roles = {"w": ("recurrent", 32), "r": ("recurrent", 32)}
    builder.add(
        name="l", type="lstm", kernel="recurrent", reads=["x", "w", "r"], outputs=["y"], macs=1, roles=roles,
        attributes={"steps": steps},
    )  # fmt: skip
    assert ExecuTorchConverter().why_not_graph(builder.finish(["x"], ["y"])) == reason


def test_a_long_recurrent_layer_is_refused_by_name(convert):
    with pytest.raises(
        ConversionError,
        match=re.escape(
            "longest_recurrent.py:build cannot become executorch: lstm (aten.lstm.input) has 2 layers over 320 steps. "
            "ExecuTorch has no recurrent operators, and the layer would be unrolled into 640 cells; at most 512 are "
            "accepted. Use --format tflite, onnx or coreml, or a shorter input."
        )
        + "$",
    ):
        convert("longest_recurrent", Recipe(default="fp32"))


def test_an_operator_that_executorch_lacks_is_named(convert):
    with pytest.raises(
        ConversionError,
        match=re.escape(
            "unknown_operator.py:build cannot become executorch fp32: ExecuTorch has no kernel for "
            "aten::_linalg_eigh.eigenvalues. Try another format, or change the named operator in the model."
        )
        + "$",
    ):
        convert("unknown_operator", Recipe(default="fp32"))


@pytest.mark.parametrize(("precision", "least_db"), [("fp32", 100), ("int8_static", 25)])
def test_prelu_of_a_vector_is_converted(convert, tiny, tmp_path, sqnr, precision, least_db):
    import torch

    class Vectors(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.prelu = torch.nn.Linear(8, 8), torch.nn.PReLU(8)

        def forward(self, x):
            made = self.prelu(self.first(x))
            return made[:, :3], made[:, 3:5]

    torch.manual_seed(0)
    module, path = Vectors().eval(), tmp_path / "float.pt2"
    torch.export.save(torch.export.export(module, (torch.zeros(1, 8),)), path)
    output, _ = convert("two_outputs", Recipe(default=precision), path=path)
    rows = tiny("two_outputs").rows
    with torch.no_grad():
        expected = [module(torch.from_numpy(row[0])) for row in rows]
    for i, found in enumerate(outputs_of(opened(output), rows)):
        assert sqnr(torch.cat([item[i] for item in expected]).numpy(), found) > least_db


def test_a_damaged_file_is_refused(convert, tmp_path):
    path = tmp_path / "float.pt2"
    path.write_bytes(b"PK not a program")
    with pytest.raises(
        ModelError,
        match=rf"^{re.escape(str(path))} is damaged: it is no complete zip archive \(16 bytes\)\. "
        r"Copy or save the file again\.$",
    ):
        convert("two_inputs", Recipe(default="fp32"), path=path)


def test_a_model_that_returns_a_dict_is_refused(convert, tmp_path):
    import torch

    class Named(torch.nn.Module):
        def forward(self, x):
            return {"scores": x + 1, "boxes": x * 2}

    path = tmp_path / "float.pt2"
    torch.export.save(torch.export.export(Named(), (torch.zeros(1, 8),)), path)
    with pytest.raises(
        ConversionError,
        match=re.escape(
            "two_outputs.py:build returns a dict (scores, boxes); artifacts return tensors in a fixed order. "
            "Wrap the model so that its forward returns a tensor or a tuple of tensors."
        )
        + "$",
    ):
        convert("two_outputs", Recipe(default="fp32"), path=path)


def test_a_dynamic_shape_is_refused_by_input_and_axis(convert, tmp_path):
    import torch

    path = tmp_path / "float.pt2"
    program = torch.export.export(
        torch.nn.ReLU(), (torch.zeros(1, 8),), dynamic_shapes={"input": {1: torch.export.Dim("width", min=2, max=64)}}
    )
    torch.export.save(program, path)
    with pytest.raises(
        ConversionError,
        match=r'^two_outputs\.py:build: input "input" has a dynamic size \(\w+\) on axis 1; artifacts have fixed '
        r"shapes\. Export the model without dynamic_shapes\.$",
    ):
        convert("two_outputs", Recipe(default="fp32"), path=path)


def test_calibration_data_of_another_shape_is_refused(convert, tmp_path):
    wrong = write_samples(tmp_path / "wrong", ["x"], [(np.zeros((1, 9), np.float32),)])
    with pytest.raises(
        DataError,
        match=re.escape(
            'Calibration data for the input "x" has rows of shape (1, 9); the model expects (1, 8). '
            "Preprocess calibration data as the model's inputs."
        )
        + "$",
    ):
        convert("two_outputs", Recipe(default="int8_static"), calibration=wrong.folder)


def test_calibration_data_with_too_few_tensors_is_refused(convert, tmp_path):
    wrong = write_samples(tmp_path / "wrong", ["left"], [(np.zeros((1, 8), np.float32),)])
    with pytest.raises(
        DataError,
        match=re.escape(
            "Calibration data has 1 tensors a sample (left) and the model has 2 inputs (left, right). "
            "Yield one tensor for each input."
        )
        + "$",
    ):
        convert("two_inputs", Recipe(default="int8_static"), calibration=wrong.folder)


@pytest.mark.parametrize("method", ["minmax", "mse"])
def test_calibration_data_with_nan_is_refused(convert, tmp_path, method):
    wrong = write_samples(tmp_path / "wrong", ["x"], [(np.full((1, 8), np.nan, np.float32),)])
    with pytest.raises(
        DataError,
        match=re.escape(
            'The tensor "x" has NaN or infinite values while the float model runs on calibration data. '
            "Check the calibration data's preprocessing, and that the float model itself works on it."
        )
        + "$",
    ):
        convert("two_outputs", Recipe(default="int8_static", ranges=method), calibration=wrong.folder)
