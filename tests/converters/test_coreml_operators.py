"""What coremltools lacks is written out in operators that it has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from edgekit.converters.to_coreml_program import extend_torch_frontend, import_coremltools, known_operators
from edgekit.torch_program.trace_module import export_module, run_module
from edgekit.validators import coreml_evaluator

pytestmark = [pytest.mark.runtime, pytest.mark.filterwarnings("ignore")]  # coremltools warns while it is imported


class Function(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)


def turned(x: Any) -> Any:
    theta = x.flatten(1)[:, :6].reshape(-1, 2, 3)
    grid = functional.affine_grid(theta, list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, align_corners=False)


MODULES = {
    "gru_cell": (nn.GRUCell(4, 5), (1, 4)),
    "lstm_cell": (nn.LSTMCell(4, 5), (1, 4)),
    "rnn_both_ways": (nn.RNN(4, 5, 2, nonlinearity="relu", bias=False, bidirectional=True), (6, 1, 4)),
    "lstm_with_projections": (nn.LSTM(4, 5, 2, proj_size=3, bidirectional=True, batch_first=True), (1, 6, 4)),
    "distance": (Function(lambda x: functional.pairwise_distance(x, x.flip(1))), (1, 6, 8)),
    "choice_among_numbers": (Function(lambda x: torch.where(x > 0, 1.0, 2.0) * torch.where(x > 1, x, 0.5)), (1, 6)),
    "similarity": (Function(lambda x: functional.cosine_similarity(x, x.flip(1))), (1, 6, 8)),
    "squared_distance": (Function(lambda x: functional.mse_loss(x, x.flip(1))), (1, 6, 8)),
    "affine_grid": (Function(turned), (1, 2, 6, 5)),
}


@pytest.mark.parametrize(("module", "shape"), MODULES.values(), ids=MODULES)
def test_operators_without_a_translation_are_written_out(module, shape, tmp_path):
    example = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    ct = import_coremltools()
    extend_torch_frontend()
    program = known_operators(export_module(module.eval(), (example,), "net"))
    made = ct.convert(
        program,
        source="pytorch",
        inputs=[ct.TensorType(name="x", shape=shape, dtype=np.float32)],
        minimum_deployment_target=ct.target.iOS17,
        compute_precision=ct.precision.FLOAT32,
        skip_model_load=True,
    )
    made.save(str(tmp_path / "net.mlpackage"))
    opened = coreml_evaluator.load(tmp_path / "net.mlpackage")
    got = list(opened.run({"x": example.numpy()}).values())
    for result, wanted in zip(got, run_module(module, (example,), "net"), strict=True):
        np.testing.assert_allclose(np.reshape(result, wanted.shape), wanted.numpy(), rtol=1e-4, atol=1e-5)


def test_a_program_that_lacks_nothing_keeps_its_operators():
    import_coremltools()
    example = torch.randn(1, 4)
    program = export_module(nn.Sequential(nn.Linear(4, 3), nn.GELU()).eval(), (example,), "net")
    names = [str(node.target) for node in known_operators(program).graph.nodes if node.op == "call_function"]
    assert names == ["aten.linear.default", "aten.gelu.default"]


def test_what_cannot_be_written_out_stays_as_the_model_has_it():
    import_coremltools()
    extend_torch_frontend()
    example = torch.randn(1, 4, 4)
    module = Function(lambda x: (torch.linalg.eigvalsh(x), torch.where(x > 0, x, 0.5)))
    program = known_operators(export_module(module, (example,), "net"))
    names = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert "aten.linalg_eigvalsh.default" in names
    assert "aten.where.self" in names
