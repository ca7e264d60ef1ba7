"""Artifacts for TensorRT are judged by what their file says: this host's onnxruntime runs them in another way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.artifact import Artifact
from edgekit.budget import Budget
from edgekit.checks import Check
from edgekit.exporting.judge import judge_evidence
from edgekit.recipe import Recipe
from edgekit.validators.execution import collect_evidence
from edgekit.validators.requested import requested_settings
from edgekit.validators.runner_process import RunSettings

pytestmark = pytest.mark.runtime


def convolution(path: Path, zero: Any) -> Path:
    """Writes a convolution with a clamp between grids of 8 bits, as TensorRT takes it: none before the clamp."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["x_q"]),
        helper.make_node("DequantizeLinear", ["x_q", "scale", "zero"], ["x_dq"]),
        helper.make_node("DequantizeLinear", ["w", "scales", "zeros"], ["w_dq"], axis=0),
        helper.make_node("Conv", ["x_dq", "w_dq"], ["c"], "conv", kernel_shape=[3, 3]),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("QuantizeLinear", ["r", "scale", "zero"], ["r_q"]),
        helper.make_node("DequantizeLinear", ["r_q", "scale", "zero"], ["y"]),
    ]
    weights = np.random.default_rng(0).integers(-127, 128, (4, 3, 3, 3)).astype(np.int8)
    constants = {
        "w": weights,
        "scale": np.float32(0.05),
        "zero": zero,
        "scales": np.full(4, 0.01, np.float32),
        "zeros": np.zeros(4, np.int8),
    }
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 6, 6])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def checks_of(path: Path, folder: Path, recipe: Recipe) -> dict[str, Check]:
    artifact = Artifact(path=path, runtime="onnx", precision="", size_bytes=1, download_bytes=1, sha256="")
    ran = collect_evidence(artifact, folder=folder, pieces=("memory",), settings=RunSettings(timeout_s=120))
    judged = judge_evidence(replace(ran, requested=requested_settings(recipe)), Budget())
    return {check.name: check for check in judged}


def test_a_convolution_behind_a_clamp_counts_as_the_file_says(tmp_path: Path) -> None:
    path = convolution(tmp_path / "net.onnx", np.int8(0))
    checks = checks_of(path, tmp_path / "out", Recipe(default="int8_static", symmetric_activations=True))
    coverage, ignored = checks["integer_coverage"], checks["ignored_settings"]
    assert (coverage.verdict, coverage.value) == ("pass", 100.0)
    assert coverage.detail.endswith(
        "By the file's quantize-dequantize pairs: this host's onnxruntime runs signed activations in another way."
    )
    assert (ignored.verdict, ignored.detail) == ("pass", "Each setting that the file can show is there.")


def test_a_zero_point_in_the_file_is_found(tmp_path: Path) -> None:
    path = convolution(tmp_path / "net.onnx", np.int8(5))
    ignored = checks_of(path, tmp_path / "out", Recipe(default="int8_static", symmetric_activations=True))
    assert ignored["ignored_settings"].detail == (
        "Symmetric activations were requested; these have a zero point or no sign: conv (FusedConv)."
    )


def test_without_symmetric_activations_the_host_tells(tmp_path: Path) -> None:
    path = convolution(tmp_path / "net.onnx", np.uint8(0))
    coverage = checks_of(path, tmp_path / "out", Recipe(default="int8_static"))["integer_coverage"]
    assert (coverage.verdict, coverage.value) == ("pass", 100.0)
    assert "pairs" not in coverage.detail
