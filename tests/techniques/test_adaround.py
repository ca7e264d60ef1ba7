from __future__ import annotations

from dataclasses import replace

import pytest

from edgekit.techniques import adaround, gptq


def layer(outputs=6, inputs=24, positions=600, seed=0):
    """Returns a linear layer's weights and what it reads: correlated, non-negative inputs as after a ReLU."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(1, outputs, inputs, generator=generator, dtype=torch.float64)
    mixing = torch.randn(inputs, inputs, generator=generator)
    columns = torch.relu(mixing @ torch.randn(1, inputs, positions, generator=generator))
    return weights, columns


def reconstruction(weights, columns, clamp=None, share=0.0):
    import torch

    return adaround.Reconstruction(
        columns=columns,
        outputs=weights.float() @ columns,
        bias=torch.zeros(weights.shape[:2]),
        clamp=clamp,
        anchor=weights.float(),
        share=torch.full((1, 1), share),
        ridge=torch.ones(1, 1),
    )


def test_learned_rounding_beats_rounding_to_nearest_on_inputs_it_has_not_seen():
    weights, columns = layer(positions=1200)
    seen, unseen = columns[:, :, :800], columns[:, :, 800:]
    grid = gptq.make_grid(weights, 7, weights.shape[2])
    nearest = gptq.nearest(weights, grid, weights)
    learned = adaround.learn_rounding(weights, nearest, grid, reconstruction(weights, seen), 600, seed=0)
    judge = reconstruction(weights, unseen)
    before, after = (float(judge.errors((q * grid.scale).float()).mean()) for q in (nearest, learned))
    assert after < 0.7 * before


def test_each_weight_is_rounded_up_or_down_and_the_largest_stays():
    import torch

    weights, columns = layer()
    grid = gptq.make_grid(weights, 7, weights.shape[2])
    nearest = gptq.nearest(weights, grid, weights)
    learned = adaround.learn_rounding(weights, nearest, grid, reconstruction(weights, columns), 200, seed=0)
    exact = weights / grid.scale
    free = ~grid.pinned
    assert ((learned == torch.floor(exact)) | (learned == torch.ceil(exact)))[free].all()
    assert (learned[grid.pinned] == nearest[grid.pinned]).all()
    assert (learned.abs().amax(dim=2) == 7).all()


def test_the_same_seed_gives_the_same_rounding():
    weights, columns = layer()
    grid = gptq.make_grid(weights, 7, weights.shape[2])
    nearest = gptq.nearest(weights, grid, weights)
    problem = reconstruction(weights, columns)
    one, two = (adaround.learn_rounding(weights, nearest, grid, problem, 50, seed=3) for _ in range(2))
    assert (one == two).all()


def test_what_a_clamp_cuts_off_is_no_error():
    import torch

    weights, columns = layer()
    problem = reconstruction(weights, columns, clamp=torch.relu)
    outputs = weights.float() @ columns
    lowest = outputs.amax(dim=2) * 0 - 1e6
    shifted = replace(problem, outputs=outputs - 1e6, bias=lowest)
    assert float(shifted.errors(weights.float() * 2).sum()) == 0
    assert float(problem.errors(weights.float() * 2).sum()) > 0


@pytest.mark.parametrize(("share", "beta"), [(0.0, None), (0.19, None), (0.2, 20.0), (0.6, 11.0), (1.0, 2.0)])
def test_beta_is_off_while_warming_up_and_falls_from_20_to_2(share, beta):
    found = adaround.annealed(share)
    assert found == (None if beta is None else pytest.approx(beta))


def test_the_rectified_sigmoid_starts_at_the_weight_itself():
    """Before the first step the soft weights are the real ones, so the first gradient is that of the float layer."""
    import torch

    weights, columns = layer()
    grid = gptq.make_grid(weights, 127, weights.shape[2])
    nearest = gptq.nearest(weights, grid, weights)
    unchanged = adaround.learn_rounding(weights, nearest, grid, reconstruction(weights, columns), 0, seed=0)
    # Without a step, h(V) >= 0.5 exactly where the weight is in the upper half of its step: rounding to nearest.
    part = (weights / grid.scale).remainder(1)
    sure = ((part - 0.5).abs() > 1e-3) & ~grid.pinned
    assert torch.equal(unchanged[sure], nearest[sure])


def test_where_positions_are_not_trusted_rounding_is_to_nearest():
    weights, columns = layer(positions=4)
    grid = gptq.make_grid(weights, 7, weights.shape[2])
    nearest = gptq.nearest(weights, grid, weights)
    learned = adaround.learn_rounding(weights, nearest, grid, reconstruction(weights, columns, share=1.0), 400, seed=0)
    assert (learned == nearest).float().mean() > 0.98


@pytest.mark.parametrize("clamp", [None, "relu6"])
@pytest.mark.parametrize("share", [0.0, 0.3])
def test_the_gradient_is_that_of_the_errors(clamp, share):
    import torch

    weights, columns = layer()
    function = None if clamp is None else getattr(torch.nn.functional, clamp)
    problem = reconstruction(weights, columns, clamp=function, share=share)
    unit = torch.rand(1, 6) + 0.5
    moved = (weights.float() + 0.1).requires_grad_()
    (problem.errors(moved) / unit).mean().backward()
    torch.testing.assert_close(problem.gradient(moved.detach(), slice(None), unit), moved.grad)


def test_the_gradient_of_the_regulariser_is_that_of_its_formula():
    import torch

    up = torch.tensor([0.01, 0.2, 0.5, 0.9], requires_grad=True)
    (adaround._LAMBDA * (1 - (2 * up - 1).abs().pow(7.0)).mean()).backward()
    torch.testing.assert_close(adaround._regularising(up.detach(), 7.0), up.grad)


def test_it_stops_once_every_weight_has_decided(monkeypatch):
    looks = []
    gradient = adaround.Reconstruction.gradient
    monkeypatch.setattr(adaround.Reconstruction, "gradient", lambda *given: looks.append(0) or gradient(*given))
    weights, columns = layer()
    grid = gptq.make_grid(weights, 7, weights.shape[2])
    nearest = gptq.nearest(weights, grid, weights)
    adaround.learn_rounding(weights, nearest, grid, reconstruction(weights, columns), 4000, seed=0)
    assert len(looks) < 4000
