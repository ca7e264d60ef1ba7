"""Models whose sizes stay open, end to end: what is captured, made, and judged at which size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgekit
from edgekit.errors import EdgekitError
from edgekit.samples import Samples, SampleWriter

SIDES = {"min": 32, "max": 96, "multiple_of": 32, "typical": 64}


def _pictures(*sides: tuple[int, int]) -> list[tuple[Any, Any]]:
    generator = np.random.default_rng(0)
    return [((generator.standard_normal((1, 3, *side)).astype(np.float32),), None) for side in sides]


@pytest.fixture(scope="module")
def pictures() -> Any:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.ConvTranspose2d(8, 2, 2, stride=2)
    ).eval()


def _export(model: Any, folder: Path, formats: str = "onnx", **more: Any) -> Any:
    return edgekit.export(
        model,
        inputs={"input": (1, 3, "height", "width")},
        dimensions={"height": SIDES, "width": SIDES},
        device="pi4",
        formats=formats,
        precision=more.pop("precision", "fp32"),
        evaluation=_pictures((32, 64), (96, 96), (64, 32), (32, 32)),
        output=folder,
        without=("accuracy",),
        **more,
    )


@pytest.mark.runtime
def test_an_onnx_file_keeps_its_sizes_open_and_is_judged_at_three(pictures: Any, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    report = _export(pictures, tmp_path / "out")
    data = report.to_json()
    (artifact,) = data["artifacts"]
    assert artifact["inputs"][0]["shape"] == [1, 3, -1, -1]
    assert artifact["outputs"][0]["shape"] == [1, 2, -1, -1]
    import onnx

    graph = onnx.load(str(tmp_path / "out" / artifact["path"])).graph
    assert [size.dim_param for size in graph.input[0].type.tensor_type.shape.dim][2:] == ["height", "width"]
    assert [size.dim_param for size in graph.output[0].type.tensor_type.shape.dim][2:] == ["height", "width"]
    checks = {check["name"]: check for check in data["checks"]}
    assert checks["memory"]["detail"].startswith("At the largest size (height 96, width 96).")
    for size in ("smallest size (height 32, width 32)", "typical size (height 64, width 64)", "largest size"):
        assert size in checks["parity"]["detail"]
    assert checks["parity"]["verdict"] == "pass"
    assert checks["parity"]["value"] > 60


def test_a_model_that_binds_a_size_is_refused_with_dimension_and_line(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    class Bound(torch.nn.Module):  # type: ignore[misc,name-defined]  # torch is Any here
        def forward(self, input: Any) -> Any:  # noqa: A002  the name that nn.Sequential has
            return input * torch.ones(1, 1, 96, 1)

    with pytest.raises(EdgekitError, match=r"(?s)height 32 to 96 in steps of 32.*test_open_sizes\.py:\d+"):
        _export(Bound().eval(), tmp_path / "out")


def test_rows_of_different_sizes_come_back_as_they_were_written(tmp_path: Path) -> None:
    rows = [(np.arange(6, dtype=np.float32).reshape(1, 2, 3),), (np.ones((1, 1, 2), np.float32),)]
    with SampleWriter(tmp_path, ["x"], largest=[(1, 2, 4)]) as writer:
        for row in rows:
            writer.add(row)
    found = list(Samples.open(tmp_path).rows())
    assert [row[0].shape for row in found] == [(1, 2, 3), (1, 1, 2)]
    assert all(np.array_equal(was[0], row[0]) for was, row in zip(rows, found, strict=True))
