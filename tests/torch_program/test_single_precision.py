"""Models that cast to other floating-point types run in float32."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgekit.torch_program.canonical_program import canonical
from edgekit.torch_program.single_precision import other_floats
from edgekit.torch_program.trace_module import export_module, run_module


class Cast(nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype, self.layer = dtype, nn.Linear(4, 4)
        self.register_buffer("scale", torch.linspace(0.1, 1, 4, dtype=dtype))

    def forward(self, x):
        return (torch.relu(self.layer(x).to(self.dtype)) * self.scale).to(torch.float32)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_casts_inside_are_left_out(dtype):
    module, x = Cast(dtype).eval(), torch.randn(1, 4)
    program = canonical(export_module(module, (x,), "net"), (x,), "net")
    assert not other_floats(program.graph_module)
    assert [str(node.target) for node in program.graph.nodes if "to." in str(node.target)] == []
    got = run_module(program.module(), (x,), "net")[0]
    wanted = torch.relu(module.layer(x)) * module.scale.float()
    torch.testing.assert_close(got, wanted)


def test_inputs_and_outputs_keep_their_types():
    class Half(nn.Module):
        def forward(self, x):
            return torch.sigmoid(x * 3)

    x = torch.randn(1, 4, dtype=torch.float16)
    program = canonical(export_module(Half(), (x,), "net"), (x,), "net")
    got = run_module(program.module(), (x,), "net")[0]
    assert got.dtype == torch.float16
    torch.testing.assert_close(got, torch.sigmoid(x.float() * 3).half())
    assert "mul" in str(
        [node.target for node in program.graph.nodes if getattr(node.meta.get("val"), "dtype", None) == torch.float32]
    )
