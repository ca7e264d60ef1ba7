from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.techniques.base import Context
from edgekit.techniques.round_weights import RoundWeights
from edgekit.techniques.scale_search import best_factors, channel_factors, rounding_error
from edgekit.techniques.smooth_activations import SmoothActivations
from edgekit.workers.worker import silent

pytestmark = pytest.mark.filterwarnings("ignore")


def problem(seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(64, 100, generator=generator, dtype=torch.float64) * torch.logspace(-1, 1, 64)[:, None]
    weights = [torch.randn(16, 64, generator=generator, dtype=torch.float64) for _ in range(2)]
    return weights, x.abs().mean(dim=1), x @ x.t() / 100, x


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 1000), group=st.sampled_from([0, 32]))
def test_the_factors_found_never_lose_more_than_none(seed, group):
    weights, reach, second, _ = problem(seed)
    found = best_factors(weights, reach, second, 4, group)
    plain = torch.ones(64, dtype=torch.float64)
    before, after = (sum(float(rounding_error(w, f, second, 4, group)) for w in weights) for f in (plain, found))
    assert after <= before
    assert float(found.log().mean()) == pytest.approx(0, abs=1e-9)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 1000))
def test_the_error_is_that_of_the_outputs_on_the_data(seed):
    from edgekit.techniques.gptq import make_grid, nearest

    weights, reach, second, x = problem(seed)
    factors = channel_factors(reach, 0.5)
    scaled = (weights[0] * factors)[None]
    grid = make_grid(scaled, 7, 32)
    rounded = (nearest(scaled, grid, scaled) * grid.scale)[0]
    direct = (rounded @ (x / factors[:, None]) - weights[0] @ x).square().sum() / 100
    assert float(rounding_error(weights[0], factors, second, 4, 32)) == pytest.approx(float(direct))


def test_a_silent_channel_counts_as_the_weakest_and_a_silent_value_is_left():
    factors = channel_factors(torch.tensor([0.0, 1.0, 4.0], dtype=torch.float64), 1.0)
    assert factors[0] == factors[1]
    assert factors[2] / factors[1] == pytest.approx(4)
    assert channel_factors(torch.zeros(3, dtype=torch.float64), 1.0).tolist() == [1, 1, 1]


def test_four_bit_weights_lose_less_after_the_search(tiny, tmp_path):
    given = tiny("attention")

    def loss(*techniques):
        model = given.model
        for i, technique in enumerate(techniques):
            context = Context(samples=given.samples, scratch=tmp_path / "scratch", progress=silent)
            model = technique.run(model, context, tmp_path / f"{len(techniques)}-{i}")
        return float(((given.outputs(model) - given.outputs()) ** 2).sum())

    rounding = RoundWeights(method="nearest", bits=4, group_size=16)
    assert loss(SmoothActivations(method="awq", group_size=16), rounding) < 0.8 * loss(rounding)
