"""Weights of a neural network's layers: floats, halves, or integers with scales or a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import ArtifactError
from edgekit.validators.coreml_evaluator.neural_network.message import Message


def read_weights(message: Message, shape: Sequence[int], *, layer: str) -> tuple[NDArray[np.float32], str, int]:
    """Returns (values in a shape, element type as stored, stored bytes) of a `WeightParams` message.

    Args:
        message: The message.
        shape: Sizes.
        layer: Name of the layer, for messages.

    Raises:
        ArtifactError: it holds another number of values, or 8-bit weights for products with dynamic ranges.
    """
    count = int(np.prod(shape, dtype=np.int64))
    values, stored = _values(message, count, layer)
    if values.size != count:
        raise ArtifactError(
            f'Layer "{layer}" holds {values.size} weights, and its shape {list(shape)} needs {count}. '
            "The file is corrupt: export it again."
        )
    bits = int("".join(filter(str.isdigit, stored)))
    return values.astype(np.float32).reshape(shape), stored, (values.size * bits + 7) // 8


def _values(message: Message, count: int, layer: str) -> tuple[NDArray[Any], str]:
    if message.floatValue:
        return np.array(message.floatValue, np.float32), "fp32"
    if message.float16Value:
        return np.frombuffer(message.float16Value, np.float16), "fp16"
    if message.int8RawValue:
        raise ArtifactError(
            f'Layer "{layer}" multiplies with ranges that are found at run time (int8DynamicQuantize), which the Core '
            "ML evaluator does not compute. Validate this model on a Mac."
        )
    bits = int(message.quantization.numberOfBits)
    if not message.rawValue or not bits:
        return np.zeros(0, np.float32), "fp32"
    return _dequantized(message.quantization, _unpacked(message.rawValue, bits, count), layer), f"uint{bits}"


def _unpacked(raw: bytes, bits: int, count: int) -> NDArray[np.int64]:
    """Returns integers that lie one after another, the highest bit first."""
    octets = np.frombuffer(raw, np.uint8)
    if bits == 8:
        return octets.astype(np.int64)
    single = np.unpackbits(octets)[: count * bits].reshape(-1, bits).astype(np.int64)
    return single @ (1 << np.arange(bits)[::-1])


def _dequantized(quantization: Message, integers: NDArray[np.int64], layer: str) -> NDArray[Any]:
    """Returns `scale * q + bias`, with a scale for all or for each output channel, or the entries of a table."""
    if quantization.WhichOneof("QuantizationType") == "lookupTableQuantization":
        return np.array(quantization.lookupTableQuantization.floatValue, np.float32)[integers]
    linear = quantization.linearQuantization
    scale = np.array(linear.scale or [1.0], np.float32)[:, None]
    bias = np.array(linear.bias or [0.0], np.float32)[:, None]
    if integers.size % len(scale):
        raise ArtifactError(
            f'Layer "{layer}" holds {integers.size} weights with {len(scale)} scales, which do not divide them. '
            "The file is corrupt: export it again."
        )
    return (integers.reshape(len(scale), -1) * scale + bias).reshape(-1)
