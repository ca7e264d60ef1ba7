"""Layers of the accuracy cliff: shares, the noise that a limit allows, the fewest layers that must keep more bits."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.planner.cliff import allowed_noise, fewest_layers, layer_shares, noise_of, worst_layers
from edgekit.planner.mixed_search import expected_points
from edgekit.planner.plan import LayerLoss

LOSSES = (
    LayerLoss(module="a", precision="int4_weights", noise=0.01),
    LayerLoss(module="b", precision="int4_weights", noise=0.07),
    LayerLoss(module="c", precision="int4_weights", noise=0.02),
    LayerLoss(module="a", precision="int8_dynamic", noise=0.001),
    LayerLoss(module="b", precision="int8_dynamic", noise=0.001),
    LayerLoss(module="c", precision="int8_dynamic", noise=0.03),
)
NOISES = st.lists(st.floats(1e-9, 10.0), min_size=1, max_size=6)


def losses(noises, above=()):
    made = [LayerLoss(module=str(i), precision="int4_weights", noise=x) for i, x in enumerate(noises)]
    return [*made, *(LayerLoss(module=str(i), precision="int8_static", noise=x) for i, x in enumerate(above))]


def test_the_worst_layer_comes_first_with_its_share():
    shares = layer_shares(LOSSES, "int4_weights")
    assert [(item.module, round(item.share, 3)) for item in shares] == [("b", 0.7), ("c", 0.2), ("a", 0.1)]
    assert [item.module for item in worst_layers(shares)] == ["b", "c"]


def test_without_noise_there_are_no_shares():
    shares = layer_shares(losses([0.0, 0.0]), "int4_weights")
    assert [item.share for item in shares] == [0.0, 0.0]
    assert worst_layers(shares) == shares


def test_a_kept_layer_has_the_noise_of_the_precision_above():
    assert noise_of(LOSSES, "int4_weights", "int8_dynamic") == pytest.approx(0.1)
    assert noise_of(LOSSES, "int4_weights", "int8_dynamic", ("b",)) == pytest.approx(0.031)
    assert noise_of(LOSSES, "int4_weights", "fp32", ("b",)) == pytest.approx(0.03)


def test_a_layer_that_is_no_better_above_is_never_kept():
    assert fewest_layers(LOSSES, "int4_weights", "int8_dynamic", 0.0) == ("b", "a")


def test_what_was_not_enough_is_followed_by_more():
    assert fewest_layers(LOSSES, "int4_weights", "fp32", 0.05) == ("b",)
    assert fewest_layers(LOSSES, "int4_weights", "fp32", 0.05, least=2) == ("b", "c")


@given(noises=NOISES, share=st.floats(0.0, 1.0))
def test_no_smaller_set_of_layers_brings_the_noise_down_as_far(noises, share):
    allowed = share * sum(noises)
    made = losses(noises)
    kept = fewest_layers(made, "int4_weights", "fp32", allowed, least=0)
    if len(kept) < len(noises):
        assert noise_of(made, "int4_weights", "fp32", kept) <= allowed * (1 + 1e-9) + 1e-12
    if kept:
        smaller = combinations([str(i) for i in range(len(noises))], len(kept) - 1)
        assert all(noise_of(made, "int4_weights", "fp32", some) > allowed * (1 - 1e-9) - 1e-12 for some in smaller)


@given(
    noise=st.floats(1e-6, 1.0), drop=st.floats(0.1, 50.0), share=st.floats(0.01, 1.0),
    margins=st.none() | st.lists(st.floats(0.01, 2.0), min_size=1, max_size=5),
)  # fmt: skip
def test_the_allowed_noise_is_expected_to_lose_the_limit(noise, drop, share, margins):
    limit = share * drop
    found = allowed_noise(noise, drop, limit, margins)
    assert 0 <= found <= noise
    whole = expected_points(noise, margins)
    if whole:
        assert drop * expected_points(found, margins) / whole <= limit * (1 + 1e-6)
    else:
        assert found == pytest.approx(share * noise)


@pytest.mark.parametrize(("limit", "expected"), [(0.0, 0.0), (-1.0, 0.0), (3.0, 0.5)], ids=["none", "a gain", "kept"])
def test_limits_at_the_edges(limit, expected):
    assert allowed_noise(0.5, 2.0, limit, None) == expected
