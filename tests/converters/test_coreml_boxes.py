"""Detectors in Core ML: what the package decodes and suppresses itself is what edgekit's decoders say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.converters.base import Conversion, ConversionRequest
from edgekit.converters.coreml_boxes import append_boxes
from edgekit.converters.coreml_image import image_notes
from edgekit.converters.to_coreml import CoreMLConverter
from edgekit.errors import ArtifactError
from edgekit.heads.table import find_decoder
from edgekit.model import TensorSpec
from edgekit.quantization.pt2e_graph import FloatGraph
from edgekit.recipe import Recipe
from edgekit.task.image_input import ImageInput
from edgekit.task.task import ImagePreprocessing
from edgekit.testing.tiny_models import TinyNetwork, capture_tiny
from edgekit.validators.coreml_evaluator import load, read_package
from edgekit.workers.worker import silent

pytestmark = [pytest.mark.runtime, pytest.mark.filterwarnings("ignore")]  # coremltools warns while it is imported

SIZE = (64, 96)
LABELS = ("cat", "dog", "owl")
RNG = np.random.default_rng(3)
CELLS = 8 * 12 + 4 * 6 + 2 * 3


def boxes(count: int) -> np.ndarray:
    """Returns centres and sides in pixels, (count, 4); some overlap."""
    return np.concatenate([RNG.uniform(20, 60, (count, 2)), RNG.uniform(10, 40, (count, 2))], 1)


def scores(count: int) -> np.ndarray:
    """Returns one high score in some of the rows, (count, 3): Core ML gives a box once, however many classes it has."""
    found = RNG.uniform(0.001, 0.2, (count, 3))
    some = RNG.choice(count, 12, replace=False)
    found[some, RNG.integers(0, 3, 12)] = RNG.uniform(0.5, 0.95, 12)
    return found


def logits(count: int) -> np.ndarray:
    found = scores(count)
    return np.log(found / (1 - found))


def joined(count: int, *more: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes(count), *more, scores(count)], 1)


def anchors() -> int:
    return len(find_decoder("retinanet", {}).anchors(SIZE))


HEADS: dict[str, tuple[dict[str, object], Callable[[], tuple[np.ndarray, ...]]]] = {
    "yolov8": ({}, lambda: (joined(CELLS).T,)),
    "yolo11": ({"normalized": True}, lambda: (np.concatenate([boxes(CELLS) / 96, scores(CELLS)], 1).T,)),
    "yolov5": ({}, lambda: (joined(3 * CELLS, RNG.uniform(0.8, 1, (3 * CELLS, 1))),)),
    "yolox": (
        {},
        lambda: (np.concatenate([RNG.normal(0, 1, (CELLS, 4)), RNG.uniform(0.8, 1, (CELLS, 1)), scores(CELLS)], 1),),
    ),
    "retinanet": ({}, lambda: (logits(anchors()), RNG.normal(0, 0.5, (anchors(), 4)))),
    "retinanet-rows": (
        {"rows_first": True, "logits": False},
        lambda: (RNG.normal(0, 0.5, (anchors(), 4)), scores(anchors())),
    ),
    "detr": ({}, lambda: (RNG.normal(0, 3, (30, 4)), boxes(30) / 96)),
    "detr-sigmoid": ({"scores": "sigmoid"}, lambda: (logits(30), boxes(30) / 96)),
}


class Head(nn.Module):
    """Gives fixed values, and next to nothing of the picture."""

    def __init__(self, outputs: tuple[np.ndarray, ...]) -> None:
        super().__init__()
        self.count = len(outputs)
        for place, values in enumerate(outputs):
            self.register_buffer(f"values_{place}", torch.as_tensor(values[None], dtype=torch.float32))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        shift = 1e-6 * image.mean()
        return tuple(self.get_buffer(f"values_{place}") + shift for place in range(self.count))


def converted(
    folder: Path, head: dict[str, object], outputs: tuple[np.ndarray, ...], labels: tuple[str, ...] = LABELS
) -> tuple[Path, Conversion]:
    network = TinyNetwork(build=lambda: Head(outputs).eval(), example=lambda: (torch.rand(1, 3, *SIZE),), family="cnn")
    (folder / "captured").mkdir()
    tiny = capture_tiny("net", network, folder / "captured")
    (spec,) = tiny.model.inputs
    image = ImageInput(
        spec=spec, steps=ImagePreprocessing(mean=(127.5,), std=(127.5,)), labels=labels, task="detection",
        head=tuple(head.items()),
    )  # fmt: skip
    request = ConversionRequest(
        model=tiny.model, recipe=Recipe(default="fp32"), calibration=None, scratch=folder, image=image,
        metadata={"labels": "\n".join(labels)},
    )  # fmt: skip
    path = folder / "net.mlpackage"
    return path, CoreMLConverter().run(request, path, silent)


@pytest.mark.parametrize("name", HEADS)
def test_the_package_finds_what_the_decoder_finds(name: str, tmp_path: Path) -> None:
    settings, outputs = HEADS[name]
    decoder = name.partition("-")[0]
    path, made = converted(tmp_path, {"decoder": decoder, **settings}, outputs())
    program = load(path)
    (picture,) = program.inputs
    pixels = {picture.name: RNG.integers(0, 256, (1, 3, *SIZE)).astype(np.float32)}
    raw = program.run(pixels)
    assert list(raw) == [spec.name for spec in made.outputs]
    wanted = find_decoder(decoder, {**settings, "score": 0.25}).decode(
        tuple(raw[spec.name][0] for spec in made.outputs), SIZE
    )
    found = program.detect(pixels)
    assert len(wanted.boxes) > 5
    confidence, coordinates = found["confidence"], found["coordinates"] * [96, 64, 96, 64]
    assert confidence.argmax(1).tolist() == wanted.classes.tolist()
    np.testing.assert_allclose(confidence.max(1), wanted.scores, atol=1e-5)
    middles, sides = (wanted.boxes[:, :2] + wanted.boxes[:, 2:]) / 2, wanted.boxes[:, 2:] - wanted.boxes[:, :2]
    np.testing.assert_allclose(coordinates, np.concatenate([middles, sides], 1), atol=1e-3)


def test_a_pipeline_has_the_interface_that_vision_reads(tmp_path: Path) -> None:
    settings = {"decoder": "yolov8", "iou": 0.6, "score": 0.4}
    path, made = converted(tmp_path, settings, HEADS["yolov8"][1]())
    whole = read_package(path)
    inputs = {item.name: item.type for item in whole.description.input}
    (picture,) = made.inputs
    assert list(inputs) == [picture.name, "iouThreshold", "confidenceThreshold"]
    assert (inputs[picture.name].imageType.width, inputs[picture.name].imageType.height) == (96, 64)
    assert all(inputs[name].isOptional for name in list(inputs)[1:])
    outputs = {item.name: item.type.multiArrayType.shapeRange.sizeRanges for item in whole.description.output}
    assert {name: [(size.lowerBound, size.upperBound) for size in sizes] for name, sizes in outputs.items()} == {
        "confidence": [(0, -1), (3, 3)],
        "coordinates": [(0, -1), (4, 4)],
    }
    assert whole.suppression is not None
    assert list(whole.suppression.stringClassLabels.vector) == list(LABELS)
    assert whole.suppression.pickTop.perClass
    assert (whole.suppression.iouThreshold, whole.suppression.confidenceThreshold) == (0.6, 0.4)
    assert whole.description.metadata.userDefined["labels"] == "\n".join(LABELS)
    assert json.loads(made.metadata["edgekit.suppression"]) == {"iou": 0.6, "score": 0.4}
    assert any("It is a detector of 3 labels for Vision" in note for note in made.notes)


@pytest.mark.parametrize(
    ("head", "labels", "reason"),
    [
        ({}, LABELS, "[head] names no decoder"),
        ({"decoder": "yolov8"}, LABELS[:2], "it has 3 classes, and there are 2 labels"),
        ({"decoder": "yolox"}, LABELS, "it has 2 classes, and there are 3 labels"),
        (
            {"decoder": "yolov5"},
            LABELS,
            (
                "its outputs are no head of YOLOv5: they have the shapes (7, 126); expected (378, 5 + classes), or 3 x "
                "(5 + classes) channels of [96, 24, 6] cells"
            ),
        ),
        (
            {"decoder": "yolo26", "strides": "8,16,32"},
            LABELS,
            (
                "the head yolo26 is not decoded inside as it is here; those of YOLOv5, YOLOv8 and 11, YOLOX, "
                "RetinaNet, DETR with boxes and scores are"
            ),
        ),
    ],
    ids=["no decoder", "few labels", "other classes", "another head", "not decoded"],
)
def test_a_detector_that_vision_cannot_be_given_says_why(
    head: dict[str, object], labels: tuple[str, ...], reason: str
) -> None:
    outputs = HEADS["yolov8"][1]() if head.get("decoder") != "yolo26" else (np.zeros((300, 6)),)
    specs = [TensorSpec(name="y", shape=(1, *values.shape), dtype="float32") for values in outputs]
    spec = TensorSpec(name="image", shape=(1, 3, *SIZE), dtype="float32", layout="NCHW")
    image = ImageInput(
        spec=spec, steps=ImagePreprocessing(), labels=labels, task="detection", head=tuple(head.items())
    )  # fmt: skip
    module = torch.fx.symbolic_trace(nn.Identity())
    graph = FloatGraph(module=module, example_inputs=())
    before = str(module.graph)
    assert append_boxes(graph, image, specs) == reason
    assert str(module.graph) == before
    note = f"It is no detector for Vision, and gives its own outputs: {reason}."
    assert note in image_notes(image, (), reason)


def test_a_package_without_suppression_detects_nothing(tmp_path: Path) -> None:
    path, made = converted(tmp_path, {}, HEADS["yolov8"][1]())
    assert not made.metadata
    with pytest.raises(
        ArtifactError,
        match=r"net\.mlpackage: no suppression stands behind this model\. Take its outputs from a run\.$",
    ):
        load(path).detect({})
