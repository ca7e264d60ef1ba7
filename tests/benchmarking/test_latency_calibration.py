"""Calibration of a profile's latency model on measurements."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgekit.analysis.graph import Analysis, Memory, Operator, Tensor, Weight
from edgekit.artifact import measure_files
from edgekit.benchmarking.latency_calibration import calibrate, find_models, observe, read_measurements
from edgekit.cli.app import main
from edgekit.errors import DataError, EdgekitError, UsageError
from edgekit.measurements.latency_figures import figures_of
from edgekit.measurements.measurement import MeasuredArtifact, Measurement, write_measurement
from edgekit.pipeline.settings import Settings
from edgekit.profiles.profile import DeviceProfile, find_profile, read_profile, shipped_folder

HERE = Path(__file__).parent


def linear(weight: str = "float32", activation: str = "float32", kernel: Any = "linear") -> Analysis:
    """A model of one operator with a million multiply-accumulates."""
    return Analysis(
        operators=(
            Operator(
                name="fc",
                type="FULLY_CONNECTED",
                kernel=kernel,
                module="fc",
                inputs=("x",),
                outputs=("y",),
                weights=("w",),
                macs=1_000_000,
            ),
        ),
        tensors={
            "x": Tensor(name="x", shape=(1, 1000), dtype=activation),
            "y": Tensor(name="y", shape=(1, 1000), dtype=activation),
        },
        weights={"w": Weight(name="w", shape=(1000, 1000), dtype=weight, role="kernel", channels=1000)},
        inputs=("x",),
        outputs=("y",),
        memory=Memory(live_peak_bytes=0, arena_bytes=0, peak_operator="fc", peak_tensors=()),
        family="mlp",
        family_evidence="",
    )


def measured(**changes: Any) -> Measurement:
    facts: dict[str, Any] = {
        "created": "2026-01-02T03:04:05+00:00",
        "device": "pi4",
        "host": "Raspberry Pi 4",
        "place": "ssh://board",
        "artifact": MeasuredArtifact(
            file="net.tflite", sha256="ab" * 32, size_bytes=9, runtime="tflite", precision="fp32"
        ),
        "threads": 4,
        "latency": figures_of([3.0] * 10),
    }
    return Measurement(**(facts | changes))


@pytest.fixture
def pi4(tmp_path: Path) -> DeviceProfile:
    return find_profile("pi4", tmp_path)


def test_a_measurement_is_held_against_the_rates_of_its_precision(pi4: DeviceProfile) -> None:
    found = observe(measured(), linear(), pi4)
    assert not isinstance(found, str)
    group, observation = found
    assert group == ("tflite", "fp32")
    rates = pi4.latency_model["tflite"]["fp32"]["ns"]
    assert observation.parts_ms == pytest.approx({
        "linear_macs": rates["linear_macs"],
        "first_macs": rates["first_macs"],
        "layer_elements": rates["layer_elements"] * 2000 / 1e6,
        "linear_weights": rates["linear_weights"],
        "positions": rates["positions"] / 1e6,
        "operators": rates["operators"] / 1e6,
    })  # fmt: skip
    assert (observation.measured_ms, observation.fixed_ms) == (3.0, 0.0)


@pytest.mark.parametrize(
    ("weight", "activation", "precision"),
    [("float32", "float32", "fp32"), ("int8", "int8", "int8_static")],
    ids=["float", "integer"],
)
def test_the_precision_of_a_file_made_elsewhere_is_seen_in_its_tensors(
    pi4: DeviceProfile, weight: str, activation: str, precision: str
) -> None:
    unknown = replace(measured().artifact, precision="unknown")
    found = observe(measured(artifact=unknown), linear(weight, activation), pi4)
    assert not isinstance(found, str)
    assert found[0] == ("tflite", precision)


def test_work_that_runs_at_other_rates_is_kept_apart(pi4: DeviceProfile) -> None:
    both = linear(kernel="recurrent")
    dense = linear().operators[0]
    analysis = replace(both, operators=(*both.operators, replace(dense, name="fc2")))
    integer = replace(measured().artifact, precision="int8-static")
    found = observe(measured(artifact=integer), analysis, pi4)
    assert not isinstance(found, str)
    # Recurrent layers stay float in every precision.
    assert found[1].fixed_ms > 0
    assert "recurrent_macs" not in found[1].parts_ms


@pytest.mark.parametrize(
    ("changes", "analysis", "reason"),
    [
        pytest.param(
            {"artifact": replace(measured().artifact, runtime="coreml")},
            linear(),
            "pi4 has no latency model for coreml, only for tflite, onnx, executorch.",
            id="runtime",
        ),
        pytest.param(
            {"artifact": replace(measured().artifact, precision="int8-dynamic")},
            linear(),
            "pi4's latency model for tflite has rates of fp32, int8_static and not of int8_dynamic.",
            id="precision",
        ),
        pytest.param(
            {"artifact": replace(measured().artifact, precision="unknown")},
            linear("float16"),
            "pi4's latency model for tflite has rates of fp32, int8_static and not of fp16.",
            id="half floats",
        ),
        pytest.param(
            {"artifact": replace(measured().artifact, precision="unknown")},
            linear("int8"),
            "pi4's latency model for tflite has rates of fp32, int8_static and not of int8_dynamic.",
            id="integer weights",
        ),
        pytest.param(
            {"threads": 1},
            linear(),
            "It was measured with 1 thread; the latency model is of 4. Measure with --threads 4.",
            id="threads",
        ),
        pytest.param(
            {"units": ("CPU", "NPU")},
            linear(),
            "It was computed on CPU and NPU; the latency model is of the CPU alone.",
            id="unit",
        ),
        pytest.param(
            {},
            replace(linear(), operators=()),
            "The model has no work that these rates speak of.",
            id="no work",
        ),
    ],
)
def test_what_cannot_be_used_has_its_reason(
    pi4: DeviceProfile, changes: dict[str, Any], analysis: Analysis, reason: str
) -> None:
    assert observe(measured(**changes), analysis, pi4) == reason


def test_an_operator_that_no_rates_speak_of_is_named(pi4: DeviceProfile) -> None:
    only = replace(pi4, latency_model={"tflite": {"int8_static": pi4.latency_model["tflite"]["int8_static"]}})
    integer = replace(measured().artifact, precision="int8-static")
    assert observe(measured(artifact=integer), linear(kernel="recurrent"), only) == (
        "pi4's latency model for tflite does not know the speed of FULLY_CONNECTED."
    )


def test_without_a_latency_model_nothing_can_be_refitted(pi4: DeviceProfile, tmp_path: Path) -> None:
    message = (
        "pi4 has no latency model that could be refitted. Copy the [latency_model] tables of a device with the same "
        "processor into a profile of your own, and calibrate that one."
    )
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        calibrate(replace(pi4, latency_model={}), [measured()], [], Settings(), tmp_path)


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Writes an artifact and a measurement of it."""

    def write(name: str = "net", suffix: str = ".tflite", **changes: Any) -> Path:
        artifact = tmp_path / f"{name}{suffix}"
        artifact.write_bytes(name.encode())
        facts = MeasuredArtifact(
            file=artifact.name, sha256=measure_files(artifact)[2], size_bytes=3, runtime="tflite", precision="fp32"
        )
        path = tmp_path / f"{name}.json"
        write_measurement(measured(artifact=facts, **changes), path)
        return path

    return write


def fail(error: type[EdgekitError], message: str, call: Callable[[], object]) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()


def test_a_measurement_leads_to_its_own_artifact(save: Any, pi4: DeviceProfile, tmp_path: Path) -> None:
    path = save()
    measurements, left = read_measurements([path], [], pi4, tmp_path)
    assert left == ()
    assert find_models(measurements, [], tmp_path / "elsewhere") == [str(tmp_path / "net.tflite")]


def test_an_artifact_that_changed_is_named_anew(save: Any, pi4: DeviceProfile, tmp_path: Path) -> None:
    paths = [save("a"), save("b")]
    measurements, _ = read_measurements(paths, [], pi4, tmp_path)
    (tmp_path / "a.tflite").rename(tmp_path / "moved.tflite")
    assert find_models(measurements, ["moved.tflite"], tmp_path) == ["moved.tflite", str(tmp_path / "b.tflite")]
    (tmp_path / "b.tflite").write_bytes(b"other")
    assert find_models(measurements, ["moved.tflite", "model.py:build"], tmp_path) == [
        "moved.tflite",
        "model.py:build",
    ]
    fail(
        DataError,
        "b.json was measured on b.tflite, which is not there any more, has changed, or holds no graph that can be "
        "read. Name the artifact (.tflite, .onnx, .mlpackage) or the model that it was made from with --model.",
        lambda: find_models(measurements, ["moved.tflite"], tmp_path),
    )


def test_a_program_of_executorch_needs_its_model(save: Any, pi4: DeviceProfile, tmp_path: Path) -> None:
    measurements, _ = read_measurements([save("net", ".pte")], [], pi4, tmp_path)
    assert find_models(measurements, ["net.pt2"], tmp_path) == ["net.pt2"]


def test_a_model_too_many_is_reported(save: Any, pi4: DeviceProfile, tmp_path: Path) -> None:
    measurements, _ = read_measurements([save()], [], pi4, tmp_path)
    fail(
        UsageError,
        "--model other.onnx belongs to no measurement: each found its own artifact. Leave it out.",
        lambda: find_models(measurements, ["other.onnx"], tmp_path),
    )


@pytest.mark.parametrize(
    ("device", "words"), [("pi5", "pi5"), (None, "no device (Raspberry Pi 4)")], ids=["another", "none"]
)
def test_measurements_of_another_device_are_refused(
    save: Any, pi4: DeviceProfile, tmp_path: Path, device: str | None, words: str
) -> None:
    path = save(device=device)
    fail(
        DataError,
        f"net.json was measured on {words}; what is calibrated is pi4. Measure net.tflite there, by --on or --from of "
        "edgekit bench (edgekit bench --help says which), with --device pi4.",
        lambda: read_measurements([path], [], pi4, tmp_path),
    )


def test_other_tools_files_are_bound_to_artifacts_in_order(pi4: DeviceProfile, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.tflite").write_bytes(name.encode())
        (tmp_path / f"{name}.json").write_text(json.dumps({"execution_summary": {"estimated_inference_time": 7}}))
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    found, left = read_measurements(paths, ["a.tflite", "b.tflite", "model.py:build"], pi4, tmp_path)
    assert [(m.name, Path(m.artifact.file).name, m.device) for m in found] == [
        ("a.json", "a.tflite", "pi4"),
        ("b.json", "b.tflite", "pi4"),
    ]
    assert left == ("model.py:build",)
    found, left = read_measurements(paths, ["a.tflite"], pi4, tmp_path)
    assert [Path(m.artifact.file).name for m in found] == ["a.tflite", "a.tflite"]
    for models, given in (([], "none"), (["model.py:build"], "model.py:build")):
        fail(
            UsageError,
            "a.json does not say which model it is about. Name the artifact that was measured (.tflite, .onnx) with "
            f"--model, in the order of --from; {given} was given.",
            lambda models=models: read_measurements(paths, models, pi4, tmp_path),
        )


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with three measured models whose rates are all 1.4 times those of the profile."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "cache"))
    for size in (4, 400, 900):
        script = HERE / "build_onnx.py"
        built = subprocess.run([sys.executable, script, f"{size}.onnx", str(size)], capture_output=True, check=False)
        assert built.returncode == 0, built.stderr[-2000:]
    return tmp_path


@pytest.mark.runtime
def test_a_profile_of_ones_own_is_written_and_its_errors_are_reported(
    board: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = find_profile("pi4", board)
    shipped = profile.path.read_bytes()
    arguments: list[str] = []
    for size in (4, 400, 900):
        name = f"{size}.onnx"
        facts = MeasuredArtifact(
            file=name, sha256=measure_files(board / name)[2], size_bytes=9, runtime="onnx", precision="fp32"
        )
        predicted = predicted_ms(board / name, profile)
        threads = profile.latency_model["onnx"]["fp32"].get("threads")
        path = board / f"m{size}.json"
        write_measurement(measured(artifact=facts, threads=threads, latency=figures_of([1.4 * predicted] * 9)), path)
        arguments += ["--from", path.name]
    assert main(["devices", "calibrate", "pi4", *arguments, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert list(data)[:3] == ["schema_version", "command", "device"]
    assert (data["device"], data["path"], data["unused"]) == ("pi4", "device_profiles/pi4.toml", {})
    (made,) = data["calibrated"]
    assert (made["runtime"], made["precision"], len(made["measurements"])) == ("onnx", "fp32", 3)
    assert made["error_before"] == pytest.approx(1 - 1 / 1.4, abs=1e-6)
    assert made["error_after"] < made["error_left_out"] < made["error_before"]
    assert profile.path.read_bytes() == shipped
    own = find_profile("pi4", board)
    assert (own.shipped, own.replaces_shipped, own.budget) == (False, True, profile.budget)
    table = own.latency_model["onnx"]["fp32"]
    assert table["sources"][-1] == "calibrated on own measurements: m4.json, m400.json, m900.json"
    assert table["spread"] == pytest.approx(made["spread"], rel=1e-5)
    assert set(table["untested"]) <= set(profile.latency_model["onnx"]["fp32"]["untested"]) - {"weights"}
    assert own.latency_model["tflite"] == profile.latency_model["tflite"]
    ratio = predicted_ms(board / "900.onnx", own) / predicted_ms(board / "900.onnx", profile)
    assert 1.2 < ratio < 1.45
    assert read_profile(board / "device_profiles" / "pi4.toml").name == "pi4"

    assert main(["devices", "calibrate", "pi4", *arguments[:2]]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "Raspberry Pi 4 Model B (4 GB) (pi4): predicted beside measured"
    assert lines[2] == "measurement latency model measured before after"
    assert lines[3].startswith("m4.json onnx fp32 ")
    assert lines[5].endswith("after; with fewer than 3 measurements nobody knows how well it predicts other models")
    assert lines[6] == "device_profiles/pi4.toml holds the new rates and wins over edgekit's own from here."


def predicted_ms(path: Path, profile: DeviceProfile) -> float:
    from edgekit.analysis.analyze import ANALYZE, AnalysisRequest
    from edgekit.predict.latency import predict_latency
    from edgekit.recipe import Recipe
    from edgekit.workers.worker import JobOptions, run_job

    analysis = run_job(ANALYZE, AnalysisRequest(kind="onnx", path=path), JobOptions(title="analysis")).value
    value = predict_latency(analysis, Recipe(), "onnx", profile.latency_model, profile.name)[0].value
    assert value is not None
    return value


@pytest.mark.runtime
def test_nothing_that_can_be_used_is_an_error_with_every_reason(
    board: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = MeasuredArtifact(
        file="4.onnx", sha256=measure_files(board / "4.onnx")[2], size_bytes=9, runtime="onnx", precision="w8a16"
    )
    write_measurement(measured(artifact=facts), board / "m.json")
    assert main(["devices", "calibrate", "pi4", "--from", "m.json"]) == 2
    names = ", ".join(find_profile("pi4", board).latency_model["onnx"])
    assert capsys.readouterr().err.endswith(
        "edgekit: No measurement can be used to calibrate pi4:\n"
        f"  m.json: pi4's latency model for onnx has rates of {names} and not of w8a16.\n"
    )
    assert not (board / "device_profiles").exists()


def test_edgekits_own_profiles_are_never_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(shipped_folder().resolve().parent)
    assert main(["devices", "calibrate", "pi4", "--from", "x"]) == 2
    assert capsys.readouterr().err == (
        "edgekit: ./device_profiles is the folder of edgekit's own profiles, and calibrate writes a profile of yours. "
        "Run it in a folder of your own project.\n"
    )
