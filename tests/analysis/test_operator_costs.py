"""Arithmetic of multiply-accumulates."""

from __future__ import annotations

import pytest

from edgekit.analysis.operator_costs import (
    conv_attributes,
    conv_kernel,
    conv_macs,
    einsum_macs,
    matmul_macs,
    recurrent_macs,
)


@pytest.mark.parametrize(
    ("size", "groups", "channels", "kernel"),
    [
        pytest.param((3, 3), 1, 16, "dense_conv", id="3x3"),
        pytest.param((1, 1), 1, 16, "pointwise_conv", id="1x1"),
        pytest.param((3, 3), 16, 16, "depthwise_conv", id="one group a channel"),
        pytest.param((1, 1), 16, 16, "depthwise_conv", id="1x1 depthwise"),
        pytest.param((3, 3), 4, 16, "dense_conv", id="grouped"),
        pytest.param((1, 1), 4, 16, "dense_conv", id="grouped 1x1"),
        pytest.param((3, 3), 1, 1, "dense_conv", id="one channel is not depthwise"),
        pytest.param((5,), 1, 8, "dense_conv", id="one dimension"),
    ],
)
def test_convolutions_are_classed_by_kernel_and_groups(size, groups, channels, kernel):
    assert conv_kernel(size, groups, channels) == kernel


def test_a_convolution_costs_its_filter_for_each_output_value():
    assert conv_macs((1, 32, 8, 8), (3, 3), 16) == 32 * 8 * 8 * 9 * 16


def test_a_matrix_product_costs_its_inner_size_for_each_output_value():
    assert matmul_macs((1, 12, 64, 64), 32) == 12 * 64 * 64 * 32


def test_a_recurrent_layer_applies_every_matrix_once_per_step():
    assert recurrent_macs([(1024, 40), (1024, 256)], steps=10, batch=2) == 20 * (1024 * 40 + 1024 * 256)


@pytest.mark.parametrize(
    ("equation", "shapes", "macs"),
    [
        pytest.param("ij,jk->ik", [(2, 3), (3, 4)], 24, id="matrix product"),
        pytest.param("bhqd,bhkd->bhqk", [(1, 2, 5, 7), (1, 2, 6, 7)], 2 * 5 * 6 * 7, id="attention scores"),
        pytest.param("...ij, jk -> ...ik", [(9, 2, 3), (3, 4)], 24, id="an ellipsis counts what it names"),
    ],
)
def test_einsum_costs_the_product_of_all_its_indices(equation, shapes, macs):
    assert einsum_macs(equation, shapes) == macs


@pytest.mark.parametrize(
    ("size", "steps", "expected"),
    [
        pytest.param((3, 5), (1, 2), (3, 5, 1, 2), id="each axis its own"),
        pytest.param((3, 5), (2,), (3, 5, 2, 2), id="one stride for all"),
        pytest.param((3, 5), (), (3, 5, 1, 1), id="none given"),
        pytest.param((7,), (4,), (1, 7, 1, 4), id="one dimension"),
    ],
)
def test_attributes_of_a_convolution_name_both_axes(size, steps, expected):
    assert tuple(conv_attributes(size, steps, 1).values()) == (*expected, 1)
