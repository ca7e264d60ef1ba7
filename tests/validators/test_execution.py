import json
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit.errors import ArtifactError, DataError, MissingDependencyError, ResourceError, WorkerError
from edgekit.model import CapturedModel, TensorSpec
from edgekit.validators.artifact_operators import count_by_arithmetic
from edgekit.validators.execution import collect_evidence, run_reference
from edgekit.validators.runner_process import RunSettings

QUICK = RunSettings(timeout_s=30, runs=12, warmup=1)


def spec(name, shape, dtype="float32", scale=None, zero_point=None):
    return {"name": name, "shape": shape, "dtype": dtype, "layout": None, "scale": scale, "zero_point": zero_point}


def collect(artifact, tmp_path, **options):
    options.setdefault("settings", QUICK)
    return collect_evidence(artifact, folder=tmp_path / "run", **options)


def message_of(error, call, *arguments, **options):
    with pytest.raises(error) as caught:
        call(*arguments, **options)
    return caught.value.message


def test_everything_is_measured_in_two_fresh_processes(fake_runner, rows, tmp_path):
    data = np.arange(12, dtype=np.float32).reshape(4, 3)
    samples = rows(x=data)
    reported = []
    evidence = collect(
        fake_runner(sleep_s=0.002),
        tmp_path,
        evaluation=samples,
        reference=samples,
        baseline=fake_runner("float.fake", sleep_s=0.004).path,
        metric="cosine",
        metric_base=tmp_path,
        progress=lambda phrase, share: reported.append((phrase, share)),
    )
    assert evidence.missing == {}
    assert evidence.runtime == "fake 1.0 with 1 threads"
    assert "cores" in evidence.host
    np.testing.assert_array_equal(evidence.outputs.arrays()[0], data + 1)
    assert evidence.outputs.names == ("x",)
    assert evidence.peak_memory_bytes >= evidence.empty_memory_bytes > 1_000_000
    assert len(evidence.latencies_ms) == len(evidence.float_latencies_ms) == 12
    assert np.median(evidence.float_latencies_ms) > np.median(evidence.latencies_ms) > 1
    assert count_by_arithmetic(evidence.operators) == {"integer": {"CONV": 2}, "float": {"ADD": 1}}
    assert evidence.boundary == (("x", "float32"), ("x", "float32"))
    assert (evidence.metric, evidence.metric_base) == ("cosine", tmp_path)
    assert [item.name for item in evidence.artifact.inputs] == ["x"]
    assert reported[0] == ("model.fake: loading", None)


def test_an_artifact_alone_is_run_on_made_up_inputs(fake_runner, tmp_path):
    inputs = [spec("x", [-1, 1]), spec("ids", [1, 4], "int64"), spec("q", [1, 4], "int8", 0.1, 3)]
    evidence = collect(fake_runner(inputs=inputs), tmp_path)
    assert evidence.missing == {
        "outputs": "There is no evaluation data. Give [data] evaluation in edgekit.toml.",
        "reference": "There is no float model to compare with. Give the model that the artifact was made from, "
        "with --model.",
    }
    assert evidence.outputs is None
    assert len(evidence.latencies_ms) == 12
    assert evidence.float_latencies_ms == ()
    assert evidence.peak_memory_bytes is not None


def test_sizes_that_the_file_leaves_free_are_requested_and_never_taken_as_one(fake_runner, tmp_path):
    artifact = fake_runner(inputs=[spec("x", [-1, 3, -1, -1]), spec("ids", [-1, -1], "int64")])
    with pytest.raises(DataError) as caught:
        collect(artifact, tmp_path)
    assert caught.value.message == (
        'model.fake leaves sizes of its input "x" free: (1, 3, ?, ?). Give data of the sizes that the app will use. Or '
        "name them: --input x=1x3x224x224 --input ids=1x128:int64"
    )


def test_only_the_pieces_that_were_requested_are_measured(fake_runner, rows, tmp_path):
    samples = rows(x=np.zeros((2, 3), np.float32))
    first = collect(fake_runner(), tmp_path, evaluation=samples, reference=samples, pieces=("memory", "outputs"))
    assert first.missing == {"latency": "It was not requested."}
    second = collect(fake_runner(), tmp_path, evaluation=samples, reference=samples, pieces=("latency",))
    assert second.missing == {"memory": "It was not requested.", "outputs": "It was not requested."}
    assert len(second.latencies_ms) == 12


def test_timing_stops_when_its_time_is_over_but_not_before_ten_runs(fake_runner, tmp_path):
    settings = RunSettings(timeout_s=30, runs=1000, warmup=0, timing_s=0.0)
    evidence = collect(fake_runner(), tmp_path, pieces=("latency",), settings=settings)
    assert len(evidence.latencies_ms) == 10


def test_a_runtime_that_is_not_to_be_timed_says_why(fake_runner, rows, tmp_path):
    samples = rows(x=np.zeros((2, 3), np.float32))
    evidence = collect(fake_runner(untimed=True), tmp_path, evaluation=samples, reference=samples)
    assert evidence.missing == {
        "memory": "A fake says nothing about time.",
        "latency": "A fake says nothing about time.",
    }
    assert evidence.outputs is not None


CRASHED = (
    "model.fake makes its runtime crash: the run of model.fake was ended by signal 11 (SIGSEGV). "
    "The file is probably damaged, or not made for this runtime: make it again.\nIts log is empty."
)


def test_a_crash_costs_the_piece_that_was_running_and_says_how(fake_runner, rows, tmp_path):
    samples = rows(x=np.zeros((20, 3), np.float32))
    evidence = collect(
        fake_runner(do="crash", after=10), tmp_path, evaluation=samples, reference=samples, pieces=("memory", "outputs")
    )
    assert evidence.missing == {
        "latency": "It was not requested.",
        "outputs": CRASHED,
        "operators": CRASHED,
    }
    assert evidence.peak_memory_bytes is not None


def test_a_hang_is_stopped_at_the_time_limit(fake_runner, tmp_path):
    evidence = collect(fake_runner(do="hang"), tmp_path, settings=RunSettings(timeout_s=1.0), pieces=("memory",))
    assert evidence.missing["memory"] == (
        "The run of model.fake was stopped after 1 s, its time limit. "
        "Raise the limit with --timeout, or give the machine more time or a smaller model."
    )


def test_too_much_memory_is_stopped_at_the_memory_limit(fake_runner, tmp_path):
    evidence = collect(
        fake_runner(do="hold"),
        tmp_path,
        settings=RunSettings(timeout_s=30, memory_limit_bytes=150_000_000, warmup=0),
        pieces=("latency",),
    )
    assert evidence.missing["latency"].startswith("The run of model.fake was stopped at ")
    assert evidence.missing["latency"].endswith("Raise the limit with --memory-limit, or use a smaller model.")


def test_a_failing_operator_costs_the_pieces_and_says_what_the_runtime_said(fake_runner, tmp_path):
    evidence = collect(fake_runner(do="raise"), tmp_path, pieces=("memory",))
    assert evidence.missing["memory"] == (
        "model.fake was loaded by fake 1.0 with 1 threads and failed when it ran: kernel missing: Foo. "
        "Export it again; if it still fails, this runtime lacks what the artifact needs."
    )


def test_outputs_that_change_their_shape_are_refused(fake_runner, rows, tmp_path):
    samples = rows(x=np.zeros((3, 3), np.float32))
    evidence = collect(fake_runner(do="grow"), tmp_path, evaluation=samples, pieces=("outputs",))
    assert evidence.missing["outputs"] == (
        'Output "x" of model.fake has shape (1, 2) on row 1 and (1, 1) before. '
        "Outputs must have one shape: export a model whose output shapes do not depend on the data."
    )


def test_an_artifact_that_its_runtime_refuses_is_the_users_fault(fake_runner, tmp_path):
    artifact = fake_runner(do="refuse")
    assert message_of(ArtifactError, collect, artifact, tmp_path) == (
        f"model.fake ({artifact.path.stat().st_size} bytes) cannot be loaded by fake 1.0 with 1 threads: "
        "bad magic number. The file is cut off, damaged, or made for another runtime or version: "
        "copy or export it again."
    )


def test_an_empty_file_never_reaches_the_runtime(fake_runner, tmp_path):
    artifact = fake_runner()
    artifact.path.write_bytes(b"")
    assert message_of(ArtifactError, collect, artifact, tmp_path) == (
        f"{artifact.path} is empty (0 bytes). Copy or export it again."
    )


def test_an_artifact_that_is_not_there_is_named(fake_runner, tmp_path):
    artifact = fake_runner()
    artifact.path.unlink()
    assert message_of(ArtifactError, collect, artifact, tmp_path) == (
        f"{artifact.path}: no such file. Give the path of an artifact."
    )


def test_a_runtime_that_is_not_installed_is_named_with_its_extra(fake_runner, tmp_path):
    assert message_of(MissingDependencyError, collect, fake_runner(missing=True), tmp_path) == (
        "Running model.fake needs fake-runtime, which cannot be imported: No module named 'fake_runtime'. "
        "Install it from the checkout: pip install -e '.[fake]'"
    )


@pytest.mark.parametrize(
    ("tensors", "expected"),
    [
        pytest.param(
            {"x": np.zeros((2, 4), np.float32)},
            'Input "x" of model.fake takes float32 of shape (1, 3); the data is float32 of shape (1, 4). '
            "Give data of that shape and type, or export the model with inputs like the data.",
            id="shape",
        ),
        pytest.param(
            {"x": np.zeros((2, 3), np.uint8)},
            'Input "x" of model.fake takes float32 of shape (1, 3); the data is uint8 of shape (1, 3). '
            "Give data of that shape and type, or export the model with inputs like the data.",
            id="dtype",
        ),
        pytest.param(
            {"a": np.zeros((2, 3), np.float32), "b": np.zeros((2, 3), np.float32)},
            "model.fake takes 1 input (x); the data has 2 tensors (a, b). Give one tensor for each input.",
            id="number of inputs",
        ),
    ],
)
def test_data_that_does_not_fit_is_the_users_fault(fake_runner, rows, tmp_path, tensors, expected):
    assert message_of(DataError, collect, fake_runner(), tmp_path, evaluation=rows(**tensors)) == expected


def test_integers_that_do_not_fit_are_refused(fake_runner, rows, tmp_path):
    artifact = fake_runner(inputs=[spec("ids", [1, 2], "int8")])
    samples = rows(ids=np.array([[1, 2], [3, 300]]))
    assert message_of(DataError, collect, artifact, tmp_path, evaluation=samples) == (
        'Input "ids" of model.fake takes int8; the data holds values from 3 to 300, which do not fit. '
        "Give smaller integers."
    )


def test_token_ids_are_cast_to_what_the_artifact_takes(fake_runner, rows, tmp_path):
    artifact = fake_runner(inputs=[spec("ids", [1, 2], "int32")])
    evidence = collect(artifact, tmp_path, evaluation=rows(ids=np.array([[1, 2], [3, 4]])), pieces=("outputs",))
    outputs = evidence.outputs.arrays()[0]
    assert outputs.dtype == np.int32
    np.testing.assert_array_equal(outputs, [[2, 3], [4, 5]])


def test_a_free_size_takes_any_data(fake_runner, rows, tmp_path):
    artifact = fake_runner(inputs=[spec("x", [1, -1])])
    samples = rows(x=np.zeros((2, 7), np.float32))
    assert collect(artifact, tmp_path, evaluation=samples, pieces=("outputs",)).outputs.arrays()[0].shape == (2, 7)


def test_float_data_is_quantized_for_an_integer_input_and_the_output_turned_back(fake_runner, rows, tmp_path):
    integer = spec("x", [1, 4], "int8", 0.5, 10)
    evidence = collect(
        fake_runner(inputs=[integer]),
        tmp_path,
        evaluation=rows(x=np.array([[-100.0, 0.0, 0.26, 100.0]], np.float32)),
        pieces=("outputs",),
    )
    # stored: -128 (clipped), 10, 11 (rounded), 127 (clipped); the fake adds 1 and int8 wraps
    outputs = evidence.outputs.arrays()[0]
    assert outputs.dtype == np.float32
    np.testing.assert_array_equal(outputs, 0.5 * (np.array([[-127, 11, 12, -128]]) - 10))


def test_the_expected_names_set_the_order_and_the_expected_scales_fill_in(fake_runner, rows, tmp_path):
    stored = [spec("b", [1, 2], "int8"), spec("a", [1, 2])]
    a = TensorSpec(name="a", shape=(1, 2), dtype="float32", layout="NC")
    b = TensorSpec(name="b", shape=(1, 2), dtype="int8", scale=2.0, zero_point=0)
    artifact = fake_runner(inputs=stored, specs=(a, b), out_specs=(a, b))
    first, second = np.array([[1.0, 2.0]], np.float32), np.array([[4.0, 8.0]], np.float32)
    evidence = collect(artifact, tmp_path, evaluation=rows(one=first, two=second), pieces=("outputs",))
    assert evidence.outputs.names == ("a", "b")
    np.testing.assert_array_equal(evidence.outputs.arrays()[0], [[2.0, 3.0]])
    np.testing.assert_array_equal(evidence.outputs.arrays()[1], [[6.0, 10.0]])


def test_expected_names_that_the_runtime_does_not_have_are_only_shown(fake_runner, rows, tmp_path):
    named = TensorSpec(name="image", shape=(1, 3), dtype="float32")
    artifact = fake_runner(specs=(named,), out_specs=(named,))
    samples = rows(x=np.zeros((1, 3), np.float32))
    assert collect(artifact, tmp_path, evaluation=samples, pieces=("outputs",)).outputs.names == ("image",)


def test_an_artifacts_own_description_is_used_where_nobody_gives_one(fake_runner, rows, tmp_path):
    described = {"inputs": [spec("x", [1, 3], "int8", 0.25, 0)], "outputs": [spec("x", [1, 3], "int8", 0.25, 0)]}
    artifact = fake_runner(inputs=[spec("x", [1, 3], "int8")], metadata={"edgekit.io": json.dumps(described)})
    samples = rows(x=np.array([[1.0, 0.5, 0.0]], np.float32))
    evidence = collect(artifact, tmp_path, evaluation=samples, pieces=("outputs",))
    np.testing.assert_array_equal(evidence.outputs.arrays()[0], [[1.25, 0.75, 0.25]])
    assert evidence.artifact.inputs[0].scale == 0.25


def test_somebody_elses_description_is_ignored(fake_runner, rows, tmp_path):
    artifact = fake_runner(metadata={"edgekit.io": "not JSON"})
    samples = rows(x=np.zeros((1, 3), np.float32))
    assert collect(artifact, tmp_path, evaluation=samples, pieces=("outputs",)).outputs is not None


def test_data_with_the_artifacts_names_is_matched_by_name(fake_runner, rows, tmp_path):
    artifact = fake_runner(inputs=[spec("b", [1, 1]), spec("a", [1, 1])])
    samples = rows(a=np.array([[1.0]], np.float32), b=np.array([[2.0]], np.float32))
    evidence = collect(artifact, tmp_path, evaluation=samples, pieces=("outputs",))
    assert [float(array[0, 0]) for array in evidence.outputs.arrays()] == [3.0, 2.0]


def test_the_items_of_the_evaluation_are_kept(fake_runner, tmp_path):
    from edgekit.samples import Samples, SampleWriter

    with SampleWriter(tmp_path / "pairs", ["x"]) as writer:
        for i in range(4):
            writer.add((np.zeros((1, 3), np.float32),), i // 2)
    samples = Samples.open(tmp_path / "pairs")
    outputs = collect(fake_runner(), tmp_path, evaluation=samples, pieces=("outputs",)).outputs
    assert outputs.items == 2
    assert outputs.item_of_row().tolist() == [0, 0, 1, 1]


def test_another_interpreter_can_run_it(fake_runner, tmp_path):
    settings = RunSettings(timeout_s=30, python=Path(sys.executable), threads=2)
    evidence = collect(fake_runner(), tmp_path, settings=settings, pieces=("memory",))
    assert evidence.runtime == "fake 1.0 with 2 threads"
    assert evidence.threads == 2


def captured(artifact, inputs=(), outputs=()):
    return CapturedModel(
        name="net",
        source="net.pt2",
        source_kind="pt2",
        kind="pt2",
        path=artifact.path,
        inputs=inputs,
        outputs=outputs,
        digest="",
        parameters=1,
        macs=None,
        family="unknown",
    )


def test_the_float_models_outputs_are_written_with_its_names(fake_runner, rows, tmp_path):
    named = (TensorSpec(name="logits", shape=(1, 3), dtype="float32"),)
    samples = rows(x=np.zeros((2, 3), np.float32))
    outputs = run_reference(captured(fake_runner(), named, named), samples, tmp_path / "ref", settings=QUICK)
    assert outputs.names == ("logits",)
    np.testing.assert_array_equal(outputs.arrays()[0], np.ones((2, 3)))


@pytest.mark.parametrize(
    ("facts", "error", "expected"),
    [
        pytest.param(
            {"do": "crash"},
            WorkerError,
            "The run of model.fake was ended by signal 11 (SIGSEGV).\nIts log is empty.",
            id="crash",
        ),
        pytest.param(
            {"do": "hang"},
            ResourceError,
            "The run of model.fake was stopped after 2 s, its time limit. "
            "Raise the limit with --timeout, or give the machine more time or a smaller model.",
            id="hang",
        ),
        pytest.param(
            {"do": "raise"},
            ArtifactError,
            "model.fake was loaded by fake 1.0 with 1 threads and failed when it ran: kernel missing: Foo. "
            "Export it again; if it still fails, this runtime lacks what the artifact needs.",
            id="failure",
        ),
    ],
)
def test_a_float_model_that_does_not_run_is_an_error(fake_runner, rows, tmp_path, facts, error, expected):
    samples = rows(x=np.zeros((2, 3), np.float32))
    message = message_of(
        error,
        run_reference,
        captured(fake_runner(**facts)),
        samples,
        tmp_path / "ref",
        settings=RunSettings(timeout_s=2.0),
    )
    assert message == expected
    assert not (tmp_path / "ref" / "samples.json").exists()
