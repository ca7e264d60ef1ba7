"""Predicted beside measured."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest
from rich.console import Console

from edgekit.checks import judge
from edgekit.cli import tables
from edgekit.exporting.format_result import Comparison, FormatResult
from edgekit.exporting.report import ExportReport
from edgekit.recipe import Prediction, Recipe


def result():
    def prediction(name, value, low, high, unit):
        return Prediction(name=name, value=value, low=low, high=high, unit=unit, basis="graph")

    return FormatResult(
        runtime="onnx",
        recipe=Recipe(default="int8_static"),
        predictions=(
            prediction("size", 1_100_000, 1_000_000, 1_200_000, "bytes"),
            prediction("memory", 5_000_000, 4_000_000, 6_000_000, "bytes"),
            prediction("latency", 9.0, 8.0, 10.0, "ms"),
            prediction("accuracy_drop", 0.5, 0.0, 1.0, "pp"),
            prediction("parity", None, None, None, "dB"),
        ),
        checks=(
            judge("size", 1_000_000, None, measured_on="file"),
            judge("memory", 8_000_000, None, measured_on="host"),
            judge("latency", 9.5, None, basis="predicted"),
            judge("accuracy_drop", 0.75, None),
            judge("parity", 30.0, None),
        ),
    )


def test_only_what_was_predicted_and_measured_is_compared():
    assert [item.name for item in result().comparisons()] == ["size", "memory", "accuracy_drop"]


def test_errors_are_shares_for_sizes_and_differences_for_points():
    size, memory, drop = result().comparisons()
    assert (size.error_share, size.in_band) == (pytest.approx(0.1), True)
    assert (memory.error_share, memory.in_band) == (pytest.approx(-0.375), False)
    assert (drop.error, drop.error_share, drop.in_band) == (-0.25, None, True)
    assert size.to_json()["error_percent"] == pytest.approx(10)


def test_a_value_without_a_band_is_neither_in_nor_out():
    made = Comparison(name="size", unit="bytes", predicted=1, low=None, high=None, measured=1, basis="")
    assert made.in_band is None


@pytest.mark.parametrize(
    ("interval", "expected"),
    [((1.5, 8.0), True), ((3.0, 8.0), False), ((-9.0, -1.5), False), ((None, None), None)],
    ids=["reaches in", "above", "below", "none"],
)
def test_an_interval_that_reaches_the_band_overlaps(interval, expected):
    low, high = interval
    made = Comparison(
        name="accuracy_drop", unit="pp", predicted=0.5, low=-1, high=2, measured=4, basis="",
        measured_low=low, measured_high=high,
    )  # fmt: skip
    assert (made.in_band, made.overlaps) == (False, expected)


def test_json_has_no_nan():
    made = Comparison(name="size", unit="bytes", predicted=1, low=0, high=2, measured=math.nan, basis="").to_json()
    assert (made["measured"], made["error"], made["error_percent"], made["in_band"]) == (None, None, None, False)


def test_the_table_shows_prediction_band_measurement_and_error():
    report = ExportReport(command="export", device="pi4", model=None, results=(result(),), folder=Path())
    out = Console(file=io.StringIO(), width=100)
    for table in tables.prediction_tables(report):
        out.print(table)
    lines = [" ".join(line.split()) for line in out.file.getvalue().splitlines()]
    assert lines[0] == "onnx int8-static: predicted beside measured"
    assert lines[2] == "size 1.1 MB 1 MB to 1.2 MB 1 MB +10.0 % in the band"
    assert lines[3] == "peak memory 5 MB 4 MB to 6 MB 8 MB -37.5 % outside the band"
    assert lines[4] == "accuracy drop 0.50 pp 0.00 pp to 1.00 pp 0.75 pp -0.25 pp in the band"


def test_nothing_is_shown_where_nothing_was_predicted():
    bare = FormatResult(runtime="onnx", recipe=Recipe(), checks=(judge("size", 1.0, None),))
    report = ExportReport(command="validate", device="pi4", model=None, results=(bare,), folder=Path())
    assert list(tables.prediction_tables(report)) == []
