"""The ONNX graph of a TensorFlow model, by tf2onnx. Only ever runs inside a conversion worker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from edgekit.converters.failure_reason import failure_reason
from edgekit.converters.keras_function import keras_function
from edgekit.errors import ConversionError
from edgekit.model import CapturedModel

if TYPE_CHECKING:
    import onnx

KERAS_OPSET: Final = 18
"""Opset asked of tf2onnx, the newest that it knows."""

_LACKS: Final = "the exporter knows no ONNX operator for"
_WAY_OUT: Final = "Replace that part of the model, or choose another format."


def from_tensorflow(captured: CapturedModel) -> onnx.ModelProto:
    """Returns the ONNX graph of a Keras file or a SavedModel.

    Raises:
        ConversionError: ONNX or tf2onnx has no operator for something in it.
    """
    import onnx
    import tf2onnx

    try:
        _, function, signature = keras_function(captured)
        model, _ = tf2onnx.convert.from_function(
            _with_constants_inside(function, signature),
            input_signature=signature, opset=KERAS_OPSET, custom_op_handlers=_WRITTEN_OUT,
        )  # fmt: skip
    except Exception as error:
        raise ConversionError(
            f"{captured.source} cannot become onnx: {failure_reason(error, _LACKS)}. {_WAY_OUT}"
        ) from error
    # What tf2onnx does not know it leaves in the graph as it was.
    for node in model.graph.node:
        if node.domain in ("", "ai.onnx") and not onnx.defs.has(node.op_type, KERAS_OPSET, ""):
            raise ConversionError(
                f"{captured.source} cannot become onnx: {_LACKS} TensorFlow's {node.op_type} in {node.name}. {_WAY_OUT}"
            )
    return model


def _with_constants_inside(function: Any, signature: list[Any]) -> Any:
    """Returns the function with the tensors that its code only refers to as constants: tf2onnx makes inputs of them."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    concrete = function.get_concrete_function(*signature)
    if all(tensor.dtype == tf.resource for tensor in concrete.captured_inputs):
        return function
    frozen = convert_variables_to_constants_v2(concrete, lower_control_flow=False)
    return tf.function(frozen)


def _write_erfc(context: Any, node: Any, _name: str, _arguments: object) -> None:
    """Writes erfc(x) as 1 - erf(x): Keras computes GELU by it."""
    import numpy as np

    dtype, shape = context.get_dtype(node.output[0]), context.get_shape(node.output[0])
    one = context.make_const(f"{node.name}_one", np.ones((), np.float32))
    erf = context.make_node("Erf", [node.input[0]], dtypes=[dtype], shapes=[shape])
    context.remove_node(node.name)
    context.make_node(
        "Sub", [one.output[0], erf.output[0]], name=node.name, outputs=node.output, dtypes=[dtype], shapes=[shape]
    )


_WRITTEN_OUT: Final[Mapping[str, tuple[Any, list[str]]]] = {"Erfc": (_write_erfc, ["Erfc"])}
"""Operators of TensorFlow that tf2onnx does not know, to what writes them in ONNX's."""
