"""The graph of a Keras model or a SavedModel, by way of its float TFLite form. Runs in a worker process.

TensorFlow's own converter folds batch norms and pads as every runtime does, so one reader serves both.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from edgekit.analysis.graph import Analysis
from edgekit.analysis.read_flatbuffer import read_flatbuffer
from edgekit.errors import ModelError
from edgekit.model import CapturedKind


def read_keras_graph(kind: CapturedKind, path: Path) -> Analysis:
    """Returns the analysis of a Keras file (`.keras`, `.h5`) or a SavedModel folder.

    Raises:
        ModelError: TensorFlow cannot read or convert it.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    try:
        if kind == "savedmodel":
            converter: Any = tf.lite.TFLiteConverter.from_saved_model(str(path))
        else:
            model = tf.keras.models.load_model(str(path), compile=False)
            shapes = [(1, *item.shape[1:]) for item in model.inputs]
            signature = [
                tf.TensorSpec(shape, item.dtype, item.name) for shape, item in zip(shapes, model.inputs, strict=True)
            ]
            function = tf.function(lambda *inputs: model(inputs[0] if len(inputs) == 1 else list(inputs)))
            concrete = function.get_concrete_function(*signature)
            converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], model)
        content: bytes = converter.convert()
    except Exception as error:  # TensorFlow raises anything, OSError to its own ConverterError
        raise ModelError(
            f"{path}: TensorFlow {tf.__version__} cannot turn it into a costed graph: {error}. "
            "Expected a .keras or .h5 model, or a SavedModel with one signature and fixed sizes."
        ) from error
    return read_flatbuffer(content, str(path))
