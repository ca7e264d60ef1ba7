"""How a tensor is spelled in each snippet: types, buffers and literals, by language and runtime."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from edgekit.model import TensorSpec
from edgekit.usage.identifiers import camel_case, distinct, quote, snake_case

Words = Mapping[str, str]
"""What a template asks for beside the facts: `array`, `stored`, `wrapped` and so on, by key."""


def storage_of(spec: TensorSpec) -> str:
    """Returns what lies in the tensor: its dtype, with a `q` behind it where integers stand for real values."""
    return f"{spec.dtype}q" if spec.scale is not None else spec.dtype


_LITERT_KOTLIN: Final[Mapping[str, Words]] = {
    "float32": {"array": "FloatArray", "accessor": "Float"},
    "int32": {"array": "IntArray", "accessor": "Int"},
    "int64": {"array": "LongArray", "accessor": "Long"},
    "int8": {"array": "ByteArray", "accessor": "Int8"},
    "bool": {"array": "BooleanArray", "accessor": "Boolean"},
    "int8q": {"array": "FloatArray"},
}
"""com.google.ai.edge.litert.TensorBuffer reads and writes these and no others."""

_KOTLIN_BOOLEANS: Final = {
    "array": "BooleanArray",
    "wrap": "ByteBuffer.wrap(ByteArray({id}.size) {{ if ({id}[it]) 1 else 0 }})",
    "unwrap": "byteBuffer.toArray().map {{ it != 0.toByte() }}.toBooleanArray()",
    "java_type": ", OnnxJavaType.BOOL",
}

_ORT_KOTLIN: Final[Mapping[str, Words]] = {
    "float32": {"array": "FloatArray", "wrap": "FloatBuffer.wrap({id})", "unwrap": "floatBuffer.toArray()"},
    "int32": {"array": "IntArray", "wrap": "IntBuffer.wrap({id})", "unwrap": "intBuffer.toArray()"},
    "int64": {"array": "LongArray", "wrap": "LongBuffer.wrap({id})", "unwrap": "longBuffer.toArray()"},
    "bool": _KOTLIN_BOOLEANS,
    **{
        name: {
            "array": "ByteArray",
            "wrap": "ByteBuffer.wrap({id})",
            "unwrap": "byteBuffer.toArray()",
            "java_type": f", OnnxJavaType.{name.upper()}",
        }
        for name in ("int8", "uint8")
    },
    **{
        f"{name}q": {
            "array": "FloatArray",
            "wrap": "ByteBuffer.wrap(quantize({id}, {scale}f, {zero_point}, {lowest}, {highest}))",
            "unwrap": "byteBuffer.toArray()",
            "java_type": f", OnnxJavaType.{name.upper()}",
        }
        for name in ("int8", "uint8")
    },
}

_CORE_ML_SWIFT: Final[Mapping[str, Words]] = {
    "float32": {"scalar": "Float", "stored": "Float"},
    "float16": {"scalar": "Float", "stored": "Float16"},
    "float64": {"scalar": "Double", "stored": "Double"},
    "int32": {"scalar": "Int32", "stored": "Int32"},
    "int8q": {"scalar": "Float", "stored": "Int8"},
}
"""The scalars of an MLMultiArray; 8-bit ones since iOS 26."""

_EXECUTORCH_SWIFT: Final[Mapping[str, Words]] = {
    "float32": {"scalar": "Float", "stored": "Float"},
    "float64": {"scalar": "Double", "stored": "Double"},
    "int32": {"scalar": "Int32", "stored": "Int32"},
    "int64": {"scalar": "Int64", "stored": "Int64"},
    "int8": {"scalar": "Int8", "stored": "Int8"},
    "uint8": {"scalar": "UInt8", "stored": "UInt8"},
    "bool": {"scalar": "Bool", "stored": "Bool"},
    "int8q": {"scalar": "Float", "stored": "Int8"},
}


def _cpp(element: str, stored: str, onnx_type: str, scalar_type: str) -> Words:
    return {"element": element, "stored": stored, "onnx_type": onnx_type, "scalar_type": scalar_type}


_CPP: Final[Mapping[str, Words]] = {
    "float32": _cpp("float", "float", "FLOAT", "Float"),
    "float64": _cpp("double", "double", "DOUBLE", "Double"),
    "int32": _cpp("std::int32_t", "std::int32_t", "INT32", "Int"),
    "int64": _cpp("std::int64_t", "std::int64_t", "INT64", "Long"),
    "int8": _cpp("std::int8_t", "std::int8_t", "INT8", "Char"),
    "uint8": _cpp("std::uint8_t", "std::uint8_t", "UINT8", "Byte"),
    "bool": _cpp("std::uint8_t", "std::uint8_t", "BOOL", "Bool"),  # std::vector<bool> has no data()
    "int8q": _cpp("float", "std::int8_t", "INT8", "Char"),
    "uint8q": _cpp("float", "std::uint8_t", "UINT8", "Byte"),
}

_ANY: Final[Mapping[str, Words]] = {
    name: {}
    for name in ("float16", "float32", "float64", "int8", "uint8", "int16", "int32", "int64", "bool", "int8q", "uint8q")
}
"""Python: NumPy holds them all."""

WORDS: Final[Mapping[tuple[str, str], Mapping[str, Words]]] = {
    ("tflite", "kt"): _LITERT_KOTLIN,
    ("onnx", "kt"): _ORT_KOTLIN,
    ("coreml", "swift"): _CORE_ML_SWIFT,
    ("executorch", "swift"): _EXECUTORCH_SWIFT,
    **{(runtime, "cpp"): _CPP for runtime in ("tflite", "onnx", "executorch")},
    **{(runtime, "py"): _ANY for runtime in ("tflite", "onnx", "executorch", "coreml")},
}
"""(runtime, suffix of the language) to what it can hold, and how that is spelled."""


def why_not(runtime: str, language: str, specs: Sequence[TensorSpec]) -> str | None:
    """Returns why a snippet cannot hold these tensors, or None if it can."""
    known = WORDS[runtime, language]
    for spec in specs:
        if storage_of(spec) not in known:
            return f'the tensor "{spec.name}" is {spec.dtype}, which this API does not take'
        if any(size < 1 for size in spec.shape):
            return f'the tensor "{spec.name}" has no fixed shape: {spec.shape}'
        if language == "kt" and "$" in spec.name:
            return f'the tensor "{spec.name}" has a dollar in its name, which a Kotlin string does not take as it is'
    return None


def tensor_views(runtime: str, language: str, specs: Sequence[TensorSpec]) -> list[dict[str, Any]]:
    """Returns what templates say about each tensor: its facts, and its words in one language."""
    spell: Callable[[str], str] = snake_case if language in ("cpp", "py") else camel_case
    identifiers = distinct([spell(spec.name) for spec in specs])
    return [
        _view(spec, identifier, WORDS[runtime, language][storage_of(spec)])
        for spec, identifier in zip(specs, identifiers, strict=True)
    ]


def _view(spec: TensorSpec, identifier: str, words: Words) -> dict[str, Any]:
    facts = tensor_facts(spec)
    literals = {**facts, "id": identifier}
    made: dict[str, Any] = {**literals, "java_type": "", **words}
    if "wrap" in words:
        made["wrapped"] = words["wrap"].format(**literals)
        made["unwrapped"] = f"tensor(results, {facts['literal']}).{words['unwrap'].format(**literals)}"
        if facts["quantized"]:
            signed = "true" if facts["signed"] else "false"
            made["unwrapped"] = f"dequantize({made['unwrapped']}, {facts['scale']}f, {facts['zero_point']}, {signed})"
    return made


def tensor_facts(spec: TensorSpec) -> dict[str, Any]:
    """Returns what is the same in every language.

    `scale` is the shortest literal of the stored 32-bit float; `exact_scale` is that float as 64 bits, which is what
    edgekit's own runner divides by.
    """
    quantized = spec.scale is not None
    limits = np.iinfo(spec.dtype) if quantized else None
    shape_text = "(" + ", ".join(map(str, spec.shape)) + ")"
    stored = f", {spec.layout}" if spec.layout else ""
    if quantized:
        stored += f"; real values here, stored as {spec.dtype}, scale {spec.scale:.6g}, zero point {spec.zero_point}"
    return {
        "name": spec.name,
        "literal": quote(spec.name),
        "shape": spec.shape,
        "shape_text": shape_text,
        "dims": ", ".join(map(str, spec.shape)),
        "count": math.prod(spec.shape),
        "dtype": spec.dtype,
        "layout": spec.layout,
        "quantized": quantized,
        "signed": spec.dtype.startswith("int"),
        "scale": str(np.float32(spec.scale)) if spec.scale is not None else "",
        "exact_scale": repr(spec.scale),
        "zero_point": (spec.zero_point or 0) if quantized else None,
        "lowest": int(limits.min) if limits else None,
        "highest": int(limits.max) if limits else None,
        "describe": f"shape {shape_text}, {'float32' if quantized else spec.dtype}{stored}",
    }
