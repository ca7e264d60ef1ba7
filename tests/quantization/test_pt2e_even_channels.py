"""Channels around a float activation are scaled in a torch graph, and what it computes stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.quantization.pt2e_bias import corrected_layers
from edgekit.quantization.pt2e_even_channels import even_out, float_activations
from edgekit.quantization.pt2e_graph import FloatGraph
from edgekit.quantization.pt2e_plan import plan_quantization
from edgekit.quantization.pt2e_ranges import calibrate
from edgekit.recipe import Recipe
from edgekit.samples import write_samples
from edgekit.workers.worker import silent

CHANNELS = 8
WIDE = 100.0
RECIPE = Recipe(default="int8_static")


def graph(groups: int, activation: type[nn.Module] = nn.Hardswish) -> FloatGraph:
    """Returns convolution, activation, convolution; one channel between them is much larger, and less is read of it."""
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, CHANNELS, 1), nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, groups=groups)
    with torch.no_grad():
        first.weight[2] *= WIDE
        if groups == 1:
            second.weight[:, 2] /= WIDE
        else:
            second.weight[2] /= WIDE
    example = (torch.zeros(1, 3, 6, 6),)
    program = torch.export.export(nn.Sequential(first, activation(), second).eval(), example)
    return FloatGraph(module=program.module(check_guards=False), example_inputs=example)


def rows() -> list[np.ndarray]:
    return list(np.random.default_rng(0).normal(0, 1, (8, 1, 3, 6, 6)).astype(np.float32))


@pytest.mark.parametrize("groups", [CHANNELS, 1], ids=["depthwise", "mixing"])
def test_the_function_stays_and_the_channels_come_out_alike(groups: int, tmp_path: Path) -> None:
    made = graph(groups)
    feed = [torch.from_numpy(row) for row in rows()]
    expected = [made.module(row) for row in feed]
    samples = write_samples(tmp_path / "samples", ("x",), ((row,) for row in rows()))
    plan = plan_quantization(made.module, RECIPE, "xnnpack")
    (found,) = float_activations(made.module, plan)
    names = [node.name for node in found.scaled]
    layers = corrected_layers(made.module, plan)
    before = calibrate(made, plan.ranged, layers, samples, "minmax", silent, (), names)
    planned, after = even_out(made.module, plan, before, (found,))
    made.module.recompile()
    for one, row in zip(expected, feed, strict=True):
        torch.testing.assert_close(made.module(row), one, rtol=1e-4, atol=1e-4)
    product = next(name for name in planned.group_of if name not in plan.group_of)
    assert plan.group_of.keys() - planned.group_of.keys() == {found.activation.name}
    seen = calibrate(
        made, planned.group_of, corrected_layers(made.module, plan), samples, "minmax", silent, (), [product]
    )
    low, high = seen.extremes[product].ranges()
    assert (high - low).max() < 3 * (high - low).min()
    assert after.ranges[product].low == pytest.approx(low.min(), rel=1e-5)
    assert after.ranges[product].high == pytest.approx(high.max(), rel=1e-5)
    reader = found.readers[0].name
    np.testing.assert_allclose(after.means[reader], seen.means[reader], rtol=1e-4, atol=1e-5)


def test_an_activation_that_a_kernel_fuses_is_left_alone() -> None:
    made = graph(1, nn.ReLU)
    assert float_activations(made.module, plan_quantization(made.module, RECIPE, "xnnpack")) == ()


def test_what_something_else_reads_too_is_scaled_before_the_activation_alone() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            between = nn.functional.hardswish(self.first(x))
            return between + self.second(between)

    module = torch.export.export(Residual().eval(), (torch.zeros(1, 3, 6, 6),)).module(check_guards=False)
    (found,) = float_activations(module, plan_quantization(module, RECIPE, "xnnpack"))
    assert found.writer is not None
    assert found.readers == ()
