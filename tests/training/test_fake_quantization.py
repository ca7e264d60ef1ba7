"""Rounding that can be trained through: values as kernels read them, gradients as the papers have them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@settings(max_examples=12, deadline=None)
@given(scale=st.floats(0.01, 1), zero=st.integers(-128, 127), seed=st.integers(0, 99))
def test_activations_are_rounded_as_torch_rounds_them(scale, zero, seed):
    import torch

    from edgekit.training.fake_quantization import FakeActivation

    rounds = FakeActivation(scale, zero, learned=False)
    values = 30 * torch.randn(3, 50, generator=torch.Generator().manual_seed(seed))
    exact = torch.fake_quantize_per_tensor_affine(values, rounds.scale(), zero, -128, 127)
    off = (rounds(values) - exact).abs() / rounds.scale()
    assert float((off > 1e-3).float().mean()) < 0.02  # a tie may fall to either side
    assert float(off.max()) < 1.001


def test_the_gradient_of_a_step_is_that_of_learned_step_size_quantization(torch):
    """Esser et al. 2020, eq. 3; by the logarithm it is s times as large, and it is scaled by 1 / sqrt(N p)."""
    from edgekit.training.fake_quantization import FakeActivation

    values = torch.tensor([[-9.0, 0.3, 1.26, 40.0]])
    rounds = FakeActivation(0.1, -128, learned=True)  # 0 .. 25.5
    rounds(values).sum().backward()
    inside = [math.floor(v / 0.1 + 0.5) - v / 0.1 for v in (0.3, 1.26)]
    by_hand = (0 + sum(inside) + 255) * 0.1 / math.sqrt(4 * 255)
    assert float(rounds.log_scale.grad) == pytest.approx(by_hand, rel=1e-3)


def test_values_inside_get_their_gradient_and_clipped_ones_none(torch):
    from edgekit.training.fake_quantization import FakeActivation

    values = torch.tensor([[-9.0, 0.3, 40.0]], requires_grad=True)
    FakeActivation(0.1, -128, learned=False)(values).sum().backward()
    assert values.grad.tolist() == [[0.0, 1.0, 0.0]]


@pytest.mark.parametrize("axis", [0, 1, None])
def test_baked_8_bit_weights_are_found_again_by_the_largest_weight(torch, axis):
    from edgekit.training.fake_quantization import FakeWeight

    weight = torch.randn(6, 5, 3, 3)
    rounds = FakeWeight(weight, axis, 8)
    baked = rounds.bake(weight)
    others = [i for i in range(4) if i != axis] if axis is not None else list(range(4))
    step = baked.abs().amax(dim=others, keepdim=True) / 127
    torch.testing.assert_close(torch.round(baked / step) * step, baked)
    assert float((baked - weight).abs().max()) <= float(step.max()) / 2 * 1.001


def test_baked_4_bit_weights_have_15_levels_that_8_bits_store(torch):
    from edgekit.training.fake_quantization import FakeWeight

    weight = torch.randn(6, 5, 3, 3)
    weight[2] = 0
    rounds = FakeWeight(weight, 0, 4)
    with torch.no_grad():
        rounds.log_step[4] += 2.0  # so wide that the last level is empty
    baked = rounds.bake(weight)
    step = baked.abs().amax(dim=(1, 2, 3), keepdim=True) / 127
    stored = torch.round(baked / step.clamp(min=1e-30))
    torch.testing.assert_close(stored * step, baked)
    levels = {round(127 * k / 7) for k in range(-7, 8)}
    for channel in (0, 1, 3, 5):
        assert set(stored[channel].flatten().int().tolist()) <= levels
    assert float(baked[4].abs().max()) == pytest.approx(7 * float(rounds.log_step[4].detach().exp()))
    assert float(baked[2].abs().max()) == 0


def test_four_bits_start_where_the_squared_error_is_least(torch):
    from edgekit.training.fake_quantization import FakeWeight

    weight = torch.cat([torch.randn(1, 400), torch.tensor([[8.0]])], 1)  # an outlier that is better clipped
    rounds = FakeWeight(weight, 0, 4)
    error = float((rounds(weight).detach() - weight).square().sum())
    step = weight.abs().max() / 7
    assert error < float((torch.round(weight / step) * step - weight).square().sum())


def test_gradients_pass_rounded_weights(torch):
    from edgekit.training.fake_quantization import FakeWeight

    weight = torch.randn(4, 6, requires_grad=True)
    for bits in (8, 4):
        weight.grad = None
        FakeWeight(weight, 0, bits)(weight).sum().backward()
        assert float((weight.grad - 1).abs().median()) < 1e-5
