"""TorchScript files: what they are captured with, what is refused, and that all formats can be made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import edgekit
from edgekit.errors import ModelError
from edgekit.model import Dimension
from edgekit.sources.base import CaptureRequest
from edgekit.sources.capture import run
from edgekit.sources.captured_file import open_captured
from edgekit.task.input_sizes import InputSizes, read_input_sizes
from edgekit.workers.structure import unstructure
from edgekit.workers.worker import silent

pytestmark = pytest.mark.filterwarnings("ignore")  # torch deprecates TorchScript as a whole


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.act, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Hardswish(), nn.Linear(8, 4)

    def forward(self, image):
        return {"scores": self.head(self.act(self.conv(image)).mean(dim=[2, 3]))}


class Plain(Net):
    def forward(self, image):
        return self.head(self.act(self.conv(image)).mean(dim=[2, 3]))


def scripted(folder: Path, name: str = "net.pt") -> str:
    torch.jit.save(torch.jit.script(Net().eval()), folder / name)
    return name


def traced(folder: Path, rows: int = 1) -> str:
    torch.jit.save(torch.jit.trace(Plain().eval(), torch.rand(rows, 3, 8, 8)), folder / "net.pt")
    return "net.pt"


def capture(folder: Path, source: str, **settings: Any) -> dict[str, Any]:
    request = CaptureRequest(source=source, base=folder, output=folder / "out", name="net", **settings)
    return unstructure(run(request, silent))


def test_a_trace_is_captured_with_its_own_shapes(tmp_path):
    record = capture(tmp_path, traced(tmp_path))
    assert (record["source_kind"], record["kind"]) == ("torchscript", "pt2")
    assert (record["inputs"][0]["name"], record["inputs"][0]["shape"]) == ("image", [1, 3, 8, 8])
    assert record["parameters"] == sum(p.numel() for p in Net().parameters())


def test_rows_of_a_trace_are_a_batch_and_an_artifact_takes_one(tmp_path):
    assert capture(tmp_path, traced(tmp_path, rows=4))["inputs"][0]["shape"] == [1, 3, 8, 8]


def test_sizes_of_the_user_come_before_those_of_the_trace(tmp_path):
    record = capture(tmp_path, traced(tmp_path), input_sizes=read_input_sizes(["image=1x3x16x16"]))
    assert record["inputs"][0]["shape"] == [1, 3, 16, 16]


@pytest.mark.parametrize("name", ["net.pt", "net.pth", "net.ptl", "net.torchscript"])
def test_a_scripted_module_is_found_under_every_suffix_and_keeps_the_names_of_its_outputs(tmp_path, name):
    record = capture(tmp_path, scripted(tmp_path, name), input_sizes=read_input_sizes(["image=1x3x8x8"]))
    assert (record["source_kind"], record["outputs"][0]["name"]) == ("torchscript", "scores")


def test_sizes_of_a_scripted_module_are_requested_by_name(tmp_path):
    with pytest.raises(ModelError) as caught:
        capture(tmp_path, scripted(tmp_path))
    assert caught.value.message == (
        "net.pt: a torch model is captured with example inputs, and the task has neither example inputs nor "
        "calibration data. Give the sizes: --input image=1x3x224x224\n"
        "Or add a function that returns them and name it in edgekit.toml:\n"
        "    def example_inputs():\n"
        "        return (torch.zeros(1, 3, 224, 224),)\n"
        '    [model] example_inputs = "model.py:example_inputs"\n'
        "or on the command line: --example-inputs model.py:example_inputs"
    )


def test_a_pickle_of_the_same_suffix_is_still_refused(tmp_path):
    torch.save(Net().state_dict(), tmp_path / "net.pt")
    with pytest.raises(ModelError, match=r"^net\.pt is a pickle, and loading a pickle runs whatever code it holds"):
        capture(tmp_path, "net.pt")


def test_sizes_stay_open(tmp_path):
    sizes = InputSizes(name="image", shape=(1, 3, 32, 16), dtype="float32", axes=("", "", "height", ""))
    record = capture(
        tmp_path, scripted(tmp_path), input_sizes=(sizes,),
        dimensions=(Dimension(name="height", min=8, max=32, multiple_of=8, typical=16),),
    )  # fmt: skip
    assert open_captured(tmp_path / "out").open_sizes is not None
    assert record["inputs"][0]["shape"] == [1, 3, 32, 16]


class Deciding(nn.Module):
    def forward(self, x):
        if bool(x.sum() > 0):
            return x * 2
        return x - 1


def test_a_branch_on_values_is_refused_with_the_line_of_the_user_s_code(tmp_path):
    torch.jit.save(torch.jit.script(Deciding()), tmp_path / "net.pt")
    depends = r"^net\.pt: the model's control flow or a shape depends on the values of a tensor"
    with pytest.raises(
        ModelError, match=depends + r", at \S*test_torchscript_file\.py:\d+: if bool\(x\.sum\(\) > 0\):"
    ):
        capture(tmp_path, "net.pt", input_sizes=read_input_sizes(["x=1x4"]))


class Writing(nn.Module):
    def forward(self, x):
        torch.save(x, "stolen.pt")
        return x


def test_what_edgekit_does_not_run_is_said_plainly(tmp_path):
    torch.jit.save(torch.jit.script(Writing()), tmp_path / "net.pt")
    with pytest.raises(
        ModelError, match=r"^net\.pt uses aten::save, an operator that edgekit does not know\. Save the "
    ):
        capture(tmp_path, "net.pt", input_sizes=read_input_sizes(["x=1x4"]))


@pytest.mark.runtime
def test_an_artifact_of_a_file_is_near_torch(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "cache"))
    rows = [({"image": np.random.default_rng(i).random((1, 3, 8, 8), dtype=np.float32)}, i % 4) for i in range(16)]
    made = edgekit.export(
        str(tmp_path / traced(tmp_path)), device="iphone15", formats="onnx", precision="fp32",
        evaluation=rows, metric="top1", output=str(tmp_path / "out"), strict=False, max_drop="90 pp",
    )  # fmt: skip
    (item,) = made.to_json()["formats"]
    assert _parity(item) > 90


@pytest.mark.runtime
def test_a_scripted_module_in_memory_is_planned(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "cache"))
    planned = edgekit.plan(torch.jit.script(Plain().eval()), inputs={"image": (1, 3, 8, 8)}, device="pi4")
    assert planned.to_json()["model"]["parameters"] == sum(p.numel() for p in Plain().parameters())


def _parity(item: dict[str, Any]) -> float:
    return next(check["value"] for check in item["checks"] if check["name"] == "parity")
