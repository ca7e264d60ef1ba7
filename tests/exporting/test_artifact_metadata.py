"""What goes into every artifact, and how a person is told what lies in one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edgekit
from edgekit.artifact import Artifact
from edgekit.cli import tables
from edgekit.exporting.inputs import Inputs, artifact_metadata
from edgekit.model import CapturedModel, TensorSpec
from edgekit.pipeline.artifact_metadata import read_embedded
from edgekit.recipe import Recipe, Step
from edgekit.samples import write_samples
from edgekit.task.task import ImagePreprocessing, Task

IMAGE = TensorSpec(name="image", shape=(1, 3, 8, 8), dtype="float32", layout="NCHW")
STEPS = ImagePreprocessing(resize=9, mean=(127.0,), std=(128.0,))


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    model = CapturedModel(
        name="net",
        source="net.onnx",
        source_kind="onnx",
        kind="onnx",
        path=tmp_path / "net.onnx",
        inputs=(IMAGE,),
        outputs=(TensorSpec(name="y", shape=(1, 2), dtype="float32"),),
        digest="ab" * 32,
        parameters=1,
        macs=None,
        family="cnn",
        metadata={"labels": "cat\ndog", "author": "somebody"},
    )
    samples = write_samples(tmp_path / "samples", ["image"], [(np.ones((1, 3, 8, 8), np.float32),)])
    return Inputs(
        task=Task(model="net.onnx", base=tmp_path, preprocessing=STEPS, preprocessing_stated=True),
        model=model,
        torch_model=model,
        calibration=samples,
        evaluation=None,
        reference=None,
    )


def test_an_artifact_carries_labels_preprocessing_and_where_it_comes_from(inputs: Inputs) -> None:
    step = Step(technique="equalize", settings={})
    metadata = artifact_metadata(inputs, (step,), Recipe(default="int8_static"))
    assert inputs.calibration is not None
    embedded = read_embedded(metadata)
    assert embedded.labels == ("cat", "dog")  # the model file's own: the task names none
    assert embedded.preprocessing == STEPS
    assert embedded.provenance == {
        "version": edgekit.__version__,
        "source": "net.onnx",
        "model": "net",
        "digest": "ab" * 32,
        "techniques": "equalize",
        "calibration": inputs.calibration.sha256,
    }
    assert "author" not in metadata
    assert str(inputs.task.base) not in json.dumps(metadata)


def test_a_recipe_without_calibration_names_no_data(inputs: Inputs) -> None:
    assert "edgekit.calibration" not in artifact_metadata(inputs, recipe=Recipe(default="fp32"))


def test_the_tasks_labels_win_over_the_files(inputs: Inputs) -> None:
    task = replace(inputs.task, metadata={"labels": "one\ntwo", "name": "net"})
    metadata = artifact_metadata(replace(inputs, task=task))
    assert metadata["labels"] == "one\ntwo"
    assert "name" not in metadata


def test_a_person_is_shown_what_lies_in_the_file(inputs: Inputs) -> None:
    artifact = Artifact(
        path=Path("net.onnx"),
        runtime="onnx",
        precision="int8-static",
        size_bytes=1,
        download_bytes=1,
        sha256="",
        inputs=(replace(IMAGE, dtype="int8", scale=0.0123, zero_point=-3),),
        outputs=(TensorSpec(name="y", shape=(1, 2), dtype="int8", scale=0.5, zero_point=4),),
        metadata=artifact_metadata(inputs),
    )
    assert tables.embedded_lines(artifact) == [
        f"Made by edgekit {edgekit.__version__} from net.onnx (digest abababababab).",
        "input image: int8 (1, 3, 8, 8) NCHW, real = 0.0123 x (stored + 3)",
        "output y: int8 (1, 2), real = 0.5 x (stored - 4)",
        (
            "preprocessing: short side resized to 9 pixels, 8 x 8 cut from the centre, RGB, (pixel - 127) / 128 "
            "with pixels from 0 to 255"
        ),
        "labels: 2: cat, dog",
    ]
    assert tables.embedded_lines(replace(artifact, inputs=(), outputs=(), metadata={})) == [
        "The file does not say where it comes from.",
        "preprocessing: the file does not say",
        "labels: none in the file",
    ]
