"""Bias correction in the formats that are reached through torch."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.quantization.bias_correction import mean_shift, round_weights
from edgekit.quantization.pt2e_graph import constant_of, read_float_graph, target_of
from edgekit.quantization.pt2e_quantization import quantize_graph
from edgekit.recipe import Recipe
from edgekit.workers.worker import silent

pytestmark = [pytest.mark.runtime, pytest.mark.filterwarnings("ignore")]


def layers(module):
    return [node for node in module.graph.nodes if target_of(node) in ("aten.linear.default", "aten.conv2d.default")]


def biases(module):
    return [constant_of(module, node.args[2]).detach().numpy() for node in layers(module)]


@pytest.mark.parametrize("target", ["xnnpack", "mil"])
def test_the_bias_takes_back_what_rounding_the_weights_adds_on_average(tiny, target):
    model = tiny("two_inputs")
    exact = read_float_graph(model.captured).module
    changed = quantize_graph(
        read_float_graph(model.captured), Recipe(default="int8_static"), target, model.calibration, silent
    ).module
    left = np.concatenate([row[0] for row in model.rows]).astype(np.float64)
    weights = constant_of(exact, layers(exact)[0].args[1]).detach().numpy()
    shift = mean_shift(round_weights(weights, 0) - weights, left.mean(axis=0))
    np.testing.assert_allclose(biases(changed)[0], biases(exact)[0] - shift, atol=1e-6)
    assert np.abs(shift).max() > 1e-5


def test_a_layer_that_stays_float_keeps_its_bias(tiny):
    model = tiny("two_inputs")
    exact = read_float_graph(model.captured).module
    recipe = Recipe(default="int8_static", overrides=(("left", "fp32"),))
    changed = quantize_graph(read_float_graph(model.captured), recipe, "mil", model.calibration, silent).module
    np.testing.assert_array_equal(biases(changed)[0], biases(exact)[0])
    assert not np.array_equal(biases(changed)[1], biases(exact)[1])


def test_a_depthwise_convolution_is_corrected_channel_by_channel(tiny):
    model = tiny("convolutions")
    exact = read_float_graph(model.captured).module
    changed = quantize_graph(
        read_float_graph(model.captured), Recipe(default="int8_static"), "mil", model.calibration, silent
    ).module
    before, after = biases(exact), biases(changed)
    assert all(one.shape == other.shape for one, other in zip(before, after, strict=True))
    assert all(not np.array_equal(one, other) for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize("target", ["xnnpack", "mil"])
def test_a_transposed_convolution_keeps_its_bias_where_a_convolution_reads_the_same_tensor(tiny, target):
    model = tiny("up_and_across")

    def bias(module):
        node = next(n for n in module.graph.nodes if "transpose" in target_of(n) and "conv" in target_of(n))
        return constant_of(module, node.args[2]).detach().numpy()

    exact = read_float_graph(model.captured).module
    changed = quantize_graph(
        read_float_graph(model.captured), Recipe(default="int8_static"), target, model.calibration, silent
    ).module
    np.testing.assert_array_equal(bias(changed), bias(exact))
    assert not np.array_equal(biases(changed)[1], biases(exact)[1])
