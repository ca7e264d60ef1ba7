"""Expected losses: from what was measured, or not at all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgekit.formats.table import all_formats
from edgekit.predict.accuracy import expected_accuracy
from edgekit.recipe import Recipe

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "int8_accuracy.md"


def test_the_float_model_loses_nothing():
    found = expected_accuracy("cnn", Recipe(), "onnx")
    assert (found.value, found.low, found.high, found.evidence) == (0.0, 0.0, 0.0, "expected")


def test_the_value_is_the_mean_and_the_band_holds_every_interval():
    found = expected_accuracy("cnn", Recipe(default="int8_static"), "tflite")
    assert (found.value, found.low, found.high) == (pytest.approx(0.635), -0.42, 2.89)
    assert found.basis == "expected from EfficientNet-Lite0 (agreement 1.25 pp), MLPerf Tiny ResNet (top1 0.02 pp)"


@pytest.mark.parametrize(
    ("family", "recipe"),
    [
        ("transformer", Recipe(default="int8_static")),
        ("cnn", Recipe(default="int8_static", overrides=(("a", "fp32"),))),
    ],
    ids=["family", "mixed"],
)
def test_what_was_not_measured_is_not_said(family, recipe):
    found = expected_accuracy(family, recipe, "tflite")
    assert found.value is None
    assert found.basis == (
        f"not measured: no {family} was measured as tflite {recipe.name} in edgekit's benchmarks; "
        "--effort default simulates it on calibration data"
    )


@pytest.mark.parametrize(
    ("runtime", "row"),
    [pytest.param(one.name, row, id=f"{row.model} {one.name}") for one in all_formats() for row in one.drops],
)
def test_every_row_is_in_the_benchmark_s_output(runtime, row):
    figures = f"{row.drop:.2f} pp [{row.low:.2f} to {row.high:.2f}]"
    precision = row.precision.replace("_", "-")
    pattern = rf"\| \S+ \({row.metric}\) \| {runtime} \| {precision} \| [\d,]+ \| {re.escape(figures)} \|"
    assert re.search(pattern, RESULTS.read_text())
