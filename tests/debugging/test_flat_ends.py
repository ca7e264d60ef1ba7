"""Ranges that end where an activation is flat are no fault, and ranges that end too early are one."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.converters.base import ConversionRequest
from edgekit.converters.to_onnx import ONNXConverter
from edgekit.debugging.job import ComparisonRequest, run
from edgekit.model import CapturedModel, TensorSpec
from edgekit.quantization import ranges
from edgekit.quantization.activation_ranges import seen_through
from edgekit.recipe import Recipe
from edgekit.samples import Samples, write_samples
from edgekit.workers.worker import silent


@pytest.fixture(scope="module")
def smooth(tmp_path_factory: pytest.TempPathFactory) -> tuple[CapturedModel, Samples]:
    """A network whose first layer gives values far below those that its SiLU tells apart."""
    import torch
    from torch import nn

    from edgekit.torch_program.canonical_program import canonical

    folder = tmp_path_factory.mktemp("smooth")
    torch.manual_seed(0)
    stem, middle, head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 4, 1)
    stem.weight.data *= 20
    torch.nn.init.constant_(stem.bias, -20.0)
    model = nn.Sequential(stem, nn.SiLU(), middle, nn.Hardswish(), head).eval()
    images = torch.randn(8, 3, 12, 12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = canonical(torch.export.export(model, (images[:1],)), (images[:1],), "smooth")
    torch.export.save(program, folder / "float.pt2")
    samples = write_samples(folder / "samples", ["input"], ((image[None].numpy(),) for image in images))
    captured = CapturedModel(
        name="smooth",
        source="smooth.py:build",
        source_kind="torch",
        kind="pt2",
        path=folder / "float.pt2",
        inputs=(TensorSpec(name="input", shape=(1, 3, 12, 12), dtype="float32"),),
        outputs=(TensorSpec(name="output", shape=(1, 4, 8, 8), dtype="float32"),),
        digest="0" * 64,
        parameters=1,
        macs=None,
        family="cnn",
    )
    return captured, samples


def report_of(smooth: tuple[CapturedModel, Samples], folder: Path) -> Any:
    captured, samples = smooth
    path = folder / "smooth.onnx"
    ONNXConverter().run(
        ConversionRequest(
            model=captured,
            recipe=Recipe(default="int8_static"),
            calibration=samples.folder,
            io="float",
            metadata={},
            scratch=folder,
        ),
        path,
        silent,
    )
    return run(
        ComparisonRequest(
            model=captured, source=captured.source, artifact=path, runtime="onnx", precision="int8-static",
            samples=samples, samples_from="calibration", count=8, threads=1, metric="cosine", base=Path(),
        ),
        silent,
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore")
def test_what_an_activation_does_not_tell_apart_is_not_missed(smooth: Any, tmp_path: Path) -> None:
    report = report_of(smooth, tmp_path)
    assert report.first_departure is None
    assert not any(suspect.is_fault for suspect in report.suspects)


@pytest.mark.filterwarnings("ignore")
def test_a_range_that_ends_where_the_activation_is_not_flat_is_a_fault(
    smooth: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "distinct_range", lambda _low, high, _activation: (-0.5, high / 2))
    assert report_of(smooth, tmp_path).first_departure is not None


@pytest.mark.parametrize(("low", "kept"), [(-5.5, False), (-2.0, True)])
def test_values_are_clipped_only_where_the_activation_is_flat(low: float, *, kept: bool) -> None:
    values = np.linspace(-40, 10, 1001, dtype=np.float32)
    found = seen_through(values, low, 10.0, "silu")
    assert (found.min() == values.min()) == kept
