"""What a recipe is expected to lose before anything is run: what other models lost in this repository's benchmarks.

Each row of a format's descriptor is one measured export (`benchmarks/results/int8_accuracy.md`), with the ends of its
95 % interval. A new model of the family is expected to lie where these lie: the value is their mean, the band reaches
from the lowest low to the highest high. With one or two models a family such a band is wide, and `--effort default`
replaces it by a simulation.
"""

from __future__ import annotations

from edgekit.formats.table import known_format
from edgekit.model import Family
from edgekit.recipe import Prediction, Recipe


def expected_accuracy(family: Family, recipe: Recipe, runtime: str) -> Prediction:
    """Returns the prediction of `accuracy_drop`, in percentage points, from what other models lost."""
    if recipe.default == "fp32" and not recipe.overrides:
        return Prediction(
            name="accuracy_drop", value=0.0, low=0.0, high=0.0, unit="pp", basis="it is the float model itself",
            evidence="expected",
        )  # fmt: skip
    made = known_format(runtime)
    rows = [
        row
        for row in (made.drops if made else ())
        if (row.family, row.precision) == (family, recipe.default) and not recipe.overrides
    ]
    if not rows:
        return Prediction(
            name="accuracy_drop", value=None, low=None, high=None, unit="pp",
            basis=f"not measured: no {family} was measured as {runtime} {recipe.name} in edgekit's benchmarks; "
            "--effort default simulates it on calibration data",
        )  # fmt: skip
    names = ", ".join(f"{row.model} ({row.metric} {row.drop:.2f} pp)" for row in rows)
    return Prediction(
        name="accuracy_drop",
        value=round(sum(row.drop for row in rows) / len(rows), 4),
        low=min(row.low for row in rows),
        high=max(row.high for row in rows),
        unit="pp",
        basis=f"expected from {names}",
        evidence="expected",
    )
