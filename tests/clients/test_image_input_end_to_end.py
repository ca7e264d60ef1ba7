"""Artifacts that take pixels: the same picture in, the same label out, in every format and in MediaPipe Tasks."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import edgekit
from edgekit.formats.table import all_formats
from edgekit.samples import write_samples
from edgekit.validators.execution import collect_evidence, describe_artifact

pytestmark = [pytest.mark.runtime, pytest.mark.filterwarnings("ignore")]

CLIENT = Path(__file__).parents[2] / "benchmarks" / "mediapipe_client.py"
LABELS = ["apple", "bird", "cloud", "door", "eel"]
FORMATS = [one.name for one in all_formats()]
FORMATS_OF = {("rgb", "fp32"): FORMATS, ("bgr", "fp32"): [FORMATS[0], "coreml"]}
"""By order of colours and precision; the first format alone for others. Core ML has its own way for bgr."""


@pytest.fixture(scope="session")
def exported(project, tmp_path_factory):
    """Returns a function that exports the project: float pixels to every format, the rest to the first one."""
    made = {}

    def run(color: str, precision: str, *, pixels: bool = True) -> dict[str, Path]:
        key = color, precision, pixels
        if key not in made:
            folder = tmp_path_factory.mktemp("made")
            outcome = edgekit.export(
                config=project(color) / "edgekit.toml", device="pixel8",
                formats=FORMATS_OF.get((color, precision), FORMATS[:1]), precision=precision, output=folder,
                image_input=pixels, max_drop="30 pp", without="evidence",
            )  # fmt: skip
            report = json.loads((folder / "report.json").read_text())
            made[key] = (
                outcome,
                {item["runtime"]: folder / item["artifact"]["path"] for item in report["formats"] if item["artifact"]},
            )
        return made[key]

    return run


def module_of(folder: Path) -> ModuleType:
    """Returns the project's own code: its network and its data."""
    spec = importlib.util.spec_from_file_location(f"project_{folder.name}", folder / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def outputs_of(path: Path, pixels: np.ndarray, folder: Path) -> np.ndarray:
    """Returns what an artifact gives for pictures, in its own runtime; of a classifier the scores."""
    artifact = describe_artifact(path)
    layout = next(spec.layout for spec in artifact.inputs if spec.dtype == "uint8")
    rows = pixels.transpose(0, 3, 1, 2) if layout == "NCHW" else pixels
    samples = write_samples(folder / "samples", [artifact.inputs[0].name], [(row[None],) for row in rows])
    evidence = collect_evidence(artifact, folder=folder, evaluation=samples, pieces=("outputs",))
    assert evidence.outputs is not None, evidence.missing
    return np.asarray(evidence.outputs.arrays()[0])


def float_labels(folder: Path) -> np.ndarray:
    import torch

    module = module_of(folder)
    with torch.no_grad():
        return module.build()(module.rows(1)).numpy().argmax(1)


@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_the_same_pixels_give_the_same_labels_in_every_format(project, exported, tmp_path: Path, color: str) -> None:
    outcome, paths = exported(color, "fp32")
    assert sorted(paths) == sorted(FORMATS_OF[color, "fp32"]), outcome.to_json()
    assert outcome.passed
    wanted = float_labels(project(color))
    assert len(set(wanted)) > 1  # a model that always says the same would pass
    pixels = module_of(project(color)).pixels(1)
    for name, path in paths.items():
        assert outputs_of(path, pixels, tmp_path / name).argmax(1).tolist() == wanted.tolist(), name


def test_a_file_of_pixels_gives_the_bits_of_the_same_file_without(project, exported, tmp_path: Path) -> None:
    name = FORMATS[0]
    module = module_of(project("rgb"))
    pixels = outputs_of(exported("rgb", "int8")[1][name], module.pixels(1), tmp_path / "pixels")
    plain = describe_artifact(exported("rgb", "int8", pixels=False)[1][name])
    rows = write_samples(tmp_path / "rows", [plain.inputs[0].name], [(row[None],) for row in module.rows(1).numpy()])
    evidence = collect_evidence(plain, folder=tmp_path / "plain", evaluation=rows, pieces=("outputs",))
    assert np.array_equal(pixels, np.asarray(evidence.outputs.arrays()[0]))


def client(python: Path, task: str, path: Path, pixels: np.ndarray, folder: Path) -> np.ndarray:
    np.save(folder / "pixels.npy", pixels)
    command = [python, CLIENT, task, path, folder / "pixels.npy", folder / f"{task}.npy"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return np.load(folder / f"{task}.npy")


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_mediapipe_classifies_and_embeds_as_our_runner_does(
    mediapipe_python: Path, project, exported, tmp_path: Path, precision: str
) -> None:
    path = exported("rgb", precision)[1][FORMATS[0]]
    pixels = module_of(project("rgb")).pixels(1)
    ours = outputs_of(path, pixels, tmp_path / "ours")
    scores = client(mediapipe_python, "classify", path, pixels, tmp_path)
    assert scores.argmax(1).tolist() == ours.argmax(1).tolist()
    assert np.allclose(scores, ours, atol=1e-5)
    assert json.loads((tmp_path / "classify.json").read_text()) == LABELS
    assert np.allclose(client(mediapipe_python, "embed", path, pixels, tmp_path), ours, atol=1e-5)


def test_mediapipe_refuses_the_file_without_an_image_input(
    mediapipe_python: Path, project, exported, tmp_path: Path
) -> None:
    path = exported("rgb", "int8", pixels=False)[1][FORMATS[0]]
    with pytest.raises(AssertionError, match="depth = 3 or 4"):
        client(mediapipe_python, "classify", path, module_of(project("rgb")).pixels(1), tmp_path)


def test_a_core_ml_package_has_an_image_and_the_labels(exported) -> None:
    import coremltools

    description = coremltools.models.MLModel(str(exported("bgr", "fp32")[1]["coreml"]), skip_model_load=True).get_spec()
    taken = description.description.input[0]
    assert taken.type.WhichOneof("Type") == "imageType"
    assert (taken.type.imageType.width, taken.type.imageType.height) == (32, 32)
    assert description.description.predictedFeatureName == "classLabel"
    artifact = describe_artifact(exported("bgr", "fp32")[1]["coreml"])
    assert artifact.metadata["labels"].splitlines() == LABELS
