"""Faults planted into real ONNX files: `validate` and `gate` fail them all, and pass the sound one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.cli.app import main

pytestmark = pytest.mark.runtime

RANDOM = np.random.default_rng(0)
WEIGHTS = {
    "w": RANDOM.standard_normal((8, 6)).astype(np.float32),
    "b": RANDOM.standard_normal(6).astype(np.float32),
    "v": RANDOM.standard_normal((8, 6)).astype(np.float32),
}
DATA = ["--evaluation", "data.npz", "--metric", "cosine", "-d", "pi4"]


def save(path: Path, *, outputs: tuple[str, ...] = ("first", "second"), **changed: np.ndarray) -> None:
    """Writes a network of two outputs of one shape: x w + b and tanh(x v)."""
    weights = {**WEIGHTS, **changed}
    made = dict(zip(("first", "second"), outputs, strict=True))
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], [made["first"]]),
        helper.make_node("MatMul", ["x", "v"], ["product"]),
        helper.make_node("Tanh", ["product"], [made["second"]]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 6]) for name in ("first", "second")],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def changed(name: str, place: Any, value: float) -> np.ndarray:
    weight = WEIGHTS[name].copy()
    weight[place] = value
    return weight


FAULTS: dict[str, dict[str, Any]] = {
    "dead channel": {"w": changed("w", (slice(None), 2), 0.0)},
    "swapped outputs": {"outputs": ("second", "first")},
    "stale weights": {"v": RANDOM.standard_normal((8, 6)).astype(np.float32)},
    "one NaN": {"b": changed("b", 1, np.nan)},
    "wrong zero point": {"b": WEIGHTS["b"] + np.float32(0.5)},
    "second output constant": {"v": np.zeros((8, 6), np.float32)},
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def folder(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(cache))
    save(tmp_path / "float.onnx")
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(1).standard_normal((32, 8)).astype(np.float32))
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, dict[str, Any]]]:
    def call(*arguments: str) -> tuple[int, dict[str, Any]]:
        code = main([*arguments, "--json"])
        return code, json.loads(capsys.readouterr().out)

    return call


def checks_of(report: dict[str, Any]) -> dict[str, Any]:
    return {check["name"]: check for check in report["checks"]}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_file_with_a_planted_fault_fails(fault: dict[str, Any], folder: Path, run: Any) -> None:
    save(folder / "net.onnx", **fault)
    code, report = run("validate", "net.onnx", "-m", "float.onnx", *DATA, "--max-drop", "100 pp")
    assert code == 1
    checks = checks_of(report)
    assert "fail" in (checks["parity_floor"]["verdict"], checks["outputs_alive"]["verdict"])


def test_validate_and_gate_judge_a_sound_file_alike(folder: Path, run: Any) -> None:
    save(folder / "net.onnx")
    validated, gated = (run(command, "net.onnx", "-m", "float.onnx", *DATA) for command in ("validate", "gate"))
    assert (validated[0], gated[0]) == (0, 0)
    unsteady = ("memory", "latency", "latency_p95")
    mine, theirs = (
        [{**check, "detail": ""} for check in report["checks"] if check["name"] not in unsteady]
        for _, report in (validated, gated)
    )
    assert mine == theirs
    # A file made elsewhere: its precision is what lies in it, its latency comes from its own graph.
    assert validated[1]["formats"][0]["precision"] == "fp32"
    assert checks_of(validated[1])["latency"]["basis"] == "predicted"


def test_without_a_float_model_the_files_own_metric_is_shown(folder: Path, run: Any) -> None:
    save(folder / "net.onnx")
    x = np.random.default_rng(1).standard_normal((30, 8)).astype(np.float32)
    np.savez(folder / "labelled.npz", x=x, targets=(x @ WEIGHTS["w"] + WEIGHTS["b"]).argmax(1))
    given = ["--evaluation", "labelled.npz", "--metric", "top1", "-d", "pi4"]
    code, report = run("validate", "net.onnx", *given)
    assert code == 1
    detail = "top1 100.00 on 30 items; no float model to compare with. Name it with --model."
    assert checks_of(report)["accuracy_drop"]["detail"] == detail
    assert report["formats"][0]["host"]["accuracy"]["value"] == 100
    assert run("validate", "net.onnx", *given, "--without", "accuracy")[0] == 0
    code, report = run("validate", "net.onnx", *given, "--min-accuracy", "85 %")
    assert (code, checks_of(report)["accuracy"]["verdict"]) == (0, "pass")


def test_why_speaks_of_the_file_that_is_judged(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(folder / "net.onnx")
    assert main(["gate", "net.onnx", "-d", "pi4", "--max-size", "10 B", "--why", "--no-color"]) == 1
    out = capsys.readouterr().out
    assert "Gemm" in out
    assert "blocks" not in out
