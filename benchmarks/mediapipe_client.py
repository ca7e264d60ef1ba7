"""Runs a TFLite file in MediaPipe Tasks, as an app does. Needs MediaPipe, NumPy and nothing of edgekit.

    python benchmarks/mediapipe_client.py classify model.tflite pixels.npy scores.npy
    python benchmarks/mediapipe_client.py embed model.tflite pixels.npy vectors.npy
    python benchmarks/mediapipe_client.py detect model.tflite pixels.npy boxes.npy
    python benchmarks/mediapipe_client.py segment model.tflite pixels.npy masks.npy

The pixels are (N, H, W, 3) uint8, RGB. `classify` writes scores (N, classes); `detect` (N, most, 6): x1, y1, x2, y2 in
pixels, score and the place of the label, rows of -1 behind the last; `segment` writes (N, classes, H, W). The labels
that the client shows lie beside it as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import mediapipe
import numpy as np
from mediapipe.tasks.python import BaseOptions, vision


def picture(pixels: np.ndarray) -> mediapipe.Image:
    return mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(pixels))


def classify(model: str, pixels: np.ndarray) -> tuple[np.ndarray, list[str]]:
    options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=model))
    rows, labels = [], {}
    with vision.ImageClassifier.create_from_options(options) as classifier:
        for item in pixels:
            found = classifier.classify(picture(item)).classifications[0].categories
            row = np.zeros(len(found), np.float32)
            for category in found:
                row[category.index] = category.score
                labels[category.index] = category.category_name or ""
            rows.append(row)
    return np.stack(rows), [labels[i] for i in sorted(labels)]


def embed(model: str, pixels: np.ndarray) -> np.ndarray:
    options = vision.ImageEmbedderOptions(base_options=BaseOptions(model_asset_path=model))
    with vision.ImageEmbedder.create_from_options(options) as embedder:
        return np.stack([embedder.embed(picture(item)).embeddings[0].embedding for item in pixels])


def detect(model: str, pixels: np.ndarray) -> tuple[np.ndarray, list[str]]:
    options = vision.ObjectDetectorOptions(base_options=BaseOptions(model_asset_path=model), max_results=100)
    rows, labels = [], {}
    with vision.ObjectDetector.create_from_options(options) as detector:
        for item in pixels:
            row = []
            for detection in detector.detect(picture(item)).detections:
                box, category = detection.bounding_box, detection.categories[0]
                corners = (box.origin_x, box.origin_y, box.origin_x + box.width, box.origin_y + box.height)
                # MediaPipe forgets the number of a class that has a name.
                place = labels.setdefault(category.category_name or str(category.index), len(labels))
                row.append((*corners, category.score, place))
            rows.append(row)
    most = max(map(len, rows))
    padded = np.full((len(rows), most, 6), -1.0)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = np.reshape(row, (-1, 6))
    return padded, list(labels)


def segment(model: str, pixels: np.ndarray) -> tuple[np.ndarray, list[str]]:
    options = vision.ImageSegmenterOptions(
        base_options=BaseOptions(model_asset_path=model), output_confidence_masks=True, output_category_mask=False
    )
    with vision.ImageSegmenter.create_from_options(options) as segmenter:
        found = [segmenter.segment(picture(item)).confidence_masks for item in pixels]
        masks = np.stack([np.stack([np.squeeze(mask.numpy_view()) for mask in masks]) for masks in found])
        return masks, list(segmenter.labels)


def main(task: str, model: str, pixels: str, output: str) -> None:
    images = np.load(pixels)
    if task == "embed":
        np.save(output, embed(model, images))
        return
    found, labels = {"classify": classify, "detect": detect, "segment": segment}[task](model, images)
    np.save(output, found)
    Path(output).with_suffix(".json").write_text(json.dumps(labels))


if __name__ == "__main__":
    main(*sys.argv[1:])
