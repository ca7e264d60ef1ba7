"""The code for apps whose artifact takes pixels: the platform's own API first, and a camera loop."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tree_sitter
import tree_sitter_cpp
import tree_sitter_kotlin
import tree_sitter_swift

from edgekit.artifact import Artifact
from edgekit.model import TensorSpec
from edgekit.task.image_input import IMAGE_INPUT_KEY, ImageInput
from edgekit.task.task import ImagePreprocessing
from edgekit.usage.snippets import usage_files

GRAMMARS = {"kt": tree_sitter_kotlin, "swift": tree_sitter_swift, "cpp": tree_sitter_cpp}
SUFFIXES = {"tflite": ".tflite", "onnx": ".onnx", "executorch": ".pte", "coreml": ".mlpackage"}
FLOAT = TensorSpec(name="image", shape=(1, 3, 24, 32), dtype="float32", layout="NCHW")


def taking_pixels(runtime: str, *, labels: str = "cat\ndog\nfox", **steps: Any) -> Artifact:
    image = ImageInput(spec=FLOAT, steps=ImagePreprocessing(mean=(123.7,), std=(58.4,), color="bgr", **steps))
    score = TensorSpec(name="scores", shape=(1, 3), dtype="float32")
    return Artifact(
        path=Path(f"net-int8-static{SUFFIXES[runtime]}"),
        runtime=runtime,
        precision="int8-static",
        size_bytes=1,
        download_bytes=1,
        sha256="",
        inputs=(image.pixel_spec(layout="NCHW" if runtime == "coreml" else "NHWC"),),
        outputs=(score,),
        metadata={
            "edgekit.preprocessing": json.dumps(image.steps.to_json()),
            IMAGE_INPUT_KEY: image.to_text(),
            **({"labels": labels} if labels else {}),
        },
    )


def faults(name: str, text: str) -> list[str]:
    language = tree_sitter.Language(GRAMMARS[name.rsplit(".", 1)[1]].language())
    pending, found = [tree_sitter.Parser(language).parse(text.encode()).root_node], []
    while pending:
        node = pending.pop()
        found += [f"line {node.start_point[0] + 1}: {node.text!r}"] if node.type == "ERROR" or node.is_missing else []
        pending += node.children
    return found


@pytest.mark.parametrize("labels", ["cat\ndog\nfox", ""], ids=["labels", "no labels"])
@pytest.mark.parametrize("runtime", SUFFIXES)
def test_every_snippet_is_read_by_its_languages_grammar(runtime: str, labels: str) -> None:
    files = usage_files([taking_pixels(runtime, labels=labels)], {})
    for name, text in files.items():
        if name.endswith(".py"):
            compile(text, name, "exec")
        elif not name.endswith((".md", ".txt")):
            assert faults(name, text) == []
        assert "58.4" not in text or name == "README.md", f"{name} normalizes pixels that the file normalizes"


def test_kotlin_hands_pictures_to_mediapipe_where_the_file_has_labels() -> None:
    text = usage_files([taking_pixels("tflite")], {})["NetInt8StaticTflite.kt"]
    assert "ImageClassifier.createFromOptions(" in text
    assert 'setModelAssetPath("net-int8-static.tflite")' in text
    assert "In training it was prepared differently" not in text
    cut = usage_files([taking_pixels("tflite", resize=40)], {})["NetInt8StaticTflite.kt"]
    assert "short side resized to 40 pixels, 24 x 32 cut from the centre" in cut
    without = usage_files([taking_pixels("tflite", labels="")], {})["NetInt8StaticTflite.kt"]
    assert "CompiledModel.create(" in without
    assert "fun preprocess(picture: Bitmap): ByteArray {" in without


@pytest.mark.parametrize(
    ("steps", "option"),
    [({}, ".scaleFill"), ({"resize": 40}, ".centerCrop"), ({"letterbox": True}, ".scaleFit")],
    ids=["stretched", "cut", "letterbox"],
)
def test_swift_hands_pictures_to_vision(steps: dict[str, Any], option: str) -> None:
    text = usage_files([taking_pixels("coreml", **steps)], {})["NetInt8StaticCoreml.swift"]
    assert "VNCoreMLRequest(model: model)" in text
    assert "as? VNClassificationObservation" in text
    assert f"request.imageCropAndScaleOption = {option}\n" in text
    arrays = usage_files([taking_pixels("coreml", labels="", **steps)], {})["NetInt8StaticCoreml.swift"]
    assert "VNCoreMLFeatureValueObservation" in arrays


def test_the_python_code_gives_pixels_and_takes_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    image.fromarray(pixels).save(tmp_path / "a.png")
    monkeypatch.setitem(sys.modules, "onnxruntime", ModuleType("onnxruntime"))
    names: dict[str, Any] = {"__file__": str(tmp_path / "usage" / "a.py"), "__name__": "snippet"}
    exec(usage_files([taking_pixels("onnx")], {})["net_int8_static_onnx.py"], names)
    for picture in (tmp_path / "a.png", pixels):
        assert np.array_equal(names["preprocess"](picture), pixels[None])


STAND_IN = """
import numpy as np

def preprocess(picture):
    return picture[None]

class NetInt8StaticOnnx:
    def run(self, arrays):
        return {"scores": np.float32([[0.1, 0.2, float(arrays["image"].mean())]])}
"""


@pytest.fixture
def usage(tmp_path: Path) -> Path:
    """The folder `usage` with a stand-in for the runtime's code."""
    for name, text in usage_files([taking_pixels("onnx")], {}).items():
        (tmp_path / name).write_text(text)
    (tmp_path / "net_int8_static_onnx.py").write_text(STAND_IN)
    return tmp_path


def loop(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, folder / "camera.py", *arguments], capture_output=True, text=True, check=False
    )


def test_the_camera_loop_runs_on_a_file_in_the_cameras_place(usage: Path) -> None:
    np.save(usage / "frames.npy", np.full((5, 24, 32, 3), 7, np.uint8))
    done = loop(usage, "--source", str(usage / "frames.npy"), "--every", "2", "--frames", "4")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:3] == ["frame 1: fox (7.000)", "frame 2: fox (7.000)", "frame 4: fox (7.000)"]
    assert lines[3].startswith("4 frames, ")


def test_the_camera_loop_runs_on_a_folder_of_pictures(usage: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    (usage / "pictures").mkdir()
    image.fromarray(np.full((24, 32, 3), 9, np.uint8)).save(usage / "pictures" / "a.png")
    done = loop(usage, "--source", str(usage / "pictures"))
    assert done.stdout.startswith("frame 1: fox (9.000)\n1 frames, ")


def test_a_source_without_frames_is_reported(usage: Path) -> None:
    np.save(usage / "frames.npy", np.zeros((0, 24, 32, 3), np.uint8))
    done = loop(usage, "--source", str(usage / "frames.npy"))
    assert done.returncode == 1
    assert done.stderr == f"{usage / 'frames.npy'} gave no frame.\n"


def test_there_is_no_camera_loop_for_a_model_that_takes_no_picture() -> None:
    spec = TensorSpec(name="x", shape=(1, 8), dtype="float32")
    made = Artifact(
        path=Path("a.onnx"), runtime="onnx", precision="fp32", size_bytes=1, download_bytes=1, sha256="",
        inputs=(spec,), outputs=(spec,), metadata={},
    )  # fmt: skip
    assert "camera.py" not in usage_files([made], {})


def read_by_mediapipe(task: str, head: tuple[tuple[str, Any], ...], *shapes: tuple[int, ...]) -> Artifact:
    image = ImageInput(spec=FLOAT, steps=ImagePreprocessing(), task=task, head=head)
    return Artifact(
        path=Path("net.tflite"),
        runtime="tflite",
        precision="int8-static",
        size_bytes=1,
        download_bytes=1,
        sha256="",
        inputs=(image.pixel_spec(),),
        outputs=tuple(TensorSpec(name=f"y{i}", shape=shape, dtype="float32") for i, shape in enumerate(shapes)),
        metadata={IMAGE_INPUT_KEY: image.to_text(), "labels": "cat\ndog\nfox"},
    )


ANCHORS = (("decoder", "retinanet"), ("rows_first", True), ("strides", "8"), ("sizes", "1"), ("ratios", "1"))
FINISHED = (("decoder", "ssd_finished"),)


@pytest.mark.parametrize(
    ("artifact", "call"),
    [
        (read_by_mediapipe("detection", ANCHORS, (1, 12, 4), (1, 12, 3)), "detector.detect("),
        (read_by_mediapipe("detection", FINISHED, (1, 9, 4), (1, 9), (1, 9), (1,)), "detector.detect("),
        (read_by_mediapipe("segmentation", (), (1, 12, 16, 3)), "segmenter.segment("),
        (read_by_mediapipe("detection", ANCHORS[:1], (1, 12, 4), (1, 12, 3)), "CompiledModel.create("),
        (read_by_mediapipe("segmentation", (), (1, 3, 12, 16)), "CompiledModel.create("),
    ],
    ids=["anchors", "finished", "map", "another head", "classes first"],
)
def test_kotlin_hands_pictures_to_the_client_that_reads_the_outputs(artifact: Artifact, call: str) -> None:
    text = usage_files([artifact], {})["NetTflite.kt"]
    assert call in text
    assert faults("NetTflite.kt", text) == []


def test_swift_gets_recognized_objects_where_the_package_suppresses_boxes() -> None:
    artifact = taking_pixels("coreml", letterbox=True)
    boxes = TensorSpec(name="boxes", shape=(1, 7, 126), dtype="float32")
    metadata = {**artifact.metadata, "edgekit.suppression": '{"iou": 0.6, "score": 0.25}'}
    files = usage_files([replace(artifact, outputs=(boxes,), metadata=metadata)], {})
    text = files["NetInt8StaticCoreml.swift"]
    assert faults("NetInt8StaticCoreml.swift", text) == []
    assert "VNRecognizedObjectObservation" in text
    assert "imageCropAndScaleOption = .scaleFit" in text
    without = usage_files([replace(artifact, outputs=(boxes,))], {})["NetInt8StaticCoreml.swift"]
    assert "VNCoreMLFeatureValueObservation" in without
