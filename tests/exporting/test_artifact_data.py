"""Inputs for finished files: the user's data, or made-up values of the sizes that the user names."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgekit.artifact import Artifact
from edgekit.errors import DataError, UsageError
from edgekit.exporting.artifact_data import ArtifactData
from edgekit.model import TensorSpec
from edgekit.task.input_sizes import read_input_sizes
from edgekit.workers.worker import silent


class InThisProcess:
    """Stands for `Settings`: runs the worker's job here."""

    def run(self, title: str, job: Any, request: Any, progress: Any) -> Any:
        assert title == "reading of the data"
        return SimpleNamespace(value=job.work(request, progress))

    def stage(self, name: str) -> Any:
        del name
        return silent


ARTIFACT = Artifact(
    path=Path("net.onnx"),
    runtime="onnx",
    precision="unknown",
    size_bytes=1,
    download_bytes=1,
    sha256="",
    inputs=(
        TensorSpec(name="sound", shape=(-1, -1), dtype="float32"),
        TensorSpec(name="ids", shape=(1, 2), dtype="int64"),
    ),
)


def samples(folder: Path, **given: Any) -> tuple[Any, str]:
    settings: Any = InThisProcess()
    return ArtifactData(base=folder, **given).samples_for(ARTIFACT, folder / "samples", settings)


def test_sizes_of_a_flag_make_values_up(tmp_path):
    found, origin = samples(tmp_path, input_sizes=read_input_sizes(["sound=1x5"]))
    sound, ids = found.arrays()
    assert (sound.shape, sound.dtype.name, ids.tolist()) == ((1, 5), "float32", [[1, 1]])
    assert sound.std() > 0
    assert origin == "sound 1x5, ids 1x2, from --input; the values are made up"


def test_sizes_of_another_input_are_refused(tmp_path):
    message = '--input noise=1x5: net.onnx has no input "noise"; its inputs are sound, ids.'
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        samples(tmp_path, input_sizes=read_input_sizes(["noise=1x5"]))


def test_evaluation_data_comes_first(tmp_path):
    np.savez(tmp_path / "rows.npz", sound=np.ones((3, 7), np.float32), ids=np.ones((3, 2), np.int64), target=[0, 1, 0])
    found, origin = samples(tmp_path, evaluation="rows.npz", input_sizes=read_input_sizes(["sound=1x7"]))
    assert (found.count, origin) == (3, "sound 1x7, ids 1x2, from --evaluation rows.npz")


def test_calibration_data_serves_where_there_is_no_other(tmp_path):
    np.savez(tmp_path / "rows.npz", sound=np.ones((3, 7), np.float32), ids=np.ones((3, 2), np.int64))
    assert samples(tmp_path, calibration="rows.npz")[1] == "sound 1x7, ids 1x2, from --calibration rows.npz"


def test_example_inputs_are_one_sample(tmp_path):
    (tmp_path / "data.py").write_text(
        "import numpy as np\ndef give():\n    return np.ones((1, 9), np.float32), np.ones((1, 2), np.int64)\n"
    )
    found, origin = samples(tmp_path, example_inputs="data.py:give")
    assert (found.count, origin) == (1, "sound 1x9, ids 1x2, from --example-inputs data.py:give")


def test_data_of_other_fixed_sizes_is_refused_with_free_ones_shown(tmp_path):
    np.savez(tmp_path / "rows.npz", sound=np.ones((3, 7), np.float32), ids=np.ones((3, 3), np.int64))
    message = (
        'The sample data rows.npz, item 0 has shape (1, 3) for the input "ids"; expected (N, 2), with any batch size N.'
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        samples(tmp_path, calibration="rows.npz")


def test_what_is_free_in_front_is_a_length_where_another_input_has_no_batch_of_that_size(tmp_path):
    np.savez(tmp_path / "rows.npz", sound=np.ones((3, 7, 1), np.float32), ids=np.ones((3, 2), np.int64))
    found, _ = samples(tmp_path, calibration="rows.npz")
    assert found.shapes() == ((7, 1), (1, 2))


def test_nothing_given_is_nothing_made(tmp_path):
    assert samples(tmp_path) == (None, "")
