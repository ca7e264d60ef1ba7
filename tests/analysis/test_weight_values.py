"""How weights deflate in each form."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from edgekit.analysis.weight_values import content_key, deflated_ratios

RNG = np.random.default_rng(0)


def test_ratios_of_a_large_weight_are_within_two_percent_of_deflating_all_of_it():
    weight = RNG.standard_normal((512, 1024)).astype(np.float32)
    scale = np.abs(weight).max(axis=1, keepdims=True) / 127
    whole = {"float32": weight, "float16": weight.astype(np.float16), "int8": np.round(weight / scale).astype(np.int8)}
    ratios = deflated_ratios(weight)
    for form, values in whole.items():
        real = len(zlib.compress(values.tobytes(), 6)) / values.nbytes
        assert ratios[form] == pytest.approx(real, rel=0.02)


def test_pruned_weights_deflate_far_better():
    weight = RNG.standard_normal((64, 256)).astype(np.float32)
    pruned = np.where(RNG.random(weight.shape) < 0.8, 0, weight).astype(np.float32)
    assert deflated_ratios(pruned)["int8"] < 0.6 * deflated_ratios(weight)["int8"]


def test_zeros_deflate_to_nothing():
    assert max(deflated_ratios(np.zeros((64, 256), np.float32)).values()) < 0.01


def test_integers_are_measured_as_they_are():
    ratios = deflated_ratios(np.arange(4096, dtype=np.int64))
    assert len(set(ratios.values())) == 1


def test_an_empty_weight_has_no_ratios():
    assert deflated_ratios(np.zeros((0, 4), np.float32)) == {}


@pytest.mark.parametrize("bad", [np.nan, np.inf], ids=["nan", "inf"])
def test_values_that_are_not_finite_are_measured_without_a_warning(bad):
    weight = np.full((8, 8), bad, np.float32)
    assert set(deflated_ratios(weight)) == {"float32", "float16", "int8", "int4", "int4_scales", "float16_as_float32"}


def test_large_values_overflow_to_float16_without_a_warning():
    assert deflated_ratios(np.full((8, 8), 1e6, np.float32))["float16"] < 1


def test_content_keys_tell_values_shapes_and_types_apart():
    a = np.arange(6, dtype=np.float32)
    keys = [content_key(x) for x in (a, a.reshape(2, 3), a.astype(np.float64), a + 1)]
    assert len(set(keys)) == 4
    assert content_key(a) == content_key(a.copy())
