"""Fake quantization: what a grid can hold, and how far it is from the float value."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgekit.quantization.ranges import Grid
from edgekit.simulation.quantizers import ActivationQuantizer, WeightQuantizer

# A step of values below 1e-30 is no normal 32-bit float any more, in no runtime.
values = st.floats(-100, 100, width=32).map(lambda value: 0.0 if abs(value) < 1e-30 else value)
matrices = arrays(np.float32, st.tuples(st.integers(1, 5), st.just(8)), elements=values)


@settings(max_examples=60, deadline=None)
@given(matrices, st.sampled_from([None, 0, 1]))
def test_weights_are_at_most_half_a_step_off_and_have_255_values(weight, axis):
    tensor = torch.from_numpy(weight)
    found = WeightQuantizer(bits=8, axis=axis)(tensor).numpy().astype(np.float64)
    others = None if axis is None else 1 - axis
    step = np.abs(weight).max(axis=others, keepdims=True).astype(np.float64) / 127
    assert (np.abs(found - weight) <= step / 2 * (1 + 1e-4) + 1e-30).all()
    stored = found / np.where(step > 0, step, 1)
    assert np.abs(stored - np.round(stored)).max() < 1e-3


@settings(max_examples=40, deadline=None)
@given(matrices)
def test_four_bits_have_a_scale_for_each_group(weight):
    found = WeightQuantizer(bits=4, group_size=4)(torch.from_numpy(weight)).numpy().reshape(-1, 4)
    groups = weight.reshape(-1, 4)
    step = np.abs(groups).max(axis=1, keepdims=True) / 7
    assert found.shape == groups.shape
    assert (np.abs(found - groups) <= step / 2 * (1 + 1e-4) + 1e-30).all()


def test_sixteen_bits_are_a_cast():
    weight = torch.tensor([1.0, 1 / 3, 70000.0])
    found = WeightQuantizer(bits=16)(weight)
    assert found.dtype == torch.float32
    assert found.tolist() == [1.0, pytest.approx(1 / 3, rel=1e-3), float("inf")]


def test_zeros_stay_zeros():
    assert WeightQuantizer(bits=8)(torch.zeros(2, 3)).abs().max() == 0
    assert ActivationQuantizer(kind="dynamic_row")(torch.zeros(2, 3)).abs().max() == 0


def test_a_static_grid_rounds_and_clips():
    rounds = ActivationQuantizer(kind="static", grid=Grid(scale=0.5, zero_point=-128))
    assert rounds(torch.tensor([[-1.0, 0.2, 0.3, 1000.0]])).tolist() == [[0.0, 0.0, 0.5, 127.5]]


@settings(max_examples=60, deadline=None)
@given(matrices, st.sampled_from(["dynamic_row", "dynamic_tensor"]))
def test_run_time_ranges_are_each_sample_s_own(value, kind):
    tensor = torch.from_numpy(value)
    together = ActivationQuantizer(kind=kind)(tensor)
    alone = torch.cat([ActivationQuantizer(kind=kind)(tensor[i : i + 1]) for i in range(len(value))])
    assert torch.equal(together, alone)
    low, high = np.minimum(value.min(1), 0), np.maximum(value.max(1), 0)
    step = (high - low) / 255
    assert (np.abs(together.numpy() - value) <= step[:, None] * 1.01 + 1e-30).all()
