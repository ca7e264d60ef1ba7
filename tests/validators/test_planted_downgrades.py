"""Downgrades planted in real artifacts of every format are found in what their runtimes say, and named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgekit.artifact import Artifact, runtime_of
from edgekit.budget import Budget, Limit
from edgekit.recipe import Recipe
from edgekit.validators.artifact_operators import ArtifactOperator
from edgekit.validators.coreml_evaluator.arithmetic import describe_package
from edgekit.validators.delegate_coverage import DelegateCoverageValidator
from edgekit.validators.execution import collect_evidence
from edgekit.validators.ignored_settings import IgnoredSettingsValidator
from edgekit.validators.integer_coverage import IntegerCoverageValidator
from edgekit.validators.requested import requested_settings
from edgekit.validators.runner_process import RunSettings
from edgekit.workers.structure import structure

pytestmark = pytest.mark.runtime

STATIC = requested_settings(Recipe(default="int8_static"))
ALL = Budget(limits=(Limit(name="delegate_coverage", value=100.0, source="test"),))


@pytest.fixture(scope="module")
def evidence_of(tiny, tmp_path_factory):
    """Returns a function from an artifact's name to what its own runtime tells about it, run once."""
    write_onnx(tiny / "planted_int8.onnx", planted=True)
    write_onnx(tiny / "tiny_int8.onnx", planted=False)
    found = {}

    def evidence(name):
        if name not in found:
            path = tiny / name
            artifact = Artifact(
                path=path, runtime=runtime_of(path), precision="", size_bytes=1, download_bytes=1, sha256=""
            )
            made = collect_evidence(
                artifact,
                folder=tmp_path_factory.mktemp("outputs"),
                pieces=("memory",),
                settings=RunSettings(timeout_s=120),
            )
            found[name] = replace(made, requested=STATIC)
        return found[name]

    return evidence


def write_onnx(path, *, planted):
    """Writes two convolutions between QuantizeLinear and DequantizeLinear; `planted`: the second one is float."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(0).integers(-127, 128, (4, 4, 3, 3)).astype(np.int8)
    stored = {
        **{f"{name}_scales": np.full(4, 0.01, np.float32) for name in ("first", "second")},
        **{f"{name}_zeros": np.zeros(4, np.int8) for name in ("first", "second")},
        "first": weights,
        "second": weights * np.float32(0.01) if planted else weights,
    }

    def on_grid(x, name):
        # Constants of its own: onnxruntime cannot rewrite nodes that share theirs.
        grid = [f"{name}_step", f"{name}_zero"]
        stored.update({grid[0]: np.float32(0.05), grid[1]: np.uint8(128)})
        return [
            helper.make_node("QuantizeLinear", [x, *grid], [f"{name}_q"]),
            helper.make_node("DequantizeLinear", [f"{name}_q", *grid], [name]),
        ]

    nodes = [
        *on_grid("image", "x"),
        helper.make_node("DequantizeLinear", ["first", "first_scales", "first_zeros"], ["first_w"], axis=0),
        helper.make_node("Conv", ["x", "first_w"], ["y"], name="first"),
        *on_grid("y", "y_on_grid"),
    ]
    if planted:
        # Between DequantizeLinear and QuantizeLinear onnxruntime would quantize float weights by itself.
        nodes.append(helper.make_node("Sigmoid", ["y_on_grid"], ["off_grid"]))
    else:
        nodes.append(
            helper.make_node("DequantizeLinear", ["second", "second_scales", "second_zeros"], ["second_w"], axis=0)
        )
    read = ["off_grid", "second"] if planted else ["y_on_grid", "second_w"]
    nodes.append(helper.make_node("Conv", read, ["result" if planted else "z"], name="second"))
    nodes += [] if planted else on_grid("z", "result")
    values = [helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 4, 8, 8))]
    results = [helper.make_tensor_value_info("result", TensorProto.FLOAT, (1, 4, 4, 4))]
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in stored.items()]
    graph = helper.make_graph(nodes, "two", values, results, tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


@pytest.mark.parametrize(
    ("name", "named"),
    [
        pytest.param("planted_int8.tflite", "(CONV_2D)", id="tflite"),
        pytest.param("planted_int8.onnx", "result (Conv)", id="onnx"),
        pytest.param("uncommon_int8.pte", "aten::convolution", id="executorch"),
        pytest.param("planted_int8.mlpackage", "second (conv)", id="coreml"),
    ],
)
def test_a_float_convolution_in_an_int8_file_fails_and_is_named(evidence_of, name, named):
    check = IntegerCoverageValidator().run(evidence_of(name), Budget())[0]
    assert (check.verdict, check.level) == ("fail", "error")
    assert 0 < check.value < 100
    assert named in check.detail.partition("In float: ")[2]


@pytest.mark.parametrize("name", ["tiny_int8.tflite", "tiny_int8.onnx"])
def test_an_int8_file_passes(evidence_of, name):
    evidence = evidence_of(name)
    check = IntegerCoverageValidator().run(evidence, Budget())[0]
    assert (check.verdict, check.value) == ("pass", 100.0)
    assert IgnoredSettingsValidator().run(evidence, Budget())[0].verdict == "pass"


@pytest.mark.parametrize(
    ("name", "named"),
    [
        pytest.param("uncommon.tflite", "(CONV_3D)", id="tflite"),
        pytest.param("uncommon_int8.pte", "aten::convolution", id="executorch"),
    ],
)
def test_an_operator_that_xnnpack_does_not_take_is_named(evidence_of, name, named):
    check = DelegateCoverageValidator().run(evidence_of(name), ALL)[0]
    assert (check.verdict, check.basis) == ("fail", "measured")
    assert 0 < check.value < 100
    assert named in check.detail.partition("Off it: ")[2]


@pytest.mark.parametrize("name", ["tiny.tflite", "tiny.onnx"])
def test_a_model_that_suits_its_runtime_is_on_the_fast_path_as_a_whole(evidence_of, name):
    check = DelegateCoverageValidator().run(evidence_of(name), ALL)[0]
    assert (check.verdict, check.value) == ("pass", 100.0)


def test_four_bits_that_did_not_come_out_are_reported(evidence_of):
    evidence = replace(evidence_of("tiny_int8.tflite"), requested=requested_settings(Recipe(default="int4_weights")))
    check = IgnoredSettingsValidator().run(evidence, Budget())[0]
    assert (check.verdict, check.level) == ("fail", "error")
    assert check.detail == "int4_weights was requested; no layer has 4-bit weights, but 2 with 8 bits."


def test_float_inputs_where_integers_were_requested_are_read_from_the_file(evidence_of):
    evidence = replace(
        evidence_of("tiny_int8.onnx"), requested=requested_settings(Recipe(default="int8_static"), io="int8")
    )
    check = IgnoredSettingsValidator().run(evidence, Budget())[0]
    assert check.detail == "--io int8 was requested; image, result came out as float."


def test_a_package_is_described_without_being_loaded_to_run(tiny, evidence_of):
    described = tuple(
        structure(item, ArtifactOperator, "operator") for item in describe_package(tiny / "planted_int8.mlpackage")
    )
    assert described == evidence_of("planted_int8.mlpackage").operators


def test_an_int8_package_passes(tiny, evidence_of):
    described = tuple(
        structure(item, ArtifactOperator, "operator") for item in describe_package(tiny / "tiny_int8.mlpackage")
    )
    evidence = replace(evidence_of("planted_int8.mlpackage"), operators=described)
    check = IntegerCoverageValidator().run(evidence, Budget())[0]
    assert (check.verdict, check.value) == ("pass", 100.0)
