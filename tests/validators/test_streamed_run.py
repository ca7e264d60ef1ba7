"""Runs on sets that are read anew: what comes is what one run on the set on disk gives, also after a kill."""

import json

import numpy as np
import pytest

from edgekit import samples as samples_module
from edgekit.errors import ArtifactError, DataError
from edgekit.model import TensorSpec
from edgekit.samples import Samples, write_samples
from edgekit.task.data import DataRequest, materialize
from edgekit.task.sample_feed import SampleSource, part_name, reopened
from edgekit.task.task import ImagePreprocessing
from edgekit.validators.execution import collect_evidence
from edgekit.validators.runner_process import RunSettings
from edgekit.validators.streamed_run import join_parts, processes_for
from edgekit.workers.cache import Cache
from edgekit.workers.worker import silent

QUICK = RunSettings(timeout_s=30, runs=12, warmup=1)

USER_CODE = """
from pathlib import Path

import numpy as np

def as_list():
    count = int(Path(__file__).with_name("count.txt").read_text())
    with Path(__file__).with_name("reads.txt").open("a") as log:
        log.write("x")
    return [((np.full((1, 3), i, np.float32),), [i % 2]) for i in range(count)]

def as_generator():
    yield from as_list()
"""


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Returns a function that reads the user's eleven rows, in parts of two or whole."""
    monkeypatch.setattr(samples_module, "_PART_BYTES", 2 * 12)
    (tmp_path / "data.py").write_text(USER_CODE)
    (tmp_path / "count.txt").write_text("11")

    def make(name, most_bytes):
        request = DataRequest(
            reference=f"data.py:{name}",
            base=tmp_path,
            purpose="evaluation",
            inputs=(TensorSpec(name="x", shape=(1, 3), dtype="float32"),),
            metric="top1",
            preprocessing=ImagePreprocessing(),
            folder=tmp_path / f"{name}-{most_bytes}",
            most_bytes=most_bytes,
        )
        materialize(request, silent)
        return reopened(tmp_path / f"{name}-{most_bytes}", SampleSource(data=request))

    return make


def collect(artifact, folder, samples, **options):
    return collect_evidence(artifact, folder=folder, evaluation=samples, settings=QUICK, **options)


@pytest.mark.parametrize("name", ["as_list", "as_generator"])
def test_outputs_are_those_of_a_set_on_disk(fake_runner, data, tmp_path, name):
    artifact, phrases = fake_runner(), []
    whole = collect(artifact, tmp_path / "whole", data(name, None))
    streamed = collect(
        artifact, tmp_path / "streamed", data(name, 20), progress=lambda phrase, share: phrases.append((phrase, share))
    )
    assert streamed.evaluation.part_rows == 2
    assert streamed.missing == whole.missing
    for file in sorted(path.name for path in whole.outputs.folder.iterdir()):
        assert (streamed.outputs.folder / file).read_bytes() == (whole.outputs.folder / file).read_bytes(), file
    assert len(streamed.latencies_ms) == 12
    assert streamed.peak_memory_bytes is not None
    assert ("model.fake: 11 rows", 1.0) in phrases


def test_a_run_that_was_killed_goes_on_with_the_parts_that_are_missing(fake_runner, data, tmp_path):
    cache = Cache(root=tmp_path / "cache")
    samples, artifact = data("as_list", 20), fake_runner()
    expected = collect(artifact, tmp_path / "first", samples, cache=cache).outputs
    kept = next((tmp_path / "cache").glob("*/parts/*"), None) or next((tmp_path / "cache").glob("parts/*"))
    for number in (0, 2, 3, 4, 5):  # as a kill leaves it: some are there, one is not, one is damaged
        before = (kept / part_name(number) / "0.npy").stat().st_mtime_ns
        (kept / part_name(number) / "mark").write_text(str(before))
    (kept / part_name(1)).rename(kept / f"{part_name(1)}.partial")
    broken = kept / part_name(4) / "0.npy"
    broken.write_bytes(broken.read_bytes()[:-1] + b"\x7f")
    again = collect(artifact, tmp_path / "again", samples, cache=cache).outputs
    assert (again.folder / "0.npy").read_bytes() == (expected.folder / "0.npy").read_bytes()
    assert again.sha256 == expected.sha256
    made_anew = [number for number in range(6) if not (kept / part_name(number) / "mark").exists()]
    assert made_anew == [1, 4]
    reads = (tmp_path / "reads.txt").read_text()
    collect(artifact, tmp_path / "third", samples, cache=cache)
    assert (tmp_path / "reads.txt").read_text() == reads


def test_an_artifact_that_fails_on_a_part_is_a_missing_piece(fake_runner, data, tmp_path):
    evidence = collect(fake_runner(do="raise", after=5), tmp_path / "run", data("as_list", 20))
    assert evidence.outputs is None
    assert evidence.missing["outputs"].startswith("model.fake was loaded by fake 1.0")
    assert "kernel missing: Foo" in evidence.missing["outputs"]


@pytest.mark.parametrize("name", ["as_list", "as_generator"])
def test_data_that_has_changed_is_the_users_fault(fake_runner, data, tmp_path, name):
    samples = data(name, 20)
    (tmp_path / "count.txt").write_text("7")
    with pytest.raises(DataError, match=r"is not what it was when it was read the first time: it has fewer rows\."):
        collect(fake_runner(), tmp_path / "run", samples)


def test_outputs_whose_shape_changes_between_parts_are_refused(data, tmp_path):
    samples = data("as_list", 20)
    parts = [tmp_path / "a", tmp_path / "b"]
    for part, size in zip(parts, (3, 4), strict=True):
        write_samples(part, ["y"], [(np.zeros((1, size), np.float32),)])
    with pytest.raises(ArtifactError) as caught:
        join_parts(parts, samples, tmp_path / "joined", "net.tflite")
    assert caught.value.message == (
        'Output "y" of net.tflite has shape (1, 4) on some rows and (1, 3) before. Outputs must have one shape: export '
        "a model whose output shapes do not depend on the data."
    )


def test_a_large_model_runs_once_at_a_time(tmp_path, monkeypatch):
    file = tmp_path / "net.tflite"
    file.write_bytes(b"123")
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert [processes_for(file, threads) for threads in (1, 3, 16)] == [8, 2, 1]
    monkeypatch.setattr("edgekit.validators.streamed_run._LARGE_BYTES", 2)
    assert processes_for(file, 1) == processes_for(tmp_path, 1) == 1


def test_rows_of_an_item_stay_together(fake_runner, data, tmp_path):
    samples = data("as_list", 20)
    np.save(samples.folder / "items.npy", np.arange(11) // 2)
    facts = json.loads((samples.folder / "samples.json").read_text())
    (samples.folder / "samples.json").write_text(json.dumps({**facts, "items": 6}))
    opened = Samples.open(samples.folder)
    evidence = collect(
        fake_runner(), tmp_path / "run", reopened(samples.folder, SampleSource.of(samples)), pieces=("outputs",)
    )
    assert opened.items == evidence.outputs.items == 6
    np.testing.assert_array_equal(evidence.outputs.item_of_row(), np.arange(11) // 2)
