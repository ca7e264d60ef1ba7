"""Heads judged by structure and by their values, and what keeping them in float saves in a simulation."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

from edgekit.formats.realisation import FusingKernels
from edgekit.model import CapturedModel, TensorSpec
from edgekit.quantization.pt2e_graph import read_float_graph
from edgekit.quantization.pt2e_plan import plan_quantization
from edgekit.recipe import Recipe
from edgekit.samples import write_samples
from edgekit.simulation import jobs
from edgekit.simulation.head_ranges import HeadRequest, JudgedHead, judge_heads


def silent(_phrase: str, _share: float | None = None) -> None:
    pass


def networks() -> dict[str, Any]:
    """Networks by name: what their heads do with a map of boxes, one of scores and one of points."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self, head: Any) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 3, 2, 1)
            self.boxes, self.scores, self.points = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 2, 1), nn.Conv2d(8, 3, 1)
            self.all = nn.Linear(8, 5)
            self.decode = head

        def forward(self, x: Any) -> Any:
            return self.decode(self, torch.relu(self.stem(x)))

    def near(net: Any, x: Any) -> Any:
        return torch.cat([net.boxes(x), net.scores(x)], 1)

    def far(net: Any, x: Any) -> Any:
        return torch.cat([net.boxes(x) * 640, net.scores(x)], 1)

    def turned(net: Any, x: Any) -> Any:
        boxes = (net.boxes(x) * 640).flatten(2).transpose(1, 2)
        scores = net.scores(x).permute(0, 2, 3, 1).reshape(1, -1, 2)
        return torch.cat([boxes, scores], 2).reshape(1, 1, -1, 6)

    def three(net: Any, x: Any) -> Any:
        return torch.cat([net.boxes(x) * 640, net.scores(x).sigmoid(), net.points(x)], 1)

    def stacked(net: Any, x: Any) -> Any:
        return torch.stack([net.boxes(x) * 640, net.boxes(x).sigmoid()], 1)

    def early(net: Any, x: Any) -> Any:
        return (
            torch.cat([net.boxes(x), net.scores(x)], 1).sigmoid() * torch.tensor([640.0] * 4 + [1.0] * 2)[:, None, None]
        )

    def sizes(net: Any, x: Any) -> Any:
        return net.boxes(x).exp()

    def two(net: Any, x: Any) -> Any:
        return far(net, x), net.points(x)

    def mask(net: Any, x: Any) -> Any:
        return net.scores(x).sigmoid()

    def values(net: Any, x: Any) -> Any:
        return net.all(x.mean((2, 3)))

    made = {f.__name__: Net(f) for f in (near, far, turned, three, stacked, early, sizes, two, mask, values)}
    with torch.no_grad():
        made["values"].all.weight.mul_(torch.tensor([640.0, 640, 640, 640, 1])[:, None])
        made["values"].all.bias.zero_()
    return made


@pytest.fixture
def captured(tmp_path: Path) -> Any:
    """Returns a function from a network's name to the request that judges it."""
    import torch

    from edgekit.torch_program.canonical_program import canonical

    def capture(name: str) -> HeadRequest:
        torch.manual_seed(0)
        model = networks()[name].eval()
        rows = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(1))
        example = (rows[:1],)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.export.save(canonical(torch.export.export(model, example), example, "net"), tmp_path / "float.pt2")
        found = model(*example)
        outputs = found if isinstance(found, tuple) else (found,)
        specs = [TensorSpec(name=f"out_{i}", shape=tuple(o.shape), dtype="float32") for i, o in enumerate(outputs)]
        samples = write_samples(tmp_path / "samples", ["image"], ((row[None].numpy(),) for row in rows))
        net = CapturedModel(
            name="net", source="net.py:build", source_kind="torch", kind="pt2", path=tmp_path / "float.pt2",
            inputs=(TensorSpec(name="image", shape=(1, 3, 16, 16), dtype="float32"),), outputs=tuple(specs),
            digest="0" * 64, parameters=1, macs=None, family="cnn",
        )  # fmt: skip
        return HeadRequest(model=net, samples=samples)

    return capture


@pytest.mark.parametrize(
    ("name", "stays", "joints"),
    [
        ("near", [False], [1]),
        ("far", [True], [1]),
        ("turned", [True], [1]),
        ("three", [True], [1]),
        ("stacked", [True], [1]),
        ("early", [True], [1]),
        ("sizes", [True], [0]),
        ("two", [True, False], [1, 0]),
        ("mask", [False], [0]),
        ("values", [False], [0]),
    ],
)
def test_a_head_stays_float_where_it_decodes_or_its_members_are_far_apart(
    captured: Any, name: str, stays: list[bool], joints: list[int]
) -> None:
    found = judge_heads(captured(name), silent).heads
    assert [head.stays_float for head in found] == stays
    assert [head.joints for head in found] == joints


def test_the_widths_of_members_are_those_of_their_values(captured: Any) -> None:
    (near,) = judge_heads(captured("near"), silent).heads
    (far,) = judge_heads(captured("far"), silent).heads
    assert far.widths[1] > 4 * far.widths[0]
    assert near.widths[1] < 4 * near.widths[0]
    assert 500 < far.widths[1] < 5000


def test_a_layer_whose_channels_are_quantities_of_other_size_is_named(captured: Any) -> None:
    (found,) = judge_heads(captured("values"), silent).heads
    assert found.layers == ("all",)


def test_members_that_were_not_measured_count_as_far_apart() -> None:
    assert JudgedHead(position=0, joints=1, decodes=False).stays_float
    assert not JudgedHead(position=0, joints=0, decodes=False).stays_float
    assert not JudgedHead(position=0, joints=1, decodes=False, widths=(1.0, 3.9)).stays_float
    assert JudgedHead(position=0, joints=1, decodes=False, widths=(1.0, 4.0)).stays_float


@pytest.mark.parametrize("kernels", ["xnnpack", "mil"])
def test_a_head_that_stays_float_has_no_grid_of_its_own(captured: Any, kernels: FusingKernels) -> None:
    graph = read_float_graph(captured("near").model)
    whole = plan_quantization(graph.module, Recipe(default="int8_static"), kernels)
    kept = plan_quantization(graph.module, Recipe(default="int8_static", float_heads=(0,)), kernels)
    assert "cat" in whole.group_of
    assert "cat" not in kept.group_of
    assert whole.group_of["conv2d_1"] == whole.group_of["conv2d_2"]
    assert kept.group_of["conv2d_1"] != kept.group_of["conv2d_2"]


def test_the_metric_of_a_layer_is_measured_where_noise_says_nothing(captured: Any, tmp_path: Path) -> None:
    metric = tmp_path / "metrics.py"
    metric.write_text(
        "import numpy as np\n"
        "def scores(outputs, targets):\n"
        "    values = outputs[0] if isinstance(outputs, tuple) else outputs\n"
        "    return float(np.clip(np.abs(values[:, 4:]).mean(), 0, 1))\n"
    )
    request = captured("far")
    (tmp_path / "journal").mkdir()
    sensitivity = jobs.SensitivityRequest(
        data=jobs.SimulationData(model=request.model, samples=request.samples),
        runtime="onnx",
        recipe=Recipe(float_heads=(0,)),
        precisions=("int8_static",),
        metric=f"{metric}:scores",
        metric_sha256="0",
        base=tmp_path,
        journal=tmp_path / "journal",
    )
    found = jobs.measure(sensitivity, silent)
    assert found.metric == f"{metric}:scores"
    points = {item.module: item.points for item in found.layers}
    assert set(points) == {"stem", "boxes", "scores"}
    assert points["boxes"] == pytest.approx(0, abs=1e-6)
    assert abs(points["scores"]) > 1e-4


def test_a_metric_that_cannot_be_taken_leaves_noise_alone(captured: Any, tmp_path: Path) -> None:
    request = captured("far")
    (tmp_path / "journal").mkdir()
    sensitivity = jobs.SensitivityRequest(
        data=jobs.SimulationData(model=request.model, samples=request.samples),
        runtime="onnx", recipe=Recipe(), precisions=("int8_static",), metric="map", metric_sha256=None,
        base=tmp_path, journal=tmp_path / "journal",
    )  # fmt: skip
    found = jobs.measure(sensitivity, silent)
    assert found.metric == ""
    assert {item.points for item in found.layers} == {None}
