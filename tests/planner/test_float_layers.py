"""Layers that a runtime computes in float are told before anything is made."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.analysis.graph_builder import GraphBuilder
from edgekit.planner.float_layers import float_layers, why_not_integers
from edgekit.recipe import Recipe

REASON = "ExecuTorch unrolls recurrent layers and XNNPACK's integer kernels take none of what they become"


def tagger(*, head: bool):
    """A GRU of 12 steps and, with a head, a linear layer behind it."""
    builder = GraphBuilder()
    shapes = {"in": (96, 16), "state": (96, 32), "w": (8, 32)}
    for name, shape in shapes.items():
        if head or name != "w":
            builder.store(name, shape, "float32", lambda shape=shape: np.ones(shape, "f4"))
    builder.tensor("x", (1, 12, 16), "float32")
    builder.tensor("h", (1, 12, 32), "float32")
    roles = dict.fromkeys(("in", "state"), ("recurrent", 96))
    builder.add(
        name="g", type="gru", kernel="recurrent", module="net.r", reads=["x", "in", "state"], outputs=["h"],
        macs=55_296, roles=roles, attributes={"steps": 12},
    )  # fmt: skip
    if not head:
        return builder.finish(["x"], ["h"])
    builder.tensor("y", (1, 12, 8), "float32")
    builder.add(
        name="l", type="linear", kernel="linear", module="net.h", reads=["h", "w"], outputs=["y"], macs=3_072,
        roles={"w": ("kernel", 8)},
    )  # fmt: skip
    return builder.finish(["x"], ["y"])


@pytest.mark.parametrize("precision", ["int8_dynamic", "int8_static"])
def test_the_share_and_the_layers_that_stay_in_float_are_shown(precision):
    found = float_layers(tagger(head=True), Recipe(default=precision), "executorch")
    assert found is not None
    assert found.words == f"94.7 % of the work stays in float (net.r (gru)), because {REASON}"
    assert why_not_integers(tagger(head=True), Recipe(default=precision), "executorch") is None


def test_integers_that_would_come_to_nothing_are_rejected():
    reason = why_not_integers(tagger(head=False), Recipe(default="int8_dynamic"), "executorch")
    assert reason == (
        f"nothing would be stored or computed in integers: 100 % of the work stays in float (net.r (gru)), because "
        f"{REASON}. fp32 is the same without the detour"
    )


@pytest.mark.parametrize(
    ("runtime", "recipe"),
    [
        ("tflite", Recipe(default="int8_dynamic")),
        ("executorch", Recipe(default="fp32")),
        ("executorch", Recipe(default="int8_dynamic", overrides=(("net.r", "fp32"),))),
        ("a_third_partys", Recipe(default="int8_dynamic")),
    ],
    ids=["with_kernels", "float", "float_by_recipe", "unknown"],
)
def test_where_no_integers_are_lost_nothing_is_shown(runtime, recipe):
    assert float_layers(tagger(head=True), recipe, runtime) is None
