"""From measured layers and a budget to a recipe of mixed precision."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from edgekit.analysis.graph_builder import GraphBuilder
from edgekit.budget import Budget, read_limit
from edgekit.planner.candidates import with_predictions
from edgekit.planner.mixed_search import (
    expected_points,
    losses_by_metric,
    precisions_to_mix,
    search,
    search_smallest,
)
from edgekit.planner.plan import LayerLoss
from edgekit.profiles.profile import DeviceProfile, Hardware
from edgekit.recipe import Candidate, Recipe

RNG = np.random.default_rng(0)
BOARD = DeviceProfile(
    name="board", title="Board", kind="phone", runtimes=("tflite",), hardware=Hardware(cpu=(), features=()),
    path=Path("board.toml"),
)  # fmt: skip
NOISE = {"a": 1e-3, "b": 1e-4, "c": 5e-4, "d": 1e-5}
WIDTHS = {"a": 400, "b": 100, "c": 300, "d": 600}


def chain():
    """Four 1x1 convolutions one after the other."""
    builder = GraphBuilder()
    builder.tensor("x", (1, 400, 4, 4), "float32")
    before, channels = "x", 400
    for name, width in WIDTHS.items():
        shape = (width, channels, 1, 1)
        builder.store(f"{name}.weight", shape, "float32", lambda s=shape: RNG.standard_normal(s).astype("f4"))
        builder.tensor(name, (1, width, 4, 4), "float32")
        builder.add(
            name=name, type="conv2d", kernel="pointwise_conv", module=name, reads=[before, f"{name}.weight"],
            outputs=[name], macs=16 * width * channels, roles={f"{name}.weight": ("kernel", width)},
        )  # fmt: skip
        before, channels = name, width
    return builder.finish(["x"], [before])


def losses():
    return [LayerLoss(module=name, precision="int8_static", noise=noise) for name, noise in NOISE.items()]


def candidate(analysis, recipe):
    return with_predictions(Candidate(runtime="tflite", recipe=recipe), analysis, BOARD)


def limits(**values):
    return Budget().overridden_by(read_limit(name, text, "test") for name, text in values.items())


def find(budget, measured=None):
    analysis = chain()
    base = candidate(analysis, Recipe(default="int8_static"))
    return search(measured or losses(), base, ("fp32",), budget, analysis, BOARD), analysis


def test_what_fits_best_stays_float_as_trying_all_shows():
    budget = limits(size="1.2 MB")
    found, analysis = find(budget)
    best = math.inf
    for kept in itertools.product((False, True), repeat=4):
        overrides = tuple((name, "fp32") for name, keep in zip(NOISE, kept, strict=True) if keep)
        size = candidate(analysis, Recipe(default="int8_static", overrides=overrides)).prediction("size")
        if size.high <= 1.2e6:
            best = min(best, sum(noise for (_, noise), keep in zip(NOISE.items(), kept, strict=True) if not keep))
    kept = {name for name, precision in found.recipe.overrides if precision == "fp32"}
    assert found.prediction("size").high <= 1.2e6
    assert sum(noise for name, noise in NOISE.items() if name not in kept) == pytest.approx(best)
    assert found.title == "tflite int8-static+mixed"


def test_without_limits_float_itself_is_the_better_recipe():
    assert find(Budget())[0] is None


def test_a_limit_that_all_layers_keep_in_float_needs_no_mixture():
    assert find(limits(size="100 MB"))[0] is None


def test_a_limit_that_integers_alone_break_has_no_mixture():
    assert find(limits(size="100 kB"))[0] is None


def test_a_little_less_noise_is_not_worth_a_mixture():
    one = [LayerLoss(module=name, precision="int8_static", noise=1e-3 if name == "a" else 1e-5) for name in NOISE]
    assert find(limits(size="800 kB"), one)[0] is None  # the one layer that would help does not fit in float


def test_a_latency_that_cannot_be_predicted_allows_a_tenth_of_the_work_in_float():
    found, analysis = find(limits(latency="5 ms"), [
        LayerLoss(module=name, precision="int8_static", noise=noise)
        for name, noise in {**NOISE, "b": 1.0}.items()
    ])  # fmt: skip
    kept = {name for name, _ in found.recipe.overrides}
    macs = {operator.module: operator.macs for operator in analysis.operators}
    assert kept == {"b"}
    assert macs["b"] <= 0.1 * analysis.macs


def test_four_bits_are_mixed_only_where_they_are_offered():
    offered = [Candidate(runtime="onnx", recipe=Recipe(default="int4_weights"))]
    assert precisions_to_mix(offered, "onnx") == ("int4_weights", "fp32")
    assert precisions_to_mix(offered, "coreml") == ("fp16",)


def test_noise_changes_decisions_whose_margin_is_small():
    sigma = 0.1
    expected = 100 * math.erfc(0.1 / (2 * sigma)) / 2
    assert expected_points(sigma**2, [0.1]) == pytest.approx(expected)
    assert expected_points(1e-12, [0.1, 0.2]) == pytest.approx(0, abs=1e-9)
    assert expected_points(0.1, None) is None


def test_the_expected_share_of_changed_decisions_is_what_a_simulation_shows():
    rng = np.random.default_rng(1)
    scores = rng.standard_normal((400, 2))
    root = np.sqrt((scores**2).mean())
    margins = list(abs(scores[:, 0] - scores[:, 1]) / root)
    noise = 0.05
    changed = [
        (scores + np.sqrt(noise) * root * rng.standard_normal(scores.shape)).argmax(1) != scores.argmax(1)
        for _ in range(50)
    ]
    assert expected_points(noise, margins) == pytest.approx(100 * np.mean(changed), rel=0.05)


def measured(points):
    """Losses whose noise says the contrary of what the metric says."""
    return [
        LayerLoss(module=name, precision="int8_static", noise=NOISE[name], points=points[name], metric="map")
        for name in NOISE
    ]


def test_what_the_metric_loses_decides_and_not_the_noise():
    found, _ = find(limits(size="800 kB"), measured({"a": 0.0, "b": 6.0, "c": 0.0, "d": 0.0}))
    assert ("b", "fp32") in found.recipe.overrides


def test_layers_that_lose_the_same_of_the_metric_are_ranked_by_noise():
    ranked = losses_by_metric(measured(dict.fromkeys(NOISE, 1.0)))
    assert max(ranked, key=lambda item: item.noise).module == "a"


def test_a_layer_that_gains_by_chance_counts_as_one_that_loses_nothing():
    ranked = {item.module: item.noise for item in losses_by_metric(measured({"a": -3.0, "b": 1.0, "c": 0.0, "d": 0.0}))}
    assert ranked["b"] > ranked["a"] > ranked["c"] > ranked["d"] > 0


def test_losses_without_a_metric_stay_as_they_are():
    assert losses_by_metric(losses()) == tuple(losses())


def test_layers_before_heads_that_stay_float_stay_so_in_a_mixture():
    analysis = chain()
    base = candidate(analysis, Recipe(default="int8_static", overrides=(("d", "fp32"),), float_heads=(0,)))
    found = search(losses(), base, ("fp32",), limits(size="1.3 MB"), analysis, BOARD)
    assert ("d", "fp32") in found.recipe.overrides
    assert found.recipe.float_heads == (0,)


def products():
    """A table and three linear layers of different size."""
    builder = GraphBuilder()
    builder.store("words.weight", (1000, 128), "float32", lambda: RNG.standard_normal((1000, 128)).astype("f4"))
    builder.tensor("ids", (1, 8), "int64")
    builder.tensor("rows", (1, 8, 128), "float32")
    builder.add(
        name="words", type="embedding", kernel="embedding", module="words", reads=["ids", "words.weight"],
        outputs=["rows"], roles={"words.weight": ("table", 1000)},
    )  # fmt: skip
    before, columns = "rows", 128
    for name, width in (("up", 512), ("down", 128), ("head", 32)):
        shape = (width, columns)
        builder.store(f"{name}.weight", shape, "float32", lambda s=shape: RNG.standard_normal(s).astype("f4"))
        builder.tensor(name, (1, 8, width), "float32")
        builder.add(
            name=name, type="linear", kernel="linear", module=name, reads=[before, f"{name}.weight"], outputs=[name],
            macs=8 * width * columns, roles={f"{name}.weight": ("kernel", width)},
        )  # fmt: skip
        before, columns = name, width
    return builder.finish(["ids"], [before])


FOUR_BITS = {"words": 4e-3, "up": 4e-2, "down": 1e-2, "head": 1e-2}


def smallest(allowed):
    analysis = products()
    losses = [LayerLoss(module=m, precision="int4_weights", noise=noise) for m, noise in FOUR_BITS.items()]
    losses += [LayerLoss(module=m, precision="int8_dynamic", noise=noise / 250) for m, noise in FOUR_BITS.items()]
    base = candidate(analysis, Recipe(default="int4_weights"))
    return search_smallest(losses, base, "int8_dynamic", allowed, analysis, BOARD), analysis


@pytest.mark.parametrize("allowed", [0.03, 0.01, 0.02])
def test_the_smallest_mixture_whose_noise_is_allowed_is_found_as_trying_all_shows(allowed):
    found, analysis = smallest(allowed)
    best = math.inf
    for kept in itertools.product((False, True), repeat=4):
        overrides = tuple((m, "int8_dynamic") for m, keep in zip(FOUR_BITS, kept, strict=True) if keep)
        noise = sum(n / (250 if keep else 1) for (_, n), keep in zip(FOUR_BITS.items(), kept, strict=True))
        size = candidate(analysis, Recipe(default="int4_weights", overrides=overrides)).prediction("size")
        best = min(best, size.value) if noise <= allowed else best
    assert found.title == "tflite int4+mixed"
    assert found.prediction("size").value == best
    assert "words" not in dict(found.recipe.overrides)  # the largest part, and the least noise


@pytest.mark.parametrize("allowed", [1.0, 1e-9], ids=["all-in-4-bits", "none-at-all"])
def test_where_one_precision_does_or_none_no_mixture_is_found(allowed):
    assert smallest(allowed)[0] is None
