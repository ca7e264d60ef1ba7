"""One benchmark: which machine may count as a device, and how outputs are compared."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.artifact import Artifact
from edgekit.benchmarking.bench import bench, check_machine, plain_artifact
from edgekit.benchmarking.target import Order, Target, TargetFigures, measured_of
from edgekit.errors import MachineError, UsageError
from edgekit.measurements.latency_figures import figures_of
from edgekit.profiles.profile import find_profile
from edgekit.samples import Samples, write_samples
from edgekit.validators.base import Evidence
from edgekit.validators.runner_process import RunSettings
from edgekit.workers.worker import silent

SETTINGS = RunSettings(threads=2)


class FakeTarget(Target):
    """A place that measures nothing and has the outputs that it is given."""

    def __init__(self, machine: str = "aarch64", outputs: Samples | None = None, *, rising: bool = False) -> None:
        self._machine = machine
        self._outputs = outputs
        self._times = [1.0] * 20 + [2.0 if rising else 1.0] * 20

    @property
    def words(self) -> str:
        return "ssh://board"

    def measure(self, order: Order, progress: Any) -> TargetFigures:
        order.accept(self._machine)
        return TargetFigures(
            artifact=order.artifact,
            host="board",
            engine="fake 1",
            source="edgekit bench",
            latency=figures_of(self._times),
            outputs=self._outputs,
            notes=("said by the place.",),
        )


@pytest.fixture
def net(tmp_path: Path) -> Artifact:
    path = tmp_path / "net.tflite"
    path.write_bytes(bytes(20))
    return plain_artifact(path)


def test_a_machine_that_can_be_the_device_is_taken_for_it(net: Artifact, tmp_path: Path) -> None:
    profile = find_profile("pi4", tmp_path)
    made, _ = bench(net, FakeTarget(), folder=tmp_path, profile=profile, settings=SETTINGS, progress=silent)
    assert (made.device, made.place, made.threads, made.notes) == ("pi4", "ssh://board", 2, ("said by the place.",))
    assert made.artifact.sha256 == net.sha256


@pytest.mark.parametrize(("machine", "words"), [("x86_64", "x86_64"), ("", "unknown")], ids=["x86", "unknown"])
def test_a_machine_that_cannot_be_the_device_is_refused(
    net: Artifact, tmp_path: Path, machine: str, words: str
) -> None:
    profile = find_profile("pi4", tmp_path)
    message = (
        f"ssh://board is no pi4: its processor is {words}, and Raspberry Pi 4 Model B (4 GB) has Cortex-A72. Its time "
        "would be taken for the device's. Measure without --device, or on the device itself."
    )
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        bench(net, FakeTarget(machine), folder=tmp_path, profile=profile, settings=SETTINGS, progress=silent)


def test_a_profile_without_arm_features_may_be_any_machine(tmp_path: Path) -> None:
    profile = find_profile("pi4", tmp_path)
    check_machine(replace(profile, hardware=replace(profile.hardware, features=())), "x86_64", "this machine")


def test_a_device_that_slows_down_is_reported(net: Artifact, tmp_path: Path) -> None:
    made, _ = bench(net, FakeTarget(rising=True), folder=tmp_path, settings=SETTINGS, progress=silent)
    assert made.notes[-1] == (
        "The last third of the runs was 2.00 x as slow as the first: the device throttles, or something else runs on "
        "it."
    )


def test_what_was_not_timed_is_no_measurement(net: Artifact) -> None:
    evidence = Evidence(artifact=net, missing={"latency": "The evaluator says nothing about time."})
    message = "net.tflite was not timed: The evaluator says nothing about time."
    with pytest.raises(MachineError, match=f"^{re.escape(message)}$"):
        measured_of(evidence, "edgekit bench")


def test_memory_that_was_not_measured_has_its_reason(net: Artifact) -> None:
    evidence = Evidence(artifact=net, latencies_ms=(1.0,), missing={"memory": "The kernel does not tell."})
    assert measured_of(evidence, "edgekit bench").notes == ("Memory was not measured: The kernel does not tell.",)


@pytest.fixture
def outputs_there(tmp_path: Path) -> Callable[[Any], Samples]:
    return lambda rows: write_samples(tmp_path / "there", ["y"], ((row,) for row in rows))


ROWS = np.random.default_rng(1).standard_normal((3, 1, 4)).astype(np.float32)


@pytest.mark.runtime
@pytest.mark.parametrize(
    ("change", "note"),
    [
        pytest.param(lambda rows: rows, "Outputs are equal to this machine's over 3 rows.", id="equal"),
        pytest.param(
            lambda rows: rows * np.float32(1.001),
            "Outputs agree with this machine's: the worst, y, to 60.0 dB over 3 rows.",
            id="near",
        ),
        pytest.param(
            lambda rows: rows * np.float32(1.1),
            "Outputs differ from this machine's: the worst, y, to 20.0 dB over 3 rows.",
            id="far",
        ),
        pytest.param(
            lambda rows: rows * np.float32("nan"),
            "Outputs differ from this machine's: some are NaN or infinite.",
            id="not finite",
        ),
        pytest.param(
            lambda rows: rows[:2],
            "Outputs were not compared with this machine's: The artifact has outputs for 2 rows and the float model "
            "for 3.",
            id="fewer rows",
        ),
    ],
)
def test_outputs_of_the_device_are_compared_with_this_machines(
    tiny_onnx: Path, tmp_path: Path, outputs_there: Any, change: Any, note: str
) -> None:
    weights = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    samples = write_samples(tmp_path / "rows", ["x"], ((row,) for row in ROWS))
    exact, _ = exact_outputs(tiny_onnx, samples, tmp_path)
    assert np.allclose(exact, np.maximum(ROWS @ weights, 0), atol=1e-5)
    made, _ = bench(
        plain_artifact(tiny_onnx),
        FakeTarget(outputs=outputs_there(change(exact))),
        folder=tmp_path / "work",
        samples=samples,
        settings=RunSettings(),
        progress=silent,
    )
    assert made.notes == ("said by the place.", note)


def exact_outputs(path: Path, samples: Samples, folder: Path) -> tuple[Any, Samples]:
    from edgekit.validators.execution import collect_evidence

    evidence = collect_evidence(
        plain_artifact(path), folder=folder / "exact", evaluation=samples, pieces=("outputs",), settings=RunSettings()
    )
    assert evidence.outputs is not None
    return np.asarray(evidence.outputs.arrays()[0])[:, None], evidence.outputs


@pytest.mark.runtime
def test_outputs_are_not_compared_where_this_machine_cannot_run_the_artifact(
    net: Artifact, tmp_path: Path, outputs_there: Any
) -> None:
    samples = write_samples(tmp_path / "rows", ["x"], ((row,) for row in ROWS))
    place = FakeTarget(outputs=outputs_there(ROWS))
    made, _ = bench(net, place, folder=tmp_path / "work", samples=samples, settings=RunSettings(), progress=silent)
    assert made.notes[1].startswith("Outputs were not compared with this machine's: net.tflite (20 bytes) cannot be ")
