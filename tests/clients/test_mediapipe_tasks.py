"""Detectors and segmenters that take pixels, in MediaPipe's ObjectDetector and ImageSegmenter."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

import edgekit
from edgekit.heads.retinanet import RetinaNet
from edgekit.heads.ssd_finished import SsdFinished
from edgekit.samples import write_samples
from edgekit.validators.execution import collect_evidence, describe_artifact

pytestmark = [pytest.mark.runtime, pytest.mark.filterwarnings("ignore")]

CLIENT = Path(__file__).parents[2] / "benchmarks" / "mediapipe_client.py"
LABELS = ["apple", "bird", "cloud"]
SIDE = 32

MODEL = """
import numpy as np
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, form):
        super().__init__()
        self.form = form
        self.features = nn.Sequential(nn.Conv2d(3, 16, 3, 4, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, 2, 1), nn.ReLU())
        self.offsets, self.scores = nn.Conv2d(16, 4, 1), nn.Conv2d(16, 3, 1)

    def forward(self, image):
        found = self.features(image)
        if self.form == "classes":
            return 8 * self.scores(found).mean((2, 3))
        if self.form == "map":
            return nn.functional.interpolate(self.scores(found), scale_factor=4.0, mode="nearest").permute(0, 2, 3, 1)
        boxes, scores = (part.flatten(2).transpose(1, 2) for part in (self.offsets(found), 4 * self.scores(found)))
        if self.form == "raw":
            return boxes, scores
        centre, half = boxes[..., :2].sigmoid(), boxes[..., 2:].sigmoid() / 4
        corners = torch.cat([centre - half, centre + half], -1)
        best, kinds = scores.sigmoid().max(-1)
        return corners, kinds.float(), best, torch.full((1,), float(boxes.shape[1])) + 0 * best[0, :1]

def build(form):
    torch.manual_seed(5)
    return Net(form).eval()

def raw():
    return build("raw")

def finished():
    return build("finished")

def map():
    return build("map")

def classes():
    return build("classes")

def example_inputs():
    return (torch.zeros(1, 3, 32, 32),)

def pixels(seed, count=12):
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (count, 4, 4, 3)).repeat(8, 1).repeat(8, 2)
    return np.clip(coarse + generator.integers(-20, 21, coarse.shape), 0, 255).astype(np.uint8)

def calibration():
    for item in pixels(0):
        yield (((item.astype(np.float32) - 127.5) / 127.5).transpose(2, 0, 1)[None],)

def evaluation():
    for item in calibration():
        yield item, None
"""

TASK = """
[model]
source = "model.py:{form}"
example_inputs = "model.py:example_inputs"
labels = "labels.txt"
{more}
[data]
task = "{task}"
metric = "agreement"
calibration = "model.py:calibration"
evaluation = "model.py:evaluation"
[data.preprocessing]
mean = [127.5]
std = [127.5]
{head}
"""
RAW = {"strides": "8", "sizes": "0.25", "ratios": "1"}
HEADS = {
    "raw": '[head]\ndecoder = "retinanet"\nrows_first = true\n' + "".join(f'{k} = "{v}"\n' for k, v in RAW.items()),
    "finished": '[head]\ndecoder = "ssd_finished"\n',
    "map": "",
    "classes": "",
}
TASKS = {"raw": "detection", "finished": "detection", "map": "segmentation", "classes": "classification"}
CALIBRATION = "1.0,0.5,0.1\n0.9,2,-0.3\n\n"


def exported(folder: Path, form: str, precision: str) -> Path:
    """Returns the TFLite file of a project of this form."""
    folder.mkdir(exist_ok=True)
    (folder / "model.py").write_text(MODEL)
    more = 'score_calibration = "scores.csv"' if form == "classes" else ""
    (folder / "edgekit.toml").write_text(TASK.format(form=form, task=TASKS[form], head=HEADS[form], more=more))
    (folder / "scores.csv").write_text(CALIBRATION)
    (folder / "labels.txt").write_text("\n".join(LABELS) + "\n")
    edgekit.export(
        config=folder / "edgekit.toml", device="pixel8", formats="tflite", precision=precision,
        output=folder / "made", max_drop="100 pp", without="evidence",
    )  # fmt: skip
    return next((folder / "made").glob("*.tflite"))


def pixels() -> np.ndarray:
    scope: dict = {}
    exec(MODEL, scope)
    return scope["pixels"](1)


def outputs_of(path: Path, images: np.ndarray, folder: Path) -> tuple[np.ndarray, ...]:
    """Returns what the file gives for pictures in edgekit's own runner."""
    artifact = describe_artifact(path)
    samples = write_samples(folder / "samples", [artifact.inputs[0].name], [(row[None],) for row in images])
    evidence = collect_evidence(artifact, folder=folder, evaluation=samples, pieces=("outputs",))
    assert evidence.outputs is not None, evidence.missing
    return tuple(np.asarray(array) for array in evidence.outputs.arrays())


def in_mediapipe(python: Path, task: str, path: Path, images: np.ndarray) -> tuple[np.ndarray, list[str]]:
    given, output = path.with_suffix(".npy"), path.with_name("found.npy")
    np.save(given, images)
    done = subprocess.run([python, CLIENT, task, path, given, output], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return np.load(output), json.loads(output.with_suffix(".json").read_text())


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("form", ["raw", "finished"])
def test_object_detector_finds_what_the_decoder_finds(
    mediapipe_python: Path, tmp_path: Path, form: str, precision: str
) -> None:
    path = exported(tmp_path / "project", form, precision)
    images = pixels()
    found, labels = in_mediapipe(mediapipe_python, "detect", path, images)
    outputs = outputs_of(path, images, tmp_path)
    decoder = RetinaNet(**RAW, rows_first=True) if form == "raw" else SsdFinished()
    seen = 0
    for row, detections in enumerate(found):
        own = decoder.predict(tuple(np.asarray(array[row], np.float64) for array in outputs), (SIDE, SIDE))
        inside = ((own.boxes > 0) & (own.boxes < SIDE)).all(1)
        for *box, score, kind in detections[detections[:, 5] >= 0]:
            near = np.abs(own.scores[:, LABELS.index(labels[int(kind)])] - score) < 1e-3
            assert near.any()
            if not inside[near].all():
                continue  # MediaPipe moves a box that begins outside of the picture, and keeps its size
            # It gives whole pixels, of the corner and of the size, each rounded down.
            apart = own.boxes[near] - box
            assert ((apart > -0.01) & (apart < [1.01, 1.01, 2.01, 2.01])).all(1).any()
            seen += 1
    assert seen >= len(images)
    assert set(labels) <= set(LABELS)
    assert len(labels) > 1


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_image_segmenter_gives_the_softmax_of_the_map(mediapipe_python: Path, tmp_path: Path, precision: str) -> None:
    path = exported(tmp_path / "project", "map", precision)
    images = pixels()
    masks, labels = in_mediapipe(mediapipe_python, "segment", path, images)
    (scores,) = outputs_of(path, images, tmp_path)
    scores = scores.reshape(len(images), 16, 16, 3).astype(np.float64)
    wanted = np.exp(scores - scores.max(-1, keepdims=True))
    wanted /= wanted.sum(-1, keepdims=True)
    assert labels == LABELS
    assert masks.shape == (len(images), 3, SIDE, SIDE)
    # MediaPipe enlarges the map to the picture: the middles of its pixels are the map's own values, nearly.
    assert np.abs(masks.mean((2, 3)) - wanted.mean((1, 2))).max() < 0.02
    assert (masks[:, :, ::2, ::2].argmax(1) == wanted.argmax(-1)).mean() > 0.9


def test_image_classifier_calibrates_the_scores(mediapipe_python: Path, tmp_path: Path) -> None:
    path = exported(tmp_path / "project", "classes", "fp32")
    images = pixels()
    found, labels = in_mediapipe(mediapipe_python, "classify", path, images)
    (scores,) = outputs_of(path, images, tmp_path)
    wanted = np.zeros_like(scores)  # the class without numbers has the score 0
    wanted[:, 0] = 1 / (1 + np.exp(-(0.5 * scores[:, 0] + 0.1)))
    wanted[:, 1] = 0.9 / (1 + np.exp(-(2 * scores[:, 1] - 0.3)))
    assert labels == LABELS
    assert np.abs(found - wanted).max() < 1e-5
    assert np.ptp(wanted[:, 0]) > 0.01  # a constant would agree with anything
