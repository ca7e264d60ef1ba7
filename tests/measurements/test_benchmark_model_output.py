"""What TFLite's benchmark_model prints."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import DataError
from edgekit.measurements.benchmark_model_output import is_benchmark_model_output, parse_benchmark_model


def test_the_timed_runs_are_read_and_not_the_warm_up(printed: Any) -> None:
    output = parse_benchmark_model(printed, "out.txt")
    latency = output.latency
    assert (latency.value_ms, latency.statistic, latency.runs) == (26.16, "mean", 50)
    assert (latency.min_ms, latency.max_ms, latency.p95_ms) == (25.87, 27.313, None)
    # Student's t with 49 degrees of freedom: 2.0096 * 0.2 / sqrt(50)
    assert latency.low_ms == pytest.approx(26.16 - 0.05684, abs=1e-5)
    assert latency.high_ms == pytest.approx(26.16 + 0.05684, abs=1e-5)
    assert output.load_ms == 17.187
    assert output.memory is not None
    assert output.memory.above_empty_bytes == round(46.25 * 2**20)
    assert (output.threads, output.graph, output.model_bytes) == (4, "/data/local/tmp/net.tflite", 2000.0)
    assert output.units == ("CPU",)


def test_a_newer_build_tells_median_and_95th_percentile(printed: Any) -> None:
    text = printed.replace("std=200", "std=200 p5=25900 median=26150 p95=27000")
    latency = parse_benchmark_model(text, "out.txt").latency
    assert (latency.value_ms, latency.statistic, latency.p95_ms) == (26.15, "median", 27.0)
    assert (latency.low_ms, latency.high_ms) == (None, None)


@pytest.mark.parametrize(
    "line", ["count=1 curr=26160", "count=50 curr=26160(all same)"], ids=["a single run", "all runs alike"]
)
def test_runs_without_a_spread_have_no_interval(line: str, printed: Any) -> None:
    text = printed.replace("count=50 first=26116 curr=26104 min=25870 max=27313 avg=26160 std=200", line)
    latency = parse_benchmark_model(text, "out.txt").latency
    assert (latency.value_ms, latency.min_ms, latency.max_ms, latency.low_ms) == (26.16, 26.16, 26.16, None)


def test_a_log_prefix_of_android_does_no_harm(printed: Any) -> None:
    text = "\n".join(f"11-22 03:04:05.678  123  456 I tflite  : {line}" for line in printed.splitlines())
    assert parse_benchmark_model(text, "out.txt") == parse_benchmark_model(printed, "out.txt")


def test_an_older_build_calls_memory_a_peak(printed: Any) -> None:
    text = printed.replace("Memory footprint delta from the start of the tool", "Peak memory footprint")
    assert (memory := parse_benchmark_model(text, "out.txt").memory) is not None
    assert memory.above_empty_bytes == round(46.25 * 2**20)


@pytest.mark.parametrize(
    ("line", "units"),
    [
        ("Explicitly applied GPU delegate, and the model graph will be completely executed by the delegate.", ("GPU",)),
        ("Explicitly applied NNAPI delegate, and the model graph will be partially executed.", ("NPU",)),
        ("Explicitly applied XNNPACK delegate, and the model graph will be completely executed.", ("CPU",)),
    ],
    ids=["gpu", "nnapi", "xnnpack"],
)
def test_a_delegate_says_what_computed(line: str, units: tuple[str, ...], printed: Any) -> None:
    assert parse_benchmark_model(f"{line}\n{printed}", "out.txt").units == units


@given(
    count=st.integers(2, 10_000),
    average=st.floats(1.0, 1e9),
    spread=st.floats(0.0, 1e9),
)
def test_every_printed_average_is_read_and_lies_in_its_interval(count: int, average: float, spread: float) -> None:
    # The tool prints floats with six digits, with an exponent where they are large.
    line = f"count={count} first=5 curr=5 min=5 max=6 avg={average:.6g} std={spread:.0f}"
    text = (
        f"{line}\nInference timings in us: Init: 5, First inference: 5, Warmup (avg): 5, "
        f"Inference (avg): {average:.6g}\n"
    )
    latency = parse_benchmark_model(text, "out.txt").latency
    assert latency.value_ms == pytest.approx(float(f"{average:.6g}") / 1e3)
    assert latency.low_ms is not None
    assert latency.high_ms is not None
    assert 0 < latency.low_ms <= latency.value_ms <= latency.high_ms


@given(st.text())
def test_any_other_text_gives_figures_or_one_error(text: str) -> None:
    is_benchmark_model_output(text)
    with pytest.raises(DataError, match=r"^out\.txt: benchmark_model printed no result "):
        parse_benchmark_model(text, "out.txt")


def test_output_that_was_cut_off_is_reported_with_its_last_line(printed: Any) -> None:
    text = printed.partition("count=50")[0].strip()
    message = (
        'out.txt: benchmark_model printed no result (a line that begins with "Inference timings in us:"). Its last '
        'line is "Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 '
        'seconds.". Run it to its end and keep all it prints: benchmark_model --graph=model.tflite > FILE 2>&1'
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        parse_benchmark_model(text, "out.txt")


def test_a_dry_run_has_no_figures() -> None:
    text = "count=0\nInference timings in us: Init: 17187, First inference: 0, Warmup (avg): 0, Inference (avg): 0\n"
    message = "out.txt: benchmark_model timed no inference (--dry_run?). Run it without that flag."
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        parse_benchmark_model(text, "out.txt")


@pytest.mark.parametrize("number", ["9" * 400, "1e999", "1e+100", "12e"])
def test_a_number_that_no_tool_prints_is_no_result(number: str) -> None:
    text = f"Inference timings in us: Init: 1, First inference: 5, Warmup (avg): 4, Inference (avg): {number}"
    with pytest.raises(DataError, match=r"^x: benchmark_model printed no result "):
        parse_benchmark_model(text, "x")
