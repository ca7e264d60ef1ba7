"""Latency predictions: additive, monotone, with honest bands and a basis that names where they come from."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.analysis.graph import Weight
from edgekit.analysis.graph_builder import GraphBuilder
from edgekit.predict.latency import operator_latencies, predict_latency
from edgekit.predict.latency_features import TERMS, count_operator, count_work
from edgekit.profiles.profile import read_profile, shipped_folder
from edgekit.recipe import Recipe


def table(scale=1.0, **more):
    return {
        "unit": "cpu",
        "threads": 4,
        "timed": "some kernels",
        "rows": 30,
        "models": 9,
        "error": 0.1,
        "spread": 0.2,
        "untested": [],
        "sources": ["https://a.org", "https://b.org", "https://c.org"],
        "ns": dict.fromkeys(TERMS, scale),
        **more,
    }


def net(channels=16, side=8, layers=1, kernel="pointwise_conv"):
    builder = GraphBuilder()
    builder.tensor("x0", (1, channels, side, side), "float32")
    for i in range(layers):
        builder.tensor(f"x{i + 1}", (1, channels, side, side), "float32")
        builder.add(
            name=f"layer{i}", type="conv2d", kernel=kernel, reads=[f"x{i}"], outputs=[f"x{i + 1}"],
            module=f"layer{i}", macs=channels * channels * side * side,
        )  # fmt: skip
    return builder.finish(["x0"], [f"x{layers}"])


def conv(*, groups=1, channels=16, kernel=3, stride=1):
    builder = GraphBuilder()
    builder.tensor("x", (1, channels, 8, 8), "float32")
    builder.tensor("y", (1, 16, 8, 8), "float32")
    builder.add(
        name="c", type="conv2d", kernel="dense_conv", reads=["x"], outputs=["y"],
        macs=16 * 64 * kernel * kernel * channels // groups,
        attributes={
            "kernel_h": kernel, "kernel_w": kernel, "stride_h": stride, "stride_w": stride, "groups": groups,
        },
    )  # fmt: skip
    return builder.finish(["x"], ["y"])


def latency(analysis, recipe=None, tables=None, runtime="tflite"):
    tables = {"fp32": table()} if tables is None else tables
    return predict_latency(analysis, recipe or Recipe(), runtime, {runtime: tables}, "pi4")[0]


@given(layers=st.integers(1, 6), channels=st.integers(1, 64), side=st.integers(1, 16))
def test_the_whole_is_the_sum_of_its_operators(layers, channels, side):
    analysis = net(channels, side, layers)
    parts = operator_latencies(analysis, Recipe(), {"fp32": table()})
    assert latency(analysis).value == pytest.approx(sum(part.ms for part in parts))
    assert latency(analysis).value == pytest.approx(sum(count_work(analysis).values()) / 1e6)


@given(channels=st.integers(1, 64), side=st.integers(1, 16), layers=st.integers(1, 5))
def test_more_work_never_takes_less_time(channels, side, layers):
    small = latency(net(channels, side, layers)).value
    assert latency(net(channels + 1, side, layers)).value > small
    assert latency(net(channels, side + 1, layers)).value > small
    assert latency(net(channels, side, layers + 1)).value > small


@given(scale=st.floats(0.01, 100))
def test_rates_scale_the_latency_and_its_band(scale):
    plain, scaled = latency(net()), latency(net(), tables={"fp32": table(scale)})
    assert scaled.value == pytest.approx(plain.value * scale)
    assert scaled.high == pytest.approx(plain.high * scale)


@pytest.mark.parametrize(
    ("sizes", "term"),
    [
        ({}, "dense_3x3_macs"),
        ({"stride": 2}, "dense_macs"),
        ({"kernel": 5}, "dense_macs"),
        ({"channels": 8}, "dense_3x3_macs"),
        ({"channels": 7}, "shallow_macs"),
        ({"groups": 4}, "grouped_macs"),
    ],
    ids=["3x3", "stride 2", "5x5", "eight channels", "seven channels", "groups"],
)
def test_a_convolution_counts_under_the_term_that_decides_its_speed(sizes, term):
    analysis = conv(**sizes)
    work = count_operator(analysis, analysis.operators[0])
    assert {name for name in work if name.endswith("_macs")} == {term, "first_macs"}
    assert work["operators"] == 1


def test_the_band_holds_ninety_percent_of_a_lognormal_error():
    found = latency(net())
    assert math.log(found.high / found.value) == pytest.approx(1.645 * 0.2)
    assert math.log(found.value / found.low) == pytest.approx(1.645 * 0.2)


def test_work_that_no_fitted_model_had_widens_the_band():
    known = latency(net())
    unknown = latency(net(), tables={"fp32": table(untested=["pointwise_macs"])})
    assert unknown.value == known.value
    assert unknown.high > 1.5 * known.high


def test_each_module_runs_at_the_rates_of_its_own_precision():
    tables = {"fp32": table(), "int8_static": table(0.25)}
    whole = latency(net(layers=2), tables=tables).value
    mixed = Recipe(default="int8_static", overrides=(("layer1", "fp32"),))
    assert latency(net(layers=2), mixed, tables).value == pytest.approx(whole * (1 + 0.25) / 2)


@pytest.mark.parametrize(
    ("kernel", "precision", "chosen"),
    [
        ("pointwise_conv", "int8_static", "int8_static"),
        ("recurrent", "int8_static", "fp32"),
        ("pointwise_conv", "int8_dynamic", "fp32"),
        ("linear", "int8_dynamic", "int8_static"),
        ("linear", "int4_weights", "int8_static"),
        ("linear", "int8_weights", "fp32"),
        ("pointwise_conv", "fp16", "fp32"),
    ],
)
def test_an_operator_runs_as_converters_realise_its_precision(kernel, precision, chosen):
    tables = {"fp32": table(), "int8_static": table(0.25)}
    (found,) = operator_latencies(net(kernel=kernel), Recipe(default=precision), tables)
    assert found.table == chosen


def test_a_precision_that_borrows_rates_says_so_and_is_wider():
    own, borrowed = latency(net()), latency(net(), Recipe(default="fp16"))
    assert borrowed.value == own.value
    assert borrowed.high > own.high
    assert "; fp16 has no timings of its own here and borrows those of fp32; " in borrowed.basis


def test_the_basis_names_device_runtime_precision_threads_rows_error_and_sources():
    assert latency(net()).basis == (
        "predicted for pi4's CPU, 4 threads: tflite fp32; fitted on 30 published rows of 9 models (some kernels); "
        "10% median error on families left out; from a.org, b.org and 1 more"
    )


def test_a_scaled_model_says_from_what():
    scaled = table(rows=0, models=0, scaled_from="a Cortex-A55 at 1.8 GHz by clock", sources=[])
    del scaled["error"]
    assert latency(net(), tables={"fp32": scaled}).basis == (
        "predicted for pi4's CPU, 4 threads: tflite fp32; scaled from a Cortex-A55 at 1.8 GHz by clock"
    )


def test_without_a_model_nothing_is_said():
    for item in predict_latency(net(), Recipe(), "tflite", {}, "board"):
        assert item.value is None
    assert predict_latency(net(), Recipe(), "tflite", {}, "board")[0].basis == (
        "not measured: board has no fitted latency model for tflite; measure it on the device"
    )


def test_a_precision_that_nobody_timed_is_not_guessed():
    assert latency(net(), Recipe(default="w8a16")).basis == (
        "not measured: pi4's latency model for tflite knows fp32 and not w8a16; measure it on the device"
    )


def test_a_95th_percentile_is_not_predicted():
    found = predict_latency(net(), Recipe(), "tflite", {"tflite": {"fp32": table()}}, "pi4")[1]
    assert (found.name, found.value) == ("latency_p95", None)
    assert found.basis == "not measured: published measurements give medians; measure it on the device"


def shipped(name):
    return read_profile(shipped_folder() / f"{name}.toml", shipped=True)


@pytest.mark.parametrize("name", sorted(path.stem for path in Path(shipped_folder()).glob("*.toml")))
def test_every_shipped_profile_predicts_a_band_around_a_positive_value(name):
    profile = shipped(name)
    for runtime in profile.runtimes:
        for precision in ("fp16", "int8_static"):
            found = predict_latency(net(), Recipe(default=precision), runtime, profile.latency_model, name)[0]
            assert 0 < found.low < found.value < found.high, (runtime, precision)
            assert found.high / found.value < 20


def test_a_pi_4_runs_integers_faster_than_float_and_a_pi_3_slower_than_a_pi_4():
    analysis = net(channels=256, side=14, layers=20)

    def ms(device, precision):
        models = shipped(device).latency_model
        return predict_latency(analysis, Recipe(default=precision), "tflite", models, device)[0].value

    assert ms("pi4", "int8_static") < 0.7 * ms("pi4", "fp32")
    assert ms("pi3", "fp32") > ms("pi4", "fp32") > ms("pi5", "fp32")


def weighted(channels, side=8, kernel="pointwise_conv"):
    """Returns a layer with its weight: (channels, channels, 1, 1)."""
    analysis = net(channels, side, kernel=kernel)
    shape = (channels, channels, 1, 1)
    weight = Weight(name="w", shape=shape, dtype="float32", role="kernel", channels=channels)
    return replace(analysis, operators=(replace(analysis.operators[0], weights=("w",)),), weights={"w": weight})


@pytest.mark.parametrize(("channels", "filled"), [(16, 16), (17, 24), (24, 24)])
def test_products_are_counted_in_full_tiles(channels, filled):
    analysis = weighted(channels)
    work = count_operator(analysis, analysis.operators[0])
    assert work["pointwise_macs"] == pytest.approx(64 * channels * filled)
    assert (work["positions"], work["weights"]) == (64, channels**2)


@pytest.mark.parametrize(("side", "first"), [(8, 64 * 16 * 16), (128, 2_000_000)], ids=["below", "above"])
def test_the_first_macs_of_a_product_are_counted_once_more_up_to_two_million(side, first):
    analysis = weighted(16, side=side)
    assert count_operator(analysis, analysis.operators[0])["first_macs"] == first


@pytest.mark.parametrize("kernel", ["pointwise_conv", "linear"])
def test_a_product_with_one_vector_is_a_linear_layer_whatever_its_name(kernel):
    analysis = weighted(16, side=1, kernel=kernel)
    work = count_operator(analysis, analysis.operators[0])
    assert (work["linear_macs"], work["linear_weights"], work["positions"]) == (256, 256, 1)
    assert "weights" not in work
