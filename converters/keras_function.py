"""A Keras file or a SavedModel as one TensorFlow function with the captured model's inputs and outputs, in its order.

Only ever runs inside a conversion worker.
"""

from __future__ import annotations

import os
from typing import Any, Final

from edgekit.model import CapturedModel

_DEFAULT_SIGNATURE: Final = "serving_default"


def keras_function(captured: CapturedModel) -> tuple[Any, Any, list[Any]]:
    """Returns (the loaded object, which must stay alive; a tf.function; the tf.TensorSpecs that it takes)."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import tensorflow as tf

    signature = [tf.TensorSpec(spec.shape, spec.dtype, name=f"input_{i}") for i, spec in enumerate(captured.inputs)]
    if captured.kind == "keras":
        model = tf.keras.models.load_model(captured.path, compile=False)

        def call(*tensors: Any) -> Any:
            return model(tensors[0] if len(tensors) == 1 else list(tensors), training=False)

        return model, tf.function(call), signature
    loaded = tf.saved_model.load(str(captured.path))
    signatures = dict(loaded.signatures)
    serving: Any = signatures.get(_DEFAULT_SIGNATURE) or next(iter(signatures.values()))

    def serve(*tensors: Any) -> list[Any]:
        found = serving(**{spec.name: tensor for spec, tensor in zip(captured.inputs, tensors, strict=True)})
        return [found[spec.name] for spec in captured.outputs]

    return loaded, tf.function(serve), signature
