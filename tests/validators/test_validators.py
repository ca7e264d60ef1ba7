import dataclasses
import math

import numpy as np
import pytest

from edgekit import registry
from edgekit.artifact import Artifact
from edgekit.budget import Budget, Limit
from edgekit.recipe import Prediction
from edgekit.samples import Samples, SampleWriter
from edgekit.testing.validator_contract import REQUESTED, ValidatorContract
from edgekit.validators.accuracy import accuracy_drop
from edgekit.validators.artifact_operators import ArtifactOperator
from edgekit.validators.base import Evidence, Validator
from edgekit.validators.base import validators as all_validators
from edgekit.validators.host_timing import HostTiming, host_timing
from edgekit.validators.output_statistics import LARGEST_DB, sqnr_db
from edgekit.validators.parity import sqnr_by_output

VALIDATORS = {type(validator).__name__: validator for validator in all_validators()}


@pytest.fixture
def write(tmp_path):
    def make(name, *arrays, targets=(), slices=()):
        with SampleWriter(tmp_path / name, [f"y{i}" for i in range(len(arrays))]) as writer:
            for i in range(len(arrays[0])):
                writer.add(tuple(array[i : i + 1] for array in arrays))
            for target in targets:
                writer.add_item(target)
            for name_of_slice in slices:
                writer.add_item(None, name_of_slice)
        return Samples.open(tmp_path / name)

    return make


@pytest.fixture
def artifact(tmp_path):
    return Artifact(
        path=tmp_path / "model.tflite",
        runtime="tflite",
        precision="int8",
        size_bytes=5_000_000,
        download_bytes=4_000_000,
        sha256="",
    )


@pytest.fixture
def full(artifact, write):
    """Evidence with every piece: 100 items, 2 of them in another class, timings of 2 ms against 4 ms."""
    generator = np.random.default_rng(0)
    reference = generator.standard_normal((100, 5)).astype(np.float32)
    outputs = reference + 0.01 * generator.standard_normal((100, 5)).astype(np.float32)
    outputs[:2] = np.roll(reference[:2], 1, axis=1)
    return Evidence(
        artifact=artifact,
        host="Test CPU, 2 cores",
        runtime="ai-edge-litert 2.3.0",
        evaluation=write("evaluation", np.zeros((100, 3), np.float32), slices=[f"part {i % 5}" for i in range(100)]),
        outputs=write("outputs", outputs),
        reference=write("reference", reference),
        latencies_ms=tuple(2 + 0.01 * (i % 7) for i in range(40)),
        float_latencies_ms=tuple(4 + 0.01 * (i % 5) for i in range(40)),
        peak_memory_bytes=60_000_000,
        empty_memory_bytes=40_000_000,
        operators=(FALLEN,),
        requested=REQUESTED,
        accelerator="nnapi",
    )


FALLEN = ArtifactOperator(
    name="odd", kind="CONV_3D", arithmetic="float", dtype="float32", rank=5, macs=10, weights=4, weight_bits=32, path=""
)
"""An operator that is everything that was not wanted."""


class OfEdgekit(ValidatorContract):
    """Judges evidence with every piece."""

    @pytest.fixture(autouse=True)
    def everything(self, full):
        self.full = dataclasses.replace(full, on_device=True)

    def evidence(self, folder):
        return self.full


class TestSize(OfEdgekit):
    name = "size"
    needs_no_run = True


class TestAccuracy(OfEdgekit):
    name = "accuracy"


class TestSlices(OfEdgekit):
    name = "slices"


class TestParity(OfEdgekit):
    name = "parity"


class TestMemory(OfEdgekit):
    name = "memory"


class TestLatency(OfEdgekit):
    name = "latency"


class TestIntegerCoverage(OfEdgekit):
    name = "integer_coverage"


class TestDelegateCoverage(OfEdgekit):
    name = "delegate_coverage"


class TestIgnoredSettings(OfEdgekit):
    name = "ignored_settings"


class TestOutputs(OfEdgekit):
    name = "outputs"
    has_user_limits = False


class TestEvidence(OfEdgekit):
    name = "evidence"
    needs_no_run = True
    has_user_limits = False


class TestModelDigest(OfEdgekit):
    name = "model_digest"
    needs_no_run = True
    has_user_limits = False


def test_every_validator_of_the_table_is_held_to_the_contract():
    assert {cls.name for cls in OfEdgekit.__subclasses__()} == set(registry.VALIDATORS)


def test_a_validator_that_breaks_its_contract_is_reported():
    class Wrong(Validator):
        costs = ("size",)

        def judge(self, evidence, budget):
            return ()

    with pytest.raises(TypeError) as caught:
        Wrong().run(None, Budget())
    assert str(caught.value) == "Wrong declares size and returned nothing."


def check_of(name, evidence, limit=None, budget_name=None):
    limits = () if limit is None else (Limit(name=budget_name or name, value=limit, source="test"),)
    checks = [check for validator in VALIDATORS.values() for check in validator.run(evidence, Budget(limits=limits))]
    return next(check for check in checks if check.name == name)


@pytest.mark.parametrize(
    ("limit", "verdict"),
    [
        pytest.param(4_999_999, "fail", id="above"),
        pytest.param(5_000_000, "pass", id="on"),
        pytest.param(5e6 + 1, "pass", id="below"),
    ],
)
def test_size_is_the_files_bytes(full, limit, verdict):
    check = check_of("size", full, limit)
    assert (check.value, check.verdict, check.measured_on) == (5_000_000, verdict, "file")


def test_download_is_the_deflated_bytes(full):
    assert check_of("download", full).value == 4_000_000


def test_memory_is_what_the_artifact_adds_to_the_empty_runtime(full):
    check = check_of("memory", full, 19_999_999)
    assert (check.value, check.verdict) == (20_000_000, "fail")
    assert check.measured_on == "host: Test CPU, 2 cores"
    assert check.detail == "Peak 60 MB of the process, 40 MB with the empty runtime."


def test_memory_below_what_can_be_seen_is_nothing(full):
    assert check_of("memory", dataclasses.replace(full, peak_memory_bytes=39_000_000)).value == 0


def test_the_accuracy_drop_has_its_interval_and_its_sample_count(full):
    check = check_of("accuracy_drop", full, 5.0)
    assert check.value == pytest.approx(2.0)
    assert (round(check.low, 2), round(check.high, 2)) == (0.55, 7.0)
    assert check.verdict == "inconclusive"
    assert check.measured_on == "ai-edge-litert 2.3.0"
    assert check.detail.startswith("agreement with float 98.00 % on 100 items; 95 % interval of the drop 0.55 to 7.00")


def test_outputs_that_are_not_finite_fail_without_a_limit(full, write):
    outputs = np.array(full.outputs.arrays()[0])
    outputs[3] = np.nan
    evidence = dataclasses.replace(full, outputs=write("broken", outputs))
    accuracy, parity = check_of("accuracy_drop", evidence), check_of("parity", evidence)
    assert (accuracy.verdict, accuracy.fails_gate) == ("fail", True)
    assert accuracy.detail == 'The artifact\'s output "y0" is NaN or infinite in 1 of 100 rows (5 of 500 values).'
    assert (parity.verdict, parity.fails_gate) == ("fail", True)
    assert parity.detail == "SQNR against the float model over 100 rows: y0 NaN (outputs that are not finite)."


def test_data_that_does_not_fit_the_metric_is_not_run_with_the_reason(full):
    drop, reason = accuracy_drop(dataclasses.replace(full, metric="top1"))
    assert drop is None
    assert reason == (
        "The metric top1 needs targets and the evaluation data has none. "
        "Yield (inputs, class index) from [data] evaluation, or use the metric agreement."
    )
    assert check_of("accuracy_drop", dataclasses.replace(full, metric="top1")).detail == reason


def test_an_accuracy_without_a_float_model_is_reported_and_not_run(full, write):
    targets = np.asarray(full.reference.arrays()[0]).argmax(1)
    evaluation = write("labelled", np.zeros((100, 3), np.float32), targets=targets)
    evidence = dataclasses.replace(full, metric="top1", evaluation=evaluation, reference=None)
    check = check_of("accuracy_drop", evidence)
    assert (check.verdict, check.detail) == (
        "not_run",
        "top1 98.00 on 100 items; no float model to compare with. Name it with --model.",
    )


def test_parity_is_the_worst_outputs_and_names_each(full, write):
    first, second = np.ones((10, 4)), np.full((10, 2), 10.0)
    evidence = dataclasses.replace(
        full, reference=write("r", first, second), outputs=write("o", first * 1.01, second * 1.001)
    )
    check = check_of("parity", evidence, 40.0)
    assert check.value == pytest.approx(40.0)
    assert check.detail == "SQNR against the float model over 10 rows: y0 40.0 dB, y1 60.0 dB."


@pytest.mark.parametrize(
    ("reference", "outputs", "expected"),
    [
        pytest.param([[3.0, 4.0]], [[3.0, 4.5]], 20.0, id="20 dB"),
        pytest.param([[1.0, 2.0]], [[1.0, 2.0]], LARGEST_DB, id="equal"),
        pytest.param([[0.0, 0.0]], [[0.0, 0.0]], LARGEST_DB, id="both zero"),
        pytest.param([[0.0, 0.0]], [[0.0, 1.0]], -LARGEST_DB, id="noise without a signal"),
        pytest.param([[1.0]], [[1.0 + 1e-12]], LARGEST_DB, id="beyond the largest"),
    ],
)
def test_the_ratio_is_signal_over_noise(reference, outputs, expected):
    assert sqnr_db(np.array(reference), np.array(outputs)) == pytest.approx(expected)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_the_ratio_of_what_is_not_finite_is_no_number(value):
    assert math.isnan(sqnr_db(np.array([[1.0]]), np.array([[value]])))


def test_the_ratio_sums_over_all_rows_however_many():
    generator = np.random.default_rng(0)
    reference, noise = generator.standard_normal((2, 1000, 3))
    expected = 10 * math.log10(np.sum(reference**2) / np.sum((0.1 * noise) ** 2))
    assert sqnr_db(reference, reference + 0.1 * noise) == pytest.approx(expected)


def test_outputs_that_differ_in_sizes_of_one_compare(write):
    found = sqnr_by_output(write("r", np.ones((4, 5))), write("o", np.ones((4, 5, 1, 1))))
    assert found == {"y0": LARGEST_DB}


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        pytest.param(
            (np.ones((4, 5)), np.ones((4, 5))),
            "The artifact has 2 outputs (y0, y1) and the float model 1 (y0): they cannot be compared.",
            id="number",
        ),
        pytest.param(
            (np.ones((4, 6)),),
            'Output "y0" has shape (1, 6) in the artifact and (1, 5) in the float model: they cannot be compared.',
            id="shape",
        ),
        pytest.param((np.ones((3, 5)),), "The artifact has outputs for 3 rows and the float model for 4.", id="rows"),
    ],
)
def test_outputs_that_do_not_compare_are_not_run_with_the_reason(full, write, outputs, expected):
    evidence = dataclasses.replace(full, reference=write("r", np.ones((4, 5))), outputs=write("o", *outputs))
    check = check_of("parity", evidence)
    assert (check.verdict, check.detail) == ("not_run", expected)


def test_a_hosts_timing_is_never_the_devices_latency(full):
    check = check_of("latency", full, 1000.0)
    assert (check.verdict, check.value, check.basis) == ("not_run", None, "measured")
    assert check.measured_on == "host: Test CPU, 2 cores"
    assert check.detail == (
        "Not measured on the device. Host Test CPU, 2 cores, 1 thread: median 2.03 ms, p95 2.06 ms over 40 runs; "
        "0.50 x float's latency (0.50 to 0.51)."
    )
    assert check_of("latency_p95", full, 1000.0).verdict == "not_run"


PREDICTION = Prediction(name="latency", value=40.0, low=30.0, high=50.0, unit="ms", basis="predicted for pi4's CPU")


@pytest.mark.parametrize(
    ("limit", "verdict"),
    [(50.0, "pass"), (49.0, "inconclusive"), (30.0, "inconclusive"), (29.0, "fail")],
    ids=["band within", "upper end over", "lower end on it", "band beyond"],
)
def test_a_predicted_latency_is_judged_with_its_band_until_the_device_is_timed(full, limit, verdict):
    evidence = dataclasses.replace(full, device="pi4", predicted_latency=PREDICTION)
    check = check_of("latency", evidence, limit)
    assert (check.verdict, check.value, check.low, check.high) == (verdict, 40.0, 30.0, 50.0)
    assert (check.basis, check.measured_on) == ("predicted", "predicted for pi4")
    assert check.detail.startswith("Predicted for pi4's CPU. Host Test CPU, 2 cores, 1 thread: median 2.03 ms")


def test_a_timing_on_the_device_comes_before_a_prediction(full):
    evidence = dataclasses.replace(full, on_device=True, host="pi4", predicted_latency=PREDICTION)
    assert check_of("latency", evidence, 3.0).basis == "measured"


def test_a_timing_on_the_device_is_its_latency_with_a_band(full):
    evidence = dataclasses.replace(full, on_device=True, host="pi4")
    check = check_of("latency", evidence, 3.0)
    assert (check.verdict, check.measured_on) == ("pass", "pi4")
    assert check.low <= check.value <= check.high
    assert check_of("latency_p95", evidence).value == pytest.approx(2.06)


def test_a_ratio_across_the_limit_is_inconclusive(full):
    evidence = dataclasses.replace(full, on_device=True, latencies_ms=(1.0, 3.0) * 20)
    assert check_of("latency", evidence, 2.0).verdict == "inconclusive"


def test_host_timing_needs_timings(artifact):
    assert host_timing(Evidence(artifact=artifact)) is None


def test_host_timing_without_a_float_artifact_has_no_ratio(full):
    timing = host_timing(dataclasses.replace(full, float_latencies_ms=(), threads=2))
    assert (timing.ratio, timing.ratio_low, timing.float_median_ms) == (None, None, None)
    assert timing.sentence == "Host Test CPU, 2 cores, 2 threads: median 2.03 ms, p95 2.06 ms over 40 runs."


def test_a_ratio_of_few_pairs_has_no_interval(full):
    timing = host_timing(dataclasses.replace(full, latencies_ms=(1.0,) * 5, float_latencies_ms=(2.0,) * 5))
    assert (timing.ratio, timing.ratio_low, timing.ratio_high) == (0.5, None, None)
    assert timing.sentence.endswith("0.50 x float's latency.")


def test_pairing_cancels_a_load_that_hits_both(full):
    load = 1 + np.linspace(0, 3, 40)
    timing = host_timing(dataclasses.replace(full, latencies_ms=tuple(2 * load), float_latencies_ms=tuple(4 * load)))
    assert (timing.ratio_low, timing.ratio, timing.ratio_high) == pytest.approx((0.5, 0.5, 0.5))


def test_host_timing_has_a_json_form():
    timing = HostTiming(host="h", threads=1, runs=2, median_ms=1.0, p95_ms=2.0)
    assert timing.to_json() == {
        "host": "h",
        "threads": 1,
        "runs": 2,
        "median_ms": 1.0,
        "p95_ms": 2.0,
        "float_median_ms": None,
        "ratio": None,
        "ratio_low": None,
        "ratio_high": None,
    }


def test_outputs_of_rows_without_labels_are_judged_and_accuracy_is_not(full, write):
    dead = full.outputs.arrays()[0].copy()
    dead[:, 3] = 0
    found = dataclasses.replace(
        full, evaluation=None, rows_of="calibration data", outputs=write("dead", dead), missing={"outputs": "No data."}
    )
    assert check_of("outputs_alive", found).verdict == "fail"
    assert check_of("parity", found).detail.startswith(
        "SQNR against the float model over 100 rows of calibration data: "
    )
    accuracy = check_of("accuracy", found)
    assert (accuracy.value, accuracy.detail) == (None, "No data.")
