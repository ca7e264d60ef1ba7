"""Programs of the Core ML evaluator as a whole: interface, precision, trace, facts, inputs that do not fit."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional

from edgekit.errors import ArtifactError, DataError
from edgekit.validators.coreml_evaluator import StoredConstant, load

RNG = np.random.default_rng(10)
X = RNG.normal(0, 1, (1, 3, 8, 8)).astype(np.float32)
KERNEL = RNG.normal(0, 0.3, (4, 3, 3, 3)).astype(np.float32)
DENSE = RNG.normal(0, 0.3, (5, 4)).astype(np.float32)


def network(mb, x):
    x = mb.relu(x=mb.conv(x=x, weight=KERNEL, pad_type="same", name="features"), name="active")
    pooled = mb.reduce_mean(x=x, axes=[2, 3], name="pooled")
    return mb.linear(x=pooled, weight=DENSE, name="scores")


def by_torch(x):
    return functional.relu(functional.conv2d(torch.from_numpy(x), torch.from_numpy(KERNEL), padding=1))


CASES = {
    "network": ("iOS15", {"x": X}, network, None),
    "two-inputs": (
        "iOS15",
        {"ids": np.array([1, 0], np.int32), "x": np.ones((2, 3), np.float32)},
        lambda mb, ids, x: mb.mul(x=x, y=mb.expand_dims(x=mb.cast(x=ids, dtype="fp32"), axes=[1]), name="out"),
        None,
    ),
}


def half_network(ct, mb):
    """The network as coremltools converts it by default: fp16 inside, fp32 outside, with metadata."""

    @mb.program(input_specs=[mb.TensorSpec(X.shape)], opset_version=ct.target.iOS17)
    def program(x):
        return network(mb, x)

    model = ct.convert(program, source="milinternal", minimum_deployment_target=ct.target.iOS17, skip_model_load=True)
    model.short_description, model.version, model.author = "A small network", "1.2", "Somebody"
    model.license, model.user_defined_metadata["edgekit.layout"] = "Apache-2.0", "NCHW"
    return model


def flexible(ct, mb):
    """A batch of one to eight, an input that may be left out, and an image."""

    @mb.program(
        input_specs=[
            mb.TensorSpec((ct.converters.mil.mil.get_new_symbol(), 3)),
            mb.TensorSpec((3,)),
            mb.TensorSpec((1, 3, 4, 4)),
        ],
        opset_version=ct.target.iOS16,
    )
    def program(x, shift, picture):
        total = mb.reduce_sum(x=picture, axes=[0, 2, 3])
        return mb.add(x=mb.add(x=x, y=shift), y=total, name="out")

    return ct.convert(
        program,
        source="milinternal",
        inputs=[
            ct.TensorType("x", shape=(ct.RangeDim(1, 8), 3)),
            ct.TensorType("shift", shape=(3,), default_value=np.full(3, 0.5, np.float32)),
            ct.ImageType("picture", shape=(1, 3, 4, 4)),
        ],
        minimum_deployment_target=ct.target.iOS16,
        compute_precision=ct.precision.FLOAT32,
        skip_model_load=True,
    )


def custom(ct, mb):
    """Operators that no evaluator can have: written into the protobuf, as a custom layer would be."""
    model = half_network(ct, mb)
    block = model._spec.mlProgram.functions["main"].block_specializations["CoreML7"]
    for operation in block.operations:
        if operation.type in ("relu", "reduce_mean"):
            operation.type = "my_" + operation.type
    return ct.models.MLModel(model._spec, weights_dir=model.weights_dir, skip_model_load=True)


PACKAGES = {"half-network": half_network, "flexible": flexible, "custom": custom}


def test_the_interface_is_that_of_the_package(packages):
    program = load(packages / "network.mlpackage")
    assert [(item.name, item.shape, item.dtype, item.kind) for item in program.inputs] == [
        ("x", (1, 3, 8, 8), "fp32", "tensor")
    ]
    assert [(item.name, item.shape, item.dtype, item.kind) for item in program.outputs] == [
        ("scores", (1, 5), "fp32", "tensor")
    ]
    assert program.states == ()
    assert program.random_operators == ()
    assert (program.specification_version, program.deployment_target) == (6, "iOS15")
    assert program.operator_counts == {"conv": 1, "relu": 1, "reduce_mean": 1, "linear": 1}


def test_metadata_is_that_of_the_package(packages):
    metadata = load(packages / "half-network.mlpackage").metadata
    assert (metadata.short_description, metadata.version) == ("A small network", "1.2")
    assert (metadata.author, metadata.license) == ("Somebody", "Apache-2.0")
    assert metadata.user_defined["edgekit.layout"] == "NCHW"


def test_plain_constants_are_reported_with_their_size(packages):
    stored = {item.name: item for item in load(packages / "network.mlpackage").stored_constants}
    assert stored["features_weight_0"] == StoredConstant(
        name="features_weight_0",
        shape=(4, 3, 3, 3),
        dtype="fp32",
        stored_dtype="fp32",
        encoding=(),
        stored_bytes=4 * 108,
    )


def test_fp16_results_are_rounded_to_fp16_one_operator_after_the_other(packages):
    values = {}
    program = load(packages / "half-network.mlpackage", precision="fp16")
    outputs = program.run({"x": X}, trace=values.__setitem__)

    def half(array):
        return array.astype(np.float16).astype(np.float32)

    features = functional.conv2d(torch.from_numpy(half(X)), torch.from_numpy(half(KERNEL)), padding=1).numpy()
    expected = half(half(np.maximum(half(features), 0)).mean((2, 3)))
    np.testing.assert_array_equal(values["features_cast_fp16"], half(features))
    np.testing.assert_array_equal(values["pooled_cast_fp16"], expected)
    np.testing.assert_array_equal(outputs["scores"], half(expected @ half(DENSE).T))
    assert outputs["scores"].dtype == np.float32


def test_fp32_precision_rounds_nothing_but_the_stored_weights(packages):
    program = load(packages / "half-network.mlpackage", precision="fp32")
    values = {}
    program.run({"x": X}, trace=values.__setitem__)
    weights = torch.from_numpy(KERNEL.astype(np.float16).astype(np.float32))
    expected = functional.conv2d(torch.from_numpy(X), weights, padding=1).numpy()
    np.testing.assert_allclose(values["features_cast_fp16"], expected, rtol=1e-6, atol=1e-6)


def test_the_trace_has_every_result_by_its_name_in_order(packages):
    values = {}
    outputs = load(packages / "network.mlpackage").run({"x": X}, trace=values.__setitem__)
    assert list(values) == ["features", "active", "pooled", "scores"]
    np.testing.assert_allclose(values["active"], by_torch(X).numpy(), atol=1e-5)
    np.testing.assert_array_equal(values["scores"], outputs["scores"])


def test_an_output_is_the_callers_own_array(packages):
    program = load(packages / "network.mlpackage")
    first = program.run({"x": X})["scores"]
    kept = first.copy()
    first[:] = 0
    np.testing.assert_array_equal(program.run({"x": X})["scores"], kept)


def test_the_thread_count_is_set_for_the_run_only(packages, monkeypatch):
    seen = []
    monkeypatch.setattr(torch, "set_num_threads", seen.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    load(packages / "network.mlpackage", threads=3).run({"x": X})
    assert seen == [3, 7]


def test_a_flexible_dimension_takes_any_size_and_an_optional_input_its_default(packages):
    program = load(packages / "flexible.mlpackage")
    assert [(item.shape, item.kind, item.default) for item in program.inputs] == [
        ((None, 3), "tensor", None),
        ((3,), "tensor", 0.5),
        ((1, 3, 4, 4), "image", None),
    ]
    picture = np.ones((1, 3, 4, 4), np.float32)
    for batch in (1, 5):
        x = np.ones((batch, 3), np.float32)
        np.testing.assert_allclose(program.run({"x": x, "picture": picture})["out"], np.full((batch, 3), 17.5))


def test_numbers_of_the_same_kind_are_converted(packages):
    program = load(packages / "two-inputs.mlpackage")
    outputs = program.run({"ids": np.array([2, 3], np.int64), "x": np.ones((2, 3), np.float64)})
    np.testing.assert_array_equal(outputs["out"], [[2, 2, 2], [3, 3, 3]])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            {"x": np.ones((2, 3), np.float32)},
            'The input "ids" is missing. The model\'s inputs are "ids", "x".',
        ),
        (
            {"ids": np.ones(2, np.int32), "y": np.ones((2, 3), np.float32)},
            'The model has no input "y". Its inputs are "ids", "x".',
        ),
        (
            {"ids": np.ones(2, np.int32), "x": np.ones((3, 2), np.float32)},
            'Input "x" got an array of shape [3, 2]; the model takes [2, 3].',
        ),
        (
            {"ids": np.ones(2, np.float32), "x": np.ones((2, 3), np.float32)},
            'Input "ids" got an array of float32; the model takes int32 (integer). Convert it before.',
        ),
        (
            {"ids": np.array([1, 2**40]), "x": np.ones((2, 3), np.float32)},
            'Input "ids" holds 1099511627776, which int32 cannot hold. Give values in range.',
        ),
    ],
    ids=["missing", "unknown", "shape", "kind", "range"],
)
def test_inputs_that_do_not_fit_are_named(inputs, message, packages):
    with pytest.raises(DataError) as caught:
        load(packages / "two-inputs.mlpackage").run(inputs)
    assert caught.value.message == message


def test_all_operators_that_are_lacking_are_named_when_loading(packages):
    path = packages / "custom.mlpackage"
    with pytest.raises(ArtifactError) as caught:
        load(path)
    assert caught.value.message == (
        f"{path}: the Core ML evaluator lacks my_reduce_mean, my_relu. It runs the operators of the iOS 15 to iOS 18 "
        "opsets; validate this package on a Mac, or replace what the model uses there."
    )


def test_a_function_that_the_program_does_not_have_is_an_error(packages):
    path = packages / "network.mlpackage"
    with pytest.raises(ArtifactError) as caught:
        load(path, function="decode")
    assert caught.value.message == f'{path}: the program has no function "decode". It has: main.'


def test_every_operator_of_coremltools_is_there_and_was_compared(packages):
    from edgekit.validators.coreml_evaluator.operators.table import OPERATORS

    registry = set(json.loads((packages / "registry.json").read_text()))
    # A constant is read, not computed; a symbolic one is coremltools' own business and never in a file.
    expected = {name for name in registry if name != "const" and not name.startswith(("_const", "constexpr_"))}
    assert expected <= set(OPERATORS)
    compared = set()
    for path in packages.glob("*.mlpackage"):
        if path.stem not in ("custom", "resize-undocumented"):
            compared |= set(load(path).operator_counts)
    assert expected - compared == {"coreml_update_state"} & expected  # saved as write_state and read_state
    constants = {name for name in registry if name.startswith("constexpr_")}
    encodings = {
        kind
        for path in packages.glob("constexpr*.mlpackage")
        for item in load(path).stored_constants
        for kind in item.encoding
    }
    assert encodings == constants


def test_importing_the_evaluator_imports_no_framework():
    code = (
        "import sys, edgekit.validators.coreml_evaluator\n"
        "print([name for name in ('torch', 'coremltools') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_loading_does_not_import_all_of_coremltools(packages):
    code = (
        "import sys\nfrom edgekit.validators.coreml_evaluator import load\n"
        f"load({str(packages / 'network.mlpackage')!r})\n"
        "print('coremltools' in sys.modules, 'coremltools.converters' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False False"
