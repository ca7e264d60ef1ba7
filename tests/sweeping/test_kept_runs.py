"""An artifact is run once; a run that failed is not kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.sweeping.kept_runs import KeptRuns, run_key
from edgekit.validators.runner_process import RunnerCall, RunnerEnd, RunSettings
from edgekit.workers.cache import Cache
from edgekit.workers.worker import Progress, silent


@pytest.fixture
def call(tmp_path: Path) -> RunnerCall:
    artifact = tmp_path / "net.tflite"
    artifact.write_bytes(b"bytes")
    return RunnerCall(
        runtime="tflite", artifact=artifact, modes=("memory",), output=tmp_path / "one", settings=RunSettings()
    )


def test_a_second_run_is_found_with_its_outputs(tmp_path: Path, call: RunnerCall) -> None:
    runs: list[RunnerCall] = []

    def run(given: RunnerCall, _progress: Progress) -> RunnerEnd:
        runs.append(given)
        Path(str(given.output)).mkdir()
        (Path(str(given.output)) / "a.npy").write_bytes(b"numbers")
        return RunnerEnd(record={"host": "here"})

    kept = KeptRuns(cache=Cache(root=tmp_path / "cache"), run=run)
    first = kept(call, silent)
    second = kept(replace(call, output=tmp_path / "two"), silent)
    assert first == second == RunnerEnd(record={"host": "here"})
    assert len(runs) == 1
    assert (tmp_path / "two" / "a.npy").read_bytes() == (tmp_path / "one" / "a.npy").read_bytes() == b"numbers"


def test_a_run_that_failed_is_run_again(tmp_path: Path, call: RunnerCall) -> None:
    count: list[int] = []

    def run(_given: RunnerCall, _progress: Progress) -> RunnerEnd:
        count.append(1)
        return RunnerEnd(record={}, failure="it crashed", kind="WorkerError")

    kept = KeptRuns(cache=Cache(root=tmp_path / "cache"), run=run)
    assert kept(call, silent) == kept(call, silent) == RunnerEnd(record={}, failure="it crashed", kind="WorkerError")
    assert len(count) == 2


def test_the_key_of_a_run_is_about_the_artifact_and_how_it_is_run(tmp_path: Path, call: RunnerCall) -> None:
    key = run_key(call)
    assert run_key(replace(call, output=tmp_path / "elsewhere")) == key
    assert run_key(replace(call, modes=("memory", "outputs"))) != key
    assert run_key(replace(call, settings=RunSettings(threads=4))) != key
    (tmp_path / "net.tflite").write_bytes(b"other bytes")
    assert run_key(call) != key
