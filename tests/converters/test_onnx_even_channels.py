"""Channels around activations are evened out where convolutions write and read them, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.converters import onnx_static
from edgekit.converters.onnx_even_channels import even_out, far_apart, find_passages
from edgekit.converters.onnx_source import OnnxFloatGraph
from edgekit.converters.onnx_static import quantize_static
from edgekit.quantization.channel_extremes import ChannelExtremes
from edgekit.quantization.even_channels import Kernel
from edgekit.quantization.ranges import Range
from edgekit.recipe import Recipe
from edgekit.samples import write_samples

CHANNELS = 8
WIDE = 100.0
HARD_SWISH = ("HardSigmoid a > g", "Mul a g > b")
SILU = ("Sigmoid a > g", "Mul a g > b")


def model(
    activation: tuple[str, ...] = HARD_SWISH, *more: str, groups: int = CHANNELS, wide: float = WIDE
) -> onnx.ModelProto:
    """Returns convolution, activation, convolution with groups; one channel between them is `wide` times as large."""
    generator = np.random.default_rng(0)
    first = generator.normal(0, 1, (CHANNELS, 3, 1, 1))
    first /= np.abs(first).sum(axis=(1, 2, 3), keepdims=True)  # alike but for one
    first[2] *= wide
    second = generator.normal(0, 1, (CHANNELS, CHANNELS // groups, 3, 3))
    less = np.where(np.arange(CHANNELS) == 2, 1 / wide, 1.0)
    second = Kernel(weights=second, groups=groups).scaled(less)
    lines = ("Conv x w1 b1 > a", *activation, "Conv b w2 b2 > y", *more)
    nodes = []
    for number, line in enumerate(lines):
        left, _, written = line.partition(" > ")
        operator, *reads = left.split()
        settings = {"HardSigmoid": {"alpha": 1 / 6, "beta": 0.5}}.get(operator, {})
        settings = {"group": groups, "pads": [1] * 4} if "w2" in reads else settings
        nodes.append(helper.make_node(operator, reads, written.split(), f"{operator}_{number}", **settings))
    boundary = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, count, 6, 6))
        for name, count in (("x", 3), ("y", CHANNELS))
    ]
    graph = helper.make_graph(nodes, "g", boundary[:1], boundary[1:])
    weights = {"w1": first, "w2": second, "b1": np.ones(CHANNELS), "b2": np.zeros(CHANNELS)}
    for name, values in weights.items():
        graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def run(made: onnx.ModelProto, rows: np.ndarray, *names: str) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(made.SerializeToString())
    return [session.run(list(names) or None, {"x": row[None]})[0] for row in rows]


def rows(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (8, 3, 6, 6)).astype(np.float32)


def convolutions(made: onnx.ModelProto) -> list[str]:
    return [node.name for node in made.graph.node if node.op_type == "Conv"]


def measured(made: onnx.ModelProto) -> tuple[dict[str, ChannelExtremes], dict[str, Range]]:
    """Returns extremes of channels, and ranges of all, before and behind the activation."""
    watched = onnx.ModelProto()
    watched.CopyFrom(made)
    watched.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in "ab")
    extremes, ranges = {}, {}
    for name in "ab":
        extremes[name] = ChannelExtremes(axis=1)
        for values in run(watched, rows(0), name):
            extremes[name].update(values)
        low, high = extremes[name].ranges()
        ranges[name] = Range(low=float(low.min()), high=float(high.max()))
    return extremes, ranges


@pytest.mark.parametrize("activation", [HARD_SWISH, SILU, ("HardSwish a > b",)], ids=["gate", "silu", "one-node"])
def test_an_activation_before_a_depthwise_convolution_is_found(activation: tuple[str, ...]) -> None:
    made = model(activation)
    (found,) = find_passages(made.graph, convolutions(made))
    assert (found.before, found.after) == ("a", "b")
    assert [found.writer, *found.readers] == convolutions(made)
    assert found.is_float == (activation is not SILU)


@pytest.mark.parametrize(
    ("made", "count"),
    [
        pytest.param(model(SILU, groups=1), 2, id="integers-before-a-convolution-that-mixes-channels"),
        pytest.param(model(SILU, groups=4), 2, id="integers-before-a-convolution-in-groups"),
        pytest.param(model(SILU, "Add b y > z"), 2, id="integers-that-something-else-reads-too"),
        pytest.param(model(("Relu a > b",)), 2, id="relu"),
        pytest.param(model(), 0, id="both-convolutions-stay-float"),
    ],
)
def test_other_activations_are_left_alone(made: onnx.ModelProto, count: int) -> None:
    assert find_passages(made.graph, convolutions(made)[:count]) == ()


@pytest.mark.parametrize(
    ("made", "count", "reading"),
    [
        pytest.param(model(groups=1), 2, 1, id="a-convolution-that-mixes-channels"),
        pytest.param(model(HARD_SWISH, "Conv b w2 b2 > z"), 3, 2, id="two-convolutions"),
        pytest.param(model(HARD_SWISH, "Add b y > z"), 2, 0, id="something-else-reads-it-too"),
        pytest.param(model(), 1, 0, id="the-depthwise-convolution-stays-float"),
    ],
)
def test_an_activation_in_float_is_scaled_for_convolutions_alone(
    made: onnx.ModelProto, count: int, reading: int
) -> None:
    (found,) = find_passages(made.graph, convolutions(made)[:count])
    assert found.writer == convolutions(made)[0]
    assert len(found.readers) == reading


@pytest.mark.parametrize(
    ("wide", "activation", "apart"),
    [
        pytest.param(100.0, HARD_SWISH, True, id="hardswish-far"),
        pytest.param(8.0, HARD_SWISH, True, id="hardswish-apart"),
        pytest.param(1.0, HARD_SWISH, False, id="hardswish-alike"),
        pytest.param(100.0, SILU, True, id="silu-far"),
        pytest.param(1.0, SILU, False, id="silu-alike"),
    ],
)
def test_only_channels_that_are_far_apart_are_evened_out(wide: float, activation: tuple[str, ...], apart: bool) -> None:
    made = model(activation, wide=wide)
    extremes, ranges = measured(made)
    assert bool(far_apart(find_passages(made.graph, convolutions(made)), extremes, ranges)) == apart


def test_a_value_without_a_range_is_left_alone() -> None:
    made = model()
    extremes, ranges = measured(made)
    del ranges["b"]
    assert far_apart(find_passages(made.graph, convolutions(made)), extremes, ranges) == ()


@pytest.mark.parametrize("groups", [CHANNELS, 2, 1], ids=["depthwise", "groups", "mixing"])
def test_the_function_stays_and_the_channels_come_out_alike(groups: int) -> None:
    made = model(groups=groups)
    expected = run(made, rows(1))
    passages = find_passages(made.graph, convolutions(made))
    evened = even_out(made, passages, *measured(made))
    for before, after in zip(expected, run(made, rows(1)), strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-3)
    assert set(evened.ranges) == {"a.even", "b.even"}
    assert {node.name for node in made.graph.node if node.op_type != "Conv"} == evened.kept
    made.graph.output.append(helper.make_empty_tensor_value_info("b.even"))
    widths = np.max([np.abs(values).max((0, 2, 3)) for values in run(made, rows(0), "b.even")], axis=0)
    assert widths.max() < 3 * widths.min()
    assert widths.max() <= max(evened.ranges["b.even"].high, -evened.ranges["b.even"].low) * 1.01


@pytest.mark.parametrize(
    ("activation", "groups"),
    [(HARD_SWISH, CHANNELS), (SILU, CHANNELS), (HARD_SWISH, 1)],
    ids=["hardswish", "silu", "mixing"],
)
def test_the_integers_come_nearer_to_the_float_model(
    activation: tuple[str, ...], groups: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_samples(tmp_path / "samples", ("x",), ((row[None],) for row in rows(0)))
    made = model(activation, groups=groups)
    graph = OnnxFloatGraph(model=made, modules={node.name: node.name for node in made.graph.node})

    def noise() -> float:
        recipe = Recipe(default="int8_static")
        quantized = quantize_static(graph, recipe, tmp_path / "samples", lambda *_: None)
        expected, found = (np.concatenate(run(item, rows(1))) for item in (made, quantized))
        return float(((found - expected) ** 2).mean())

    evened = noise()
    monkeypatch.setattr(onnx_static, "far_apart", lambda *_: ())
    assert evened < 0.05 * noise()
