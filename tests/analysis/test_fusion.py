"""Operators that a runtime runs as one are one."""

from __future__ import annotations

import pytest

from edgekit.analysis.fusion import fuse
from edgekit.analysis.graph import Operator


def op(name, kind, kernel, reads, writes, weights=()):
    return Operator(
        name=name, type=kind, kernel=kernel, module=name, inputs=tuple(reads), outputs=(writes,), weights=tuple(weights)
    )


CONV = op("conv", "conv2d", "dense_conv", ["padded"], "y", ["conv.weight"])
PAD = op("pad", "pad", "data_movement", ["x"], "padded")
NORM = op("norm", "batch_norm", "normalization", ["y"], "normed", ["norm.weight"])
CLAMP = op("relu", "hardtanh", "elementwise", ["normed"], "out")


def test_pad_norm_and_clamp_run_inside_the_convolution():
    (joined,) = fuse((PAD, CONV, NORM, CLAMP), keep=("out",))
    assert joined.name == "conv"
    assert joined.inputs == ("x",)
    assert joined.outputs == ("out",)
    assert joined.fused == ("pad", "batch_norm", "hardtanh")
    assert joined.weights == ("conv.weight", "norm.weight")


def test_a_clamp_whose_input_is_read_elsewhere_stays_alone():
    other = op("other", "mul", "elementwise", ["normed"], "z")
    names = [item.name for item in fuse((PAD, CONV, NORM, CLAMP, other), keep=("out", "z"))]
    assert names == ["conv", "relu", "other"]


def test_a_clamp_whose_input_is_an_output_of_the_model_stays_alone():
    names = [item.name for item in fuse((PAD, CONV, NORM, CLAMP), keep=("out", "normed"))]
    assert names == ["conv", "relu"]


def test_a_pad_that_two_convolutions_read_stays_alone():
    second = op("conv2", "conv2d", "dense_conv", ["padded"], "z")
    names = [item.name for item in fuse((PAD, CONV, second), keep=("y", "z"))]
    assert names == ["pad", "conv", "conv2"]


def test_a_pad_before_something_else_stays_alone():
    pool = op("pool", "max_pool2d", "pooling", ["padded"], "y")
    assert [item.name for item in fuse((PAD, pool), keep=("y",))] == ["pad", "pool"]


@pytest.mark.parametrize("kind", ["relu", "Clip", "RELU6", "clamp"])
def test_clamps_of_every_source_join_an_addition(kind):
    add = op("add", "add", "elementwise", ["a", "b"], "y")
    clamp = op("clamp", kind, "elementwise", ["y"], "z")
    (joined,) = fuse((add, clamp), keep=("z",))
    assert (joined.inputs, joined.outputs, joined.fused) == (("a", "b"), ("z",), (kind,))


def test_smooth_activations_are_kernels_of_their_own():
    gelu = op("gelu", "gelu", "elementwise", ["y"], "z")
    assert len(fuse((CONV, gelu), keep=("z",))) == 2
