"""The graph of a Keras model or a SavedModel, by way of its float TFLite form. Runs in a worker process.

TensorFlow's own converter folds batch norms and pads as every runtime does, so one reader serves both.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import Any

from edgekit.analysis.graph import Analysis
from edgekit.analysis.read_flatbuffer import read_flatbuffer
from edgekit.errors import ModelError
from edgekit.model import CapturedKind
from edgekit.plain_text import first_line


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
            converter = tf.lite.TFLiteConverter.from_concrete_functions([_frozen(tf, path)])
        content = _flatbuffer(tf, converter)
    except Exception as error:  # TensorFlow raises anything, OSError to its own ConverterError
        raise ModelError(
            f"{path}: TensorFlow {tf.__version__} cannot turn it into a costed graph: {first_line(error)} "
            "Expected a .keras or .h5 model, or a SavedModel with one signature and fixed sizes."
        ) from error
    return read_flatbuffer(content, str(path))


def _flatbuffer(tf: ModuleType, converter: Any) -> bytes:
    """Returns the model as a flatbuffer, which is only counted: what LiteRT lacks may stay TensorFlow's there."""
    try:
        return bytes(converter.convert())
    except Exception:
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
        return bytes(converter.convert())


def _frozen(tf: ModuleType, path: Path) -> Any:
    """Returns the model's function at batch 1 with its variables as constants: else they are read at run time."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    model = tf.keras.models.load_model(str(path), compile=False)
    signature = [tf.TensorSpec((1, *item.shape[1:]), item.dtype, item.name) for item in model.inputs]
    function = tf.function(lambda *inputs: model(inputs[0] if len(inputs) == 1 else list(inputs), training=False))
    return convert_variables_to_constants_v2(function.get_concrete_function(*signature))
