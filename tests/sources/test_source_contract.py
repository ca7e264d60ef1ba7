"""The contract of a source over edgekit's own."""

from __future__ import annotations

import shutil

import pytest

from edgekit.testing.source_contract import SourceContract
from edgekit.testing.tiny_fixture import tiny_model

MODEL = """\
import torch


def build():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU()).eval()


def example():
    return (torch.ones(1, 8),)
"""


class TestTorchFactory(SourceContract):
    kind = "torch"
    broken = None
    facts = {"example_inputs": "model.py:example"}  # noqa: RUF012  never changed

    def write_model(self, folder):
        (folder / "model.py").write_text(MODEL)
        return "model.py:build"


class TestExportedProgram(SourceContract):
    kind = "pt2"

    def write_model(self, folder):
        shutil.copyfile(tiny_model("two_inputs").model.path, folder / "net.pt2")
        return "net.pt2"


class TestTorchScript(SourceContract):
    kind = "torchscript"

    def write_model(self, folder):
        import torch

        layer = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU()).eval()
        torch.jit.save(torch.jit.trace(layer, torch.ones(1, 8)), folder / "net.pt")
        return "net.pt"


class TestOnnxFile(SourceContract):
    kind = "onnx"

    def write_model(self, folder):
        onnx = pytest.importorskip("onnx")
        helper, floats = onnx.helper, onnx.TensorProto.FLOAT
        graph = helper.make_graph(
            [helper.make_node("Relu", ["x"], ["y"])],
            "net",
            [helper.make_tensor_value_info("x", floats, [1, 8])],
            [helper.make_tensor_value_info("y", floats, [1, 8])],
        )
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), folder / "net.onnx")
        return "net.onnx"
