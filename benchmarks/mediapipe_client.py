"""Runs a TFLite file in MediaPipe Tasks, as an app does. Needs MediaPipe, NumPy and nothing of edgekit.

    python benchmarks/mediapipe_client.py classify model.tflite pixels.npy scores.npy
    python benchmarks/mediapipe_client.py embed model.tflite pixels.npy vectors.npy

The pixels are (N, H, W, 3) uint8, RGB. `classify` writes (N, classes), and the labels as scores.json beside it.
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


def main(task: str, model: str, pixels: str, output: str) -> None:
    images = np.load(pixels)
    if task == "classify":
        scores, labels = classify(model, images)
        np.save(output, scores)
        Path(output).with_suffix(".json").write_text(json.dumps(labels))
    else:
        np.save(output, embed(model, images))


if __name__ == "__main__":
    main(*sys.argv[1:])
