"""The fit of latency models: finds rates that made the timings, lends them to machines without rows, honest bands."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "latency_fidelity"


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """Lets the command's own modules be imported; they are scripts and no package."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    for name in (
        "fitting",
        "prior",
        "published",
        "builds",
        "machines",
        "crossvalidate",
        "repeats",
        "energy",
        "targets",
    ):
        sys.modules.pop(name, None)


def synthetic(noise=0.05, seed=0):
    """Returns timings of 24 models on two boards, and their work; the second board is twice as fast."""
    from fitting import TERMS
    from prior import TYPICAL_NS
    from published import Group, Timing

    random = np.random.default_rng(seed)
    typical = np.array([TYPICAL_NS[term] for term in TERMS])
    rates = np.exp(random.normal(0, 0.3, len(TERMS))) * typical
    work = {f"model{i}": random.uniform(0, 1e6, len(TERMS)) / typical for i in range(24)}
    timings = []
    for device, speed in (("Raspberry Pi 4B", 1.0), ("Raspberry Pi 5", 0.5)):
        group = Group(device=device, threads=4, engine="tflite", precision="fp32")
        for name, amounts in work.items():
            value = float(rates @ amounts / 1e6 * speed * np.exp(random.normal(0, noise)))
            timings.append(Timing(group=group, model=name, values_ms=(value,), sources=("here",)))
    return timings, work


def test_models_that_were_left_out_are_predicted_inside_the_band():
    from crossvalidate import BAND_QUANTILE, leave_out, own_spread, spread_scale, summarise

    timings, work = synthetic()
    found = list(leave_out(timings, work))
    assert len(found) == len(timings)
    assert summarise(found)["median"] < 0.15
    judged = [item for i, item in enumerate(found) if i % 4 < 2]  # every second model, on both boards
    scale = spread_scale([item for item in found if item not in judged])
    inside = [abs(item.log_errors()[0]) <= BAND_QUANTILE * scale * own_spread(item.sigma) for item in judged]
    assert np.mean(inside) >= 0.8


def test_a_machine_is_twice_as_fast_where_its_rows_say_so():
    from fitting import Fit

    timings, work = synthetic(noise=0.0)
    fit = Fit(timings, work)
    slow, fast = (fit.rates(group) for group in dict.fromkeys(timing.group for timing in timings))
    ratios = [fast.predict_ms(amounts) / slow.predict_ms(amounts) for amounts in work.values()]
    assert np.median(ratios) == pytest.approx(0.5, rel=0.05)


def test_a_group_without_rows_is_less_certain_than_one_with_rows():
    from fitting import Fit
    from published import Group

    timings, work = synthetic()
    fit = Fit(timings, work)
    amounts = work["model0"]
    unseen = Group(device="Raspberry Pi 5", threads=4, engine="xnnpack", precision="fp32")
    assert fit.rates(unseen).rows == 0
    assert fit.rates(unseen).log_sigma(amounts) > 2 * fit.rates(timings[0].group).log_sigma(amounts)


def test_repeated_rows_are_held_against_the_others_of_their_model():
    from published import Group, Timing
    from repeats import disagreement, repeats_table

    group = Group(device="Raspberry Pi 4B", threads=4, engine="tflite", precision="fp32")
    rows = Timing(group=group, model="resnet50", values_ms=(10.0, 10.0, 20.0), sources=("here",))
    alone = Timing(group=group, model="vgg16", values_ms=(10.0,), sources=("here",))
    assert disagreement([rows, alone]) == pytest.approx([0.5, 0.5, 0.5])
    assert list(repeats_table([rows, alone], lambda _: True))[-1] == "| all | | | | 1 | 3 | 50.0% | 0% | 0% |"


@pytest.mark.parametrize(
    ("engine", "version", "source", "expected"),
    [
        ("tflite", "2.11.0-ruy", "github.com/mlcommons/inference_results_v3.0", "ruy 2.11"),
        ("tflite", "2019 (Eigen/gemmlowp)", "github.com/freedomtan/glDelegateBenchmark", "eigen"),
        ("tflite", "ultralytics 8.4.32", "https://github.com/ultralytics/ultralytics", "ultralytics 8.4"),
        ("tensorrt", "JetPack 4.6", "github.com/mlcommons/inference_results_v2.0", "mlperf"),
        ("tflite", "2020", "https://github.com/tensorflow/tpu", ""),
    ],
)
def test_a_build_is_read_from_version_and_source(engine, version, source, expected):
    from builds import build_of

    assert build_of(engine, engine, version, source) == expected


def test_rows_without_threads_run_on_those_that_their_source_uses():
    from builds import unstated_threads

    assert unstated_threads("tflite", "ultralytics 8.4") == 1
    assert unstated_threads("onnxruntime", "ultralytics 8.4") is None


def test_dot_products_count_from_the_build_whose_kernels_have_them():
    from builds import uses_dot_products

    assert [uses_dot_products(build) for build in ("eigen", "ruy 2.7", "ruy 2.11", "ultralytics 8.4")] == [
        False,
        False,
        True,
        True,
    ]


def test_a_device_without_rows_gets_the_build_of_its_engine_and_one_with_rows_its_newest():
    from dataclasses import replace

    from targets import build_for

    timings, _ = synthetic()
    bare = timings[0].group
    built = [replace(t, group=replace(t.group, build=f"ruy 2.{4 + i % 2}")) for i, t in enumerate(timings)]
    assert build_for(bare, built) == "ruy 2.5"
    assert build_for(replace(bare, device="Raspberry Pi 3B+"), built) == "ruy 2.11"


def test_a_fit_does_not_depend_on_where_its_search_stops():
    from fitting import Fit

    timings, work = synthetic()
    group = timings[0].group
    found = [Fit(timings, work, rounds=rounds).rates(group).predict_ms(work["model0"]) for rounds in (16, 48)]
    assert found[0] == pytest.approx(found[1], rel=0.02)


def test_energy_of_a_model_left_out_is_its_latency_times_the_power_of_the_others():
    from energy import Measured, leave_one_out

    rows = [
        Measured(board="a", model=name, latency_ms=ms, energy_uj=uj)
        for name, ms, uj in (("x", 1.0, 10.0), ("y", 2.0, 20.0), ("z", 1.0, 20.0))
    ]
    assert leave_one_out(rows) == pytest.approx([0.5, 0.5, 0.5])


def test_what_terms_share_is_the_doubt_of_all_and_the_rest_is_their_own():
    from fitting import TERMS, doubt_from

    spread = np.full((len(TERMS), len(TERMS)), 0.09) + np.diag(np.full(len(TERMS), 0.16))
    doubt = doubt_from(spread)
    assert doubt.common == pytest.approx(0.3)
    assert doubt.of("weights") == pytest.approx(0.4)


def test_a_machine_with_a_higher_peak_is_expected_to_be_faster():
    from machines import peak_gmacs
    from published import Group

    def peak(device, threads):
        return peak_gmacs(Group(device=device, threads=threads, engine="tflite", precision="fp32"))

    assert peak("Raspberry Pi 5", 4) > peak("Raspberry Pi 4B", 4) > peak("Raspberry Pi 4B", 1)


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("mobilenet-v2-0.35-96-quantized", "1x3x96x96", "mobilenet_v2_0.35_96"),
        ("mobilenet-v1-1.0-224-non-quantized", "1x3x224x224", "mobilenet_v1_1_224"),
        ("YOLO11n", "1x3x640x640", "yolo11n@640"),
        ("YOLO11n", "1x3x320x320", None),
        ("resnet50", "", "resnet50"),
        ("resnet50", "1x3x160x160", None),
        ("YOLO11n-seg", "1x3x640x640", None),
    ],
)
def test_a_published_name_and_shape_mean_one_model_or_none(name, shape, expected):
    from published import match_model

    sides = {"mobilenet_v2_0.35_96": 96, "mobilenet_v1_1_224": 224, "yolo11n@640": 640, "resnet50": 224}
    assert match_model(name, shape, sides) == expected


def test_tagged_rows_are_not_used():
    from published import table_path

    if not table_path().exists():
        pytest.skip(f"EDGEKIT_SHARED={os.environ.get('EDGEKIT_SHARED', '')}: no published rows there")
    from published import read_timings

    timings = read_timings(table_path(), {"resnet50": 224})
    slowest = max(t.median_ms for t in timings if t.group.device == "Raspberry Pi 4B" and t.group.engine == "tflite")
    # TFLite 1.15 took 1890 ms: a runtime of another age.
    assert slowest < 800
