"""Whole numbers in buffers, on which forward computes and branches."""

from __future__ import annotations

import pytest
import torch

from edgekit.errors import ModelError
from edgekit.torch_program.number_buffers import numbers_known
from edgekit.torch_program.trace_module import export_module


class PaddedByBuffers(torch.nn.Module):
    """Pads as EnCodec does, by strides that are buffers."""

    def __init__(self, count=None):
        super().__init__()
        self.conv = torch.nn.Conv1d(1, 1, 4, 3)
        self.count = count
        self.register_buffer("stride", torch.tensor(3))
        self.register_buffer("scale", torch.tensor(2.0))
        self.register_buffer("calls", torch.tensor(0))

    def forward(self, x):
        if self.count is not None:
            self.count(self)
        if self.calls > 5:
            x = -x
        extra = self.stride - x.shape[-1] % self.stride
        if extra > 0:
            x = torch.nn.functional.pad(x, (0, int(extra)))
        return self.conv(x) * self.scale


def assign(module):
    module.calls = module.calls + 1


def add(module):
    module.calls.add_(1)


def test_numbers_in_buffers_are_known_to_a_capture():
    module, x = PaddedByBuffers().eval(), torch.randn(1, 1, 10)
    program = export_module(module, (x,), "net.py:build")
    torch.testing.assert_close(program.module()(x), module(x))


def test_a_captured_module_is_left_as_it_was():
    module = PaddedByBuffers().eval()
    before = [(name, value) for name, value in module.named_buffers()]
    export_module(module, (torch.randn(1, 1, 10),), "net.py:build")
    assert type(module) is PaddedByBuffers
    assert [name for name, _ in module.named_buffers()] == [name for name, _ in before]
    assert all(value is old for (_, value), (_, old) in zip(module.named_buffers(), before, strict=True))


@pytest.mark.parametrize("count", [assign, add])
def test_a_number_that_forward_changes_is_no_constant(count):
    module = PaddedByBuffers(count).eval()
    with pytest.raises(ModelError, match=r"^net\.py:build: the model's control flow or a shape depends on the values"):
        export_module(module, (torch.randn(1, 1, 10),), "net.py:build")
    assert int(module.calls) == 0


def test_a_module_without_numbers_in_buffers_has_none_to_know():
    with numbers_known(torch.nn.Linear(2, 2), lambda: None) as any_number:
        assert not any_number
