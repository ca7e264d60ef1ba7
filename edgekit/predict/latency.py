"""How long one inference takes on a device, where the device's profile holds a fitted model; else nothing is said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from edgekit.analysis.graph import Analysis
from edgekit.plan import Prediction, Recipe

NAMES: Final = ("latency", "latency_p95")
"""The costs that this module speaks of."""


def predict_latency(
    analysis: Analysis, recipe: Recipe, runtime: str, models: Mapping[str, Mapping[str, Any]], device: str
) -> tuple[Prediction, ...]:
    """Returns the predictions of the latency costs, in ms.

    Args:
        analysis: The model's costed graph.
        recipe: Precision of each part.
        runtime: What runs it.
        models: The profile's `latency_model`: runtime to fitted coefficients.
        device: The profile's name, for the reason.
    """
    del analysis, recipe  # the features of a fitted model
    if runtime in models:
        reason = f"not run: this edgekit cannot evaluate the {runtime} latency model of {device}'s profile"
    else:
        reason = f"not run: {device} has no fitted latency model for {runtime}; measure it on the device"
    return tuple(Prediction(name=name, value=None, low=None, high=None, unit="ms", basis=reason) for name in NAMES)
