"""All predictions about one candidate."""

from __future__ import annotations

from edgekit.analysis.graph_builder import GraphBuilder
from edgekit.budget import COSTS, SOUNDNESS
from edgekit.predict.predictions import NOT_MEASURED, predict
from edgekit.recipe import Recipe


def nothing():
    builder = GraphBuilder()
    builder.tensor("x", (1,), "float32")
    builder.tensor("y", (1,), "float32")
    builder.add(name="t", type="tanh", kernel="elementwise", reads=["x"], outputs=["y"])
    return builder.finish(["x"], ["y"])


def test_every_cost_that_a_budget_limits_is_spoken_of_once_in_its_unit():
    found = predict(nothing(), Recipe(), "tflite", device="pi4", latency_models={})
    # What guards soundness is judged on an artifact, by limits of its own.
    limited = [cost for name, cost in COSTS.items() if name not in SOUNDNESS]
    assert [item.name for item in found] == [cost.name for cost in limited]
    assert [item.unit for item in found] == [cost.unit for cost in limited]


def test_what_only_running_tells_is_not_run():
    found = {item.name: item for item in predict(nothing(), Recipe(), "tflite", device="pi4", latency_models={})}
    assert (found["parity"].value, found["parity"].basis) == (None, NOT_MEASURED)
