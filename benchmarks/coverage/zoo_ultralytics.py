"""Detectors of ultralytics (AGPL-3.0: for this benchmark only; edgekit does not depend on it)."""

from __future__ import annotations

from typing import Any

from torch import nn
from zoo import Entry, image


def _model(kind: str, file: str, size: int = 96) -> Entry:
    def build() -> nn.Module:
        import stubs  # noqa: F401  before torchvision
        from ultralytics.nn import tasks

        made: Any = getattr(tasks, kind)(file, ch=3, verbose=False)
        for part in made.modules():
            if hasattr(part, "export"):
                part.export, part.format = True, "onnx"
        network: nn.Module = made
        return network

    return Entry(build=build, draw=image(size))


TABLE = {
    "yolov8n": _model("DetectionModel", "yolov8n.yaml"),
    "yolov8n_seg": _model("SegmentationModel", "yolov8n-seg.yaml"),
    "yolov10n": _model("DetectionModel", "yolov10n.yaml"),
    "yolo11n": _model("DetectionModel", "yolo11n.yaml"),
    "yolo12n": _model("DetectionModel", "yolo12n.yaml"),
    "yolo11n_cls": _model("ClassificationModel", "yolo11n-cls.yaml"),
}
