"""The command from end to end on a planted fault, and what a user's mistake gets."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from edgekit.artifact import Artifact
from edgekit.cli.app import main
from edgekit.cli.debug_text import story
from edgekit.debugging import debug as debugging
from edgekit.debugging.report import DebugReport
from edgekit.errors import DataError, ModelError, UsageError
from edgekit.model import TensorSpec
from edgekit.pipeline.settings import Settings
from edgekit.task.image_input import IMAGE_INPUT_KEY, ImageInput
from edgekit.task.task import ImagePreprocessing, model_task
from edgekit.workers.structure import structure

NUMBER, PAIR = {"type": "number"}, {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
SCHEMA = {
    "type": "object",
    "required": ["schema_version", "command", "first_departure", "final_sqnr_db", "layers", "suspects", "how", "notes"],
    "properties": {
        "schema_version": {"const": 1},
        "command": {"const": "debug"},
        "layers": {
            "type": "array",
            "minItems": 1,
            "items": {
                "required": ["node", "tensor", "sqnr_db", "own_sqnr_db", "saturated_share", "dead_channels", "grid"],
                "properties": {"sqnr_db": NUMBER, "own_sqnr_db": NUMBER, "seen": PAIR, "used": PAIR},
            },
        },
        "suspects": {
            "type": "array",
            "items": {"required": ["node", "cause", "sentence", "explained_share", "is_fault", "remedy", "command"]},
        },
    },
}


def run(*arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    return code, out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def project(small: Any, quantized_file: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder with a faulty model.onnx, the float model and calibration data; the cache lies there too."""
    folder = tmp_path_factory.mktemp("project")
    quantized_file(widen={"third": 0.2}).write(small, folder / "model.onnx")
    (folder / "float.pt2").write_bytes(small.captured.path.read_bytes())
    np.savez(folder / "data.npz", image=small.samples.arrays()[0])
    patch = pytest.MonkeyPatch()
    patch.setenv("EDGEKIT_CACHE_DIR", str(folder / "cache"))
    patch.chdir(folder)
    yield folder
    patch.undo()


@pytest.fixture(scope="module")
def found(project: Path) -> dict[str, Any]:
    code, out, _ = run(
        *("debug", "model.onnx", "--model", "float.pt2", "--calibration", "data.npz", "--device", "pixel-8"),
        *("--samples", "4", "--json"),
    )
    assert code == 0
    data: dict[str, Any] = json.loads(out)
    return data


def report_of(found: dict[str, Any]) -> DebugReport:
    derived = ("schema_version", "command", "first_departure")
    return structure({key: value for key, value in found.items() if key not in derived}, DebugReport, "report")


@pytest.mark.runtime
def test_the_json_has_the_promised_form(found: dict[str, Any]) -> None:
    jsonschema.validate(found, SCHEMA)
    assert report_of(found).to_json() == found


@pytest.mark.runtime
def test_the_first_suspect_comes_with_a_command_to_copy(found: dict[str, Any]) -> None:
    first = found["suspects"][0]
    assert (first["node"], first["cause"]) == (found["first_departure"], "range_clips")
    assert first["command"] == (
        "edgekit export float.pt2 --calibration data.npz --device pixel-8 --format onnx --precision int8"
    )
    assert first["remedy"] == (
        "The file differs from what calibration of the float model gives: export it again and compare."
    )


@pytest.mark.runtime
def test_the_text_is_short_and_names_layer_cause_and_remedy(found: dict[str, Any]) -> None:
    from rich.console import Console

    screen = Console(file=io.StringIO(), width=100)
    for part in story(report_of(found), verbose=False):
        screen.print(part, soft_wrap=isinstance(part, str))
    text = screen.file.getvalue()  # type: ignore[attr-defined]  # a StringIO
    assert len(text.splitlines()) <= 40
    assert "First layer that departs: third (conv2d+relu)" in text
    assert "suspect 1: third (conv2d+relu)" in text
    assert "saturate: the grid covers 0 to" in text
    assert "\033" not in text


@pytest.mark.runtime
def test_an_artifact_that_names_no_model_is_a_usage_error(project: Path) -> None:
    code, _, err = run("debug", "model.onnx", "-q")
    assert code == 2
    assert err.strip().endswith(
        "model.onnx: debug compares with a float model, and none was named. It was not made by edgekit, or does not "
        "say from what. Give the float model with --model (and data with --calibration), or run where its edgekit.toml "
        "lies."
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model.onnx", "--data", "train"], '--data "train" is not known: accepted are calibration, evaluation.'),
        (
            ["none.onnx"],
            "none.onnx: no such file. Give the path of an artifact: .tflite, .onnx, .pte, .mlpackage, .mlmodel.",
        ),
    ],
    ids=["data", "artifact"],
)
def test_a_mistake_is_one_message_and_exit_code_2(arguments: list[str], message: str, project: Path) -> None:
    assert run("debug", *arguments) == (2, "", f"edgekit: {message}\n")


def test_a_task_without_data_is_a_data_error(small: Any, tmp_path: Path) -> None:
    request = debugging.DebugRequest(
        artifact=tmp_path / "model.onnx",
        task=None,
        data=None,
        samples=1,
        device=None,
        model=None,
        config=None,
        calibration=None,
        cwd=tmp_path,
    )
    with pytest.raises(DataError) as raised:
        debugging._samples(model_task("float.pt2", tmp_path), small.captured, request, Settings())
    assert raised.value.message == (
        "model.onnx: debug runs both models on real data, and the task has no calibration or evaluation data. "
        "Give some with --calibration DATA: a function, an .npz file or a folder of images."
    )


def test_a_model_that_has_no_layers_to_run_is_refused(small: Any) -> None:
    from dataclasses import replace

    model = replace(small.captured, kind="tflite", source="net.tflite")
    with pytest.raises(ModelError) as raised:
        debugging._layer_by_layer(model)
    assert raised.value.message == (
        "net.tflite cannot be run layer by layer: it was captured as tflite, and debug needs a torch model, an "
        "exported program (.pt2), a Keras model or an .onnx file. Give the model that the file was made from with "
        "--model."
    )


def test_an_artifact_that_takes_pixels_is_refused_with_what_works_instead(tmp_path: Path) -> None:
    spec = TensorSpec(name="x", shape=(1, 3, 4, 4), dtype="float32", layout="NCHW")
    image = ImageInput(spec=spec, steps=ImagePreprocessing())
    artifact = Artifact(
        path=tmp_path / "net.tflite", runtime="tflite", precision="fp32", size_bytes=1, download_bytes=1, sha256="",
        metadata={IMAGE_INPUT_KEY: image.to_text()},
    )  # fmt: skip
    message = (
        "net.tflite takes pixels, and debug compares tensors that the float model has too. Export it with "
        "--no-image-input and debug that file: its weights and grids are the same."
    )
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        debugging.refuse_pixels(artifact)
