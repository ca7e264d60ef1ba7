"""What a recipe is expected to lose before anything is run: what other models lost in this repository's benchmarks.

Each row is one measured export (`benchmarks/results/int8_accuracy.md`), with the ends of its 95 % interval. A new model
of the family is expected to lie where these lie: the value is their mean, the band reaches from the lowest low to the
highest high. With one or two models a family such a band is wide, and `--effort default` replaces it by a simulation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

from edgekit.model import Family
from edgekit.recipe import Precision, Prediction, Recipe


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one model lost.

    Attributes:
        model: Its name.
        metric: By which it was judged.
        family: Its family.
        runtime: The format.
        precision: The recipe's default.
        drop: In percentage points.
        low: Lower end of the 95 % interval.
        high: Upper end.
    """

    model: str
    metric: str
    family: Family
    runtime: str
    precision: Precision
    drop: float
    low: float
    high: float


def _rows(
    model: str, metric: str, family: Family, *figures: tuple[str, Precision, float, float, float]
) -> tuple[Measured, ...]:
    return tuple(
        Measured(
            model=model, metric=metric, family=family, runtime=runtime, precision=precision, drop=drop, low=low,
            high=high,
        )
        for runtime, precision, drop, low, high in figures
    )  # fmt: skip


MEASURED: Final = (
    *_rows(
        "EfficientNet-Lite0", "agreement", "cnn",
        ("tflite", "int8_static", 1.25, 0.54, 2.89),
        ("onnx", "int8_static", 1.25, 0.54, 2.89),
        ("executorch", "int8_static", 1.00, 0.39, 2.54),
        ("coreml", "int8_static", 1.00, 0.39, 2.54),
    ),
    *_rows(
        "MLPerf Tiny ResNet", "top1", "cnn",
        ("tflite", "int8_static", 0.02, -0.42, 0.46),
        ("onnx", "int8_static", 0.14, -0.31, 0.59),
        ("coreml", "int8_static", -0.14, -0.52, 0.23),
    ),
    *_rows(
        "all-MiniLM-L6-v2", "spearman", "transformer",
        ("tflite", "int8_dynamic", 0.14, 0.01, 0.26),
        ("onnx", "int8_dynamic", 0.05, -0.05, 0.16),
        ("executorch", "int8_dynamic", 0.11, -0.01, 0.25),
        ("coreml", "int8_weights", 0.00, -0.07, 0.08),
    ),
    *_rows(
        "Resemblyzer", "cosine", "rnn",
        ("tflite", "int8_dynamic", 0.11, 0.10, 0.12),
        ("onnx", "int8_dynamic", 0.11, 0.10, 0.12),
        ("coreml", "int8_weights", 0.93, 0.80, 1.06),
    ),
)  # fmt: skip
"""Drop and interval of each export, as the benchmark printed them."""


def expected_accuracy(family: Family, recipe: Recipe, runtime: str) -> Prediction:
    """Returns the prediction of `accuracy_drop`, in percentage points, from what other models lost."""
    if recipe.default == "fp32" and not recipe.overrides:
        return Prediction(
            name="accuracy_drop", value=0.0, low=0.0, high=0.0, unit="pp", basis="it is the float model itself",
            evidence="expected",
        )  # fmt: skip
    rows = [
        row
        for row in MEASURED
        if (row.family, row.runtime, row.precision) == (family, runtime, recipe.default) and not recipe.overrides
    ]
    if not rows:
        return Prediction(
            name="accuracy_drop", value=None, low=None, high=None, unit="pp",
            basis=f"not run: no {family} was measured as {runtime} {recipe.name} in edgekit's benchmarks; "
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
