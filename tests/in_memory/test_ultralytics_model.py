"""Models of ultralytics in memory: stand-ins with its conventions, and its own where it is installed."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import edgekit
from edgekit.in_memory.task import TaskSource, described_task
from edgekit.in_memory.ultralytics_model import declared_task, network_of

torch = pytest.importorskip("torch")


class Head(torch.nn.Module):
    export = False

    def forward(self, x: Any) -> Any:
        return x if self.export else (x, {"maps": x})


class Network(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = Head()
        self.task = "detect"

    def forward(self, x: Any) -> Any:
        return self.head(x)


class Holder(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model, self.task, self.predictor = Network(), "segment", None


for made in (Head, Network, Holder):
    made.__module__ = "ultralytics.stand_in"


def test_the_network_comes_out_of_its_holder_in_the_form_of_exports() -> None:
    holder = Holder()
    network: Any = network_of(holder)
    assert isinstance(network, Network)
    assert (network.head.export, network.training) == (True, False)
    assert (holder.model.head.export, holder.model.training) == (False, True)
    assert network_of(network) is network
    assert isinstance(network_of(Network()), Network)


def test_another_model_stays_what_it_is() -> None:
    other = torch.nn.Linear(2, 2)
    assert network_of(other) is other
    assert network_of("model.py:build") == "model.py:build"
    assert declared_task(other) is None


@pytest.mark.parametrize(("model", "kind"), [(Holder, "instance_segmentation"), (Network, "detection")])
def test_the_task_is_the_one_that_the_model_names(model: Any, kind: str) -> None:
    task = described_task(TaskSource(model=model(), inputs=(1, 3, 8, 8)))
    assert task.kind == kind
    assert task.metric.startswith("agreement_of(")


def test_a_metric_of_the_task_is_taken() -> None:
    task = described_task(TaskSource(model=Network(), inputs=(1, 3, 8, 8), metric="map50"))
    assert (task.kind, task.metric) == ("detection", "map50")


@pytest.mark.runtime
@pytest.mark.filterwarnings("ignore")
def test_a_yolo_object_is_exported_with_its_own_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("YOLO_VERBOSE", "False")
    if "torchvision" not in sys.modules:
        # It describes operators that a build without them lacks.
        monkeypatch.setitem(
            sys.modules, "torchvision._meta_registrations", ModuleType("torchvision._meta_registrations")
        )
    ultralytics = pytest.importorskip("ultralytics", exc_type=ImportError)
    rows = [np.random.default_rng(i).random((1, 3, 64, 64)).astype(np.float32) for i in range(4)]
    outcome = edgekit.export(
        ultralytics.YOLO("yolo11n.yaml"), inputs=rows[0], device="pi4", formats="onnx", precision="fp32",
        evaluation=[((row,), None) for row in rows], output=tmp_path / "out", max_size="50 MB", max_latency="10 s",
        without="evidence",
    )  # fmt: skip
    report = outcome.to_json()
    assert report["data"]["metric"].startswith("agreement_of(metric='map'")
    assert [spec["shape"] for spec in report["formats"][0]["artifact"]["outputs"]] == [[1, 84, 84]]
