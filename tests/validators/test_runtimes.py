"""The runner with real runtimes over one tiny model in every format: two inputs, token ids among them, two outputs."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit.artifact import Artifact, runtime_of
from edgekit.errors import ArtifactError, EdgekitError
from edgekit.model import CapturedModel
from edgekit.samples import write_samples
from edgekit.validators.artifact_operators import count_by_arithmetic
from edgekit.validators.execution import collect_evidence, describe_artifact, run_reference
from edgekit.validators.host_timing import host_timing
from edgekit.validators.parity import sqnr_by_output
from edgekit.validators.runner_process import RUNNER, RunSettings

pytestmark = pytest.mark.runtime

SETTINGS = RunSettings(timeout_s=120, runs=20, warmup=2)


def artifact_at(path):
    return Artifact(path=path, runtime=runtime_of(path), precision="fp32", size_bytes=1, download_bytes=1, sha256="")


@pytest.fixture(scope="module")
def reference(tiny, tiny_rows, tmp_path_factory):
    return run_reference(captured(tiny / "tiny.pt2"), tiny_rows, tmp_path_factory.mktemp("reference"))


def captured(path):
    return CapturedModel(
        name="tiny",
        source=path.name,
        source_kind="pt2",
        kind="pt2",
        path=path,
        inputs=(),
        outputs=(),
        digest="",
        parameters=1,
        macs=None,
        family="cnn",
    )


@pytest.mark.parametrize(
    ("name", "runtime", "least_db", "dtypes"),
    [
        pytest.param("tiny.tflite", "ai-edge-litert ", 100, ["float32", "int32"], id="tflite"),
        pytest.param("tiny.onnx", "onnxruntime ", 100, ["float32", "int64"], id="onnx"),
        pytest.param("tiny.pte", "executorch ", 100, ["float32", "int64"], id="executorch"),
        pytest.param("tiny.mlpackage", "Core ML evaluator, not Apple's runtime", 55, ["float32", "int32"], id="coreml"),
    ],
)
def test_an_artifact_computes_what_the_float_model_does(
    tiny, tiny_rows, reference, tmp_path, name, runtime, least_db, dtypes
):
    evidence = collect_evidence(
        artifact_at(tiny / name),
        folder=tmp_path,
        evaluation=tiny_rows,
        reference=reference,
        pieces=("memory", "outputs"),
        settings=SETTINGS,
    )
    assert evidence.runtime.startswith(runtime)
    assert min(sqnr_by_output(reference, evidence.outputs).values()) > least_db
    assert [spec.dtype for spec in evidence.artifact.inputs] == dtypes
    assert [spec.shape for spec in evidence.artifact.outputs] == [(1, 5), (1, 8)]
    if name != "tiny.mlpackage":
        assert evidence.peak_memory_bytes > evidence.empty_memory_bytes > 10_000_000


def test_the_evaluator_measures_neither_time_nor_memory(tiny, tmp_path):
    evidence = collect_evidence(artifact_at(tiny / "tiny.mlpackage"), folder=tmp_path, settings=SETTINGS)
    if sys.platform == "darwin":
        pytest.skip("Apple's own runtime runs here")
    reason = (
        "Core ML evaluator, not Apple's runtime: it proves the file, and its time and memory say nothing about a "
        "device. Measure on macOS or iOS."
    )
    assert (evidence.missing["memory"], evidence.missing["latency"]) == (reason, reason)


@pytest.mark.parametrize("name", ["tiny.onnx", "tiny.tflite"])
def test_a_float_model_that_is_an_artifact_itself_is_its_own_reference(tiny, tiny_rows, reference, tmp_path, name):
    outputs = run_reference(captured(tiny / name), tiny_rows, tmp_path, settings=SETTINGS)
    assert min(sqnr_by_output(reference, outputs).values()) > 100


def test_integer_inputs_and_outputs_are_quantized_and_turned_back(tiny, tiny_rows, tmp_path):
    path = tiny / "tiny_int8.tflite"
    described = describe_artifact(path, settings=SETTINGS)
    image, tokens = described.inputs
    assert (image.dtype, tokens.dtype, described.outputs[0].dtype) == ("int8", "int32", "int8")
    assert image.scale is not None
    images, ids = tiny_rows.arrays()
    stored = np.clip(np.rint(images / image.scale) + image.zero_point, -128, 127).astype(np.int8)
    by_hand = write_samples(
        tmp_path / "stored", tiny_rows.names, ((stored[i : i + 1], ids[i : i + 1]) for i in range(len(ids)))
    )
    made = [
        collect_evidence(
            artifact_at(path), folder=tmp_path / str(k), evaluation=samples, pieces=("outputs",), settings=SETTINGS
        )
        for k, samples in enumerate((tiny_rows, by_hand))
    ]
    for k, out in enumerate(described.outputs):
        first, second = made[0].outputs.arrays()[k], made[1].outputs.arrays()[k]
        np.testing.assert_array_equal(first, second)
        assert first.dtype == np.float32
        np.testing.assert_allclose(first / out.scale, np.rint(first / out.scale), atol=1e-3)
    assert count_by_arithmetic(made[0].operators)["integer"]["CONV_2D"] == 1


def test_artifact_and_float_artifact_are_timed_in_turn(tiny, tiny_rows, tmp_path):
    evidence = collect_evidence(
        artifact_at(tiny / "tiny_int8.tflite"),
        folder=tmp_path,
        evaluation=tiny_rows,
        baseline=tiny / "tiny.tflite",
        pieces=("latency",),
        settings=SETTINGS,
    )
    timing = host_timing(evidence)
    assert timing.runs == 20
    assert 0.05 < timing.ratio_low <= timing.ratio <= timing.ratio_high < 20


def test_a_description_holds_the_metadata_that_the_file_carries(tiny):
    assert describe_artifact(tiny / "tiny.pte", settings=SETTINGS).metadata == {"labels": "a,b,c,d,e"}
    assert describe_artifact(tiny / "tiny.mlpackage", settings=SETTINGS).metadata["labels"] == "a,b,c,d,e"
    described = describe_artifact(tiny / "tiny.tflite", precision="fp32", settings=SETTINGS)
    assert described.metadata["min_runtime_version"] == "2.0.0"
    assert described.size_bytes == (tiny / "tiny.tflite").stat().st_size
    assert described.precision == "fp32"


@pytest.mark.parametrize(
    ("name", "runtime", "said"),
    [
        pytest.param("tiny.tflite", "ai-edge-litert", "The model is not a valid Flatbuffer buffer.", id="tflite"),
        pytest.param("tiny.onnx", "onnxruntime", "Protobuf parsing failed.", id="onnx"),
        pytest.param("tiny.pte", "executorch", "Failed to load program, error: 0x:23.", id="executorch"),
    ],
)
def test_an_artifact_that_was_cut_off_is_named_with_what_to_do(tiny, tmp_path, name, runtime, said):
    path = tmp_path / name
    path.write_bytes((tiny / name).read_bytes()[:3000])
    with pytest.raises(ArtifactError) as caught:
        describe_artifact(path, settings=SETTINGS)
    assert caught.value.message.startswith(f"{name} (3000 bytes) cannot be loaded by {runtime} ")
    assert caught.value.message.endswith(
        f"{said} The file is cut off, damaged, or made for another runtime or version: copy or export it again."
    )


def test_a_package_without_its_weights_is_refused(tiny, tmp_path):
    path = tmp_path / "tiny.mlpackage"
    shutil.copytree(tiny / "tiny.mlpackage", path)
    (path / "Manifest.json").write_text("{")
    with pytest.raises(EdgekitError) as caught:
        describe_artifact(path, settings=SETTINGS)
    assert "tiny.mlpackage" in caught.value.message


def run_by_hand(python, tiny, rows, tmp_path, package, name):
    """Runs the runner as a person does on a device: by path, with nothing of edgekit."""
    record = tmp_path / f"{package}.json"
    ran = subprocess.run(
        [
            str(python),
            str(RUNNER),
            "--runtime=tflite",
            f"--runtime-package={package}",
            f"--artifact={tiny / name}",
            "--modes=memory,outputs,latency",
            f"--samples={rows.folder}",
            f"--output={tmp_path / package}",
            f"--baseline={tiny / 'tiny.tflite'}",
            f"--record={record}",
            "--runs=10",
            "--operators",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    return json.loads(record.read_text()), np.load(tmp_path / package / "0.npy")


@pytest.fixture(scope="session")
def tflite_runtime_python(tmp_path_factory):
    """An interpreter that has tflite-runtime: the one that is named, or a virtual environment made for it."""
    named = os.environ.get("EDGEKIT_TFLITE_RUNTIME_PYTHON")
    if named:
        return Path(named)
    python = shutil.which("python3.11")
    if python is None:
        pytest.skip("tflite-runtime has no wheel for Python above 3.11, and python3.11 is not installed")
    folder = tmp_path_factory.mktemp("tflite_runtime")
    for command in (
        [python, "-m", "venv", str(folder)],
        [str(folder / "bin" / "pip"), "install", "--quiet", "tflite-runtime==2.14.0", "numpy<2"],
    ):
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode:
            pytest.skip(
                f"tflite-runtime cannot be installed: {(made.stderr.strip().splitlines() or ['no reason'])[-1]}"
            )
    return folder / "bin" / "python"


@pytest.mark.parametrize("name", ["tiny.tflite", "tiny_int8.tflite"])
def test_tflite_runtime_is_accepted_in_its_own_environment(tflite_runtime_python, tiny, tiny_rows, tmp_path, name):
    record, old = run_by_hand(tflite_runtime_python, tiny, tiny_rows, tmp_path, "tflite_runtime", name)
    assert record["runtime"] == {"name": "tflite-runtime", "version": "2.14.0", "untimed": "", "settings": ""}
    assert record["numpy"].startswith("1.")
    _, new = run_by_hand(sys.executable, tiny, tiny_rows, tmp_path, "ai_edge_litert", name)
    step = record["outputs"][0]["scale"] or 1e-5
    # Kernels of 2023 against today's: a few steps of the integer output.
    assert np.abs(old - new).max() <= 5 * step


def test_tensorflows_interpreter_is_accepted(tiny, tiny_rows, tmp_path):
    record, theirs = run_by_hand(sys.executable, tiny, tiny_rows, tmp_path, "tensorflow", "tiny.tflite")
    assert record["runtime"]["name"] in ("tensorflow", "tensorflow-cpu")
    _, ours = run_by_hand(sys.executable, tiny, tiny_rows, tmp_path, "ai_edge_litert", "tiny.tflite")
    np.testing.assert_allclose(theirs, ours, atol=1e-5)


@pytest.mark.skipif(np.__version__.startswith("1."), reason="this environment has NumPy 1")
def test_tflite_runtime_is_refused_with_numpy_2(tiny, tmp_path):
    settings = RunSettings(timeout_s=60, runtime_package="tflite_runtime")
    with pytest.raises(EdgekitError) as caught:
        collect_evidence(artifact_at(tiny / "tiny.tflite"), folder=tmp_path, settings=settings)
    assert caught.value.message == (
        "Running tiny.tflite needs one of ai-edge-litert, tflite-runtime (with numpy<2) and tensorflow, which cannot "
        f"be imported: tflite_runtime was built for NumPy 1 and this environment has NumPy {np.__version__}: "
        "give it an environment of its own with \"numpy<2\". Install it from the checkout: pip install -e '.[tflite]'"
    )


def test_a_package_without_an_interpreter_is_refused(tiny, tmp_path):
    settings = RunSettings(timeout_s=60, runtime_package="torch")
    with pytest.raises(EdgekitError) as caught:
        collect_evidence(artifact_at(tiny / "tiny.tflite"), folder=tmp_path, settings=settings)
    assert caught.value.message == (
        "Running tiny.tflite needs one of ai-edge-litert, tflite-runtime (with numpy<2) and tensorflow, which cannot "
        'be imported: "torch" has no TFLite interpreter; expected one of ai_edge_litert, tflite_runtime, tensorflow. '
        "Install it from the checkout: pip install -e '.[tflite]'"
    )


@pytest.mark.parametrize("name", ["tiny.keras", "saved"])
def test_a_keras_model_is_its_own_reference(tiny_keras, tmp_path, name):
    expected = np.load(tiny_keras / "expected.npz")
    samples = write_samples(
        tmp_path / "rows", ["image", "tokens"], zip(expected["images"], expected["ids"], strict=True)
    )
    outputs = run_reference(captured(tiny_keras / name), samples, tmp_path / "outputs", settings=SETTINGS)
    for array, output in zip(outputs.arrays(), ("logits", "pooled"), strict=True):
        np.testing.assert_allclose(array, expected[output][:, 0], atol=1e-6)
