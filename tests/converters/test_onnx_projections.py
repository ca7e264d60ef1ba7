"""LSTMs whose states are projected reach ONNX, where torch's exporter writes a node that onnxruntime refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from edgekit.converters.onnx_source import float_graph
from edgekit.model import CapturedModel, TensorSpec
from edgekit.torch_program.trace_module import export_module

pytestmark = [pytest.mark.runtime, pytest.mark.filterwarnings("ignore")]


class Projected(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LSTM(4, 6, num_layers=2, proj_size=3, bidirectional=True, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)[0]


def test_an_lstm_with_projections_gives_what_torch_gives(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, x = Projected().eval(), torch.randn(1, 5, 4)
    torch.export.save(export_module(net, (x,), "net"), str(tmp_path / "float.pt2"))
    captured = CapturedModel(
        name="net", source="net", source_kind="torch", kind="pt2", path=tmp_path / "float.pt2", digest="0",
        inputs=(TensorSpec(name="x", shape=(1, 5, 4), dtype="float32"),),
        outputs=(TensorSpec(name="y", shape=(1, 5, 6), dtype="float32"),),
        parameters=0, macs=None, family="rnn",
    )  # fmt: skip
    model = float_graph(captured, tmp_path).model
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (found,) = session.run(None, {"x": x.numpy()})
    np.testing.assert_allclose(found, net(x).detach().numpy(), rtol=1e-4, atol=1e-5)
