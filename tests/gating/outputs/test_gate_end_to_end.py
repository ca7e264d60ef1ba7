"""The gate over real exports: an artifact, latency against a baseline, and a rebuild, all in ONNX Runtime."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.cli.app import main

pytestmark = pytest.mark.runtime

TASK = (
    '[model]\nsource = "net.onnx"\n[data]\nevaluation = "data.npz"\nmetric = "cosine"\n[devices.pi4]\nformat = "onnx"\n'
)
WIDTH = 384


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, write_onnx: Callable[..., None]) -> Path:
    """`old`, `same` (other weights) and `slow` (four times the layers), each exported to `NAME/out` at fp32."""
    root = tmp_path_factory.mktemp("gate")
    patch = pytest.MonkeyPatch()
    patch.setenv("EDGEKIT_CACHE_DIR", str(root / "cache"))
    for name, layers, seed in (("old", 3, 0), ("same", 3, 1), ("slow", 12, 2)):
        (root / name).mkdir()
        write_onnx(root / name / "net.onnx", width=WIDTH, layers=layers, seed=seed)
        data = np.random.default_rng(3).standard_normal((30, WIDTH)).astype(np.float32)
        np.savez(root / name / "data.npz", x=data)
        (root / name / "edgekit.toml").write_text(TASK)
        patch.chdir(root / name)
        assert main(["export", "-d", "pi4", "-p", "fp32", "-o", "out", "--json"]) == 0
    assert main(["baseline", "set", str(root / "old" / "out"), "-o", str(root / "b.json"), "--keep-artifacts"]) == 0
    patch.undo()
    return root


def gate(
    folder: Path, name: str, capsys: pytest.CaptureFixture[str], *arguments: str, target: str = "out"
) -> tuple[int, dict[str, dict[str, Any]]]:
    capsys.readouterr()
    patch = pytest.MonkeyPatch()
    patch.setenv("EDGEKIT_CACHE_DIR", str(folder / "cache"))
    patch.chdir(folder / name)
    code = main(["gate", target, "-d", "pi4", "--json", "--baseline", str(folder / "b.json"), *arguments])
    patch.undo()
    return code, {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}


def test_an_artifact_that_became_slower_fails(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, checks = gate(folder, "slow", capsys, "--max-regression", "latency +50 %")
    assert (code, checks["latency_change"]["verdict"]) == (1, "fail")
    assert checks["latency_change"]["low"] > 50
    assert checks["latency_change"]["measured_on"].startswith("host: ")


def test_an_artifact_of_the_same_work_does_not_fail(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, checks = gate(folder, "same", capsys, "--max-regression", "latency +10 %, size +1 %")
    assert code == 0
    assert checks["latency_change"]["verdict"] in ("pass", "inconclusive")
    assert checks["size_change"]["verdict"] == "pass"


def test_a_single_artifact_is_run_and_compared(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, checks = gate(
        folder, "old", capsys, "--max-regression", "size +1 %, accuracy -0.1 pp", target="out/net-fp32.onnx"
    )
    assert code == 0
    assert checks["accuracy_drop"]["value"] == pytest.approx(0, abs=1e-3)
    assert [checks[name]["value"] for name in ("size_change", "accuracy_change")] == [0.0, 0.0]


def test_the_same_inputs_are_rebuilt_to_the_same_bytes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(folder / "cache"))
    monkeypatch.chdir(folder / "old")
    assert main(["verify", "out", "--rebuild", "--json"]) == 0
    checks = {item["name"]: item["detail"] for item in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["net-fp32.onnx, rebuilt"] == "The same bytes."


def test_a_rebuild_of_another_model_stops_at_the_model(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(folder / "cache"))
    monkeypatch.chdir(folder / "same")
    assert main(["verify", "../old/out", "--rebuild", "--json"]) == 1
    items = json.loads(capsys.readouterr().out)["checks"]
    assert [(item["name"], item["verdict"]) for item in items if item["verdict"] == "failed"] == [("model", "failed")]
    assert not any(item["name"].endswith("rebuilt") for item in items)
