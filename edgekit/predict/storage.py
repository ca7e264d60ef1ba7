"""How each format stores a weight under each precision: the part of a file's size that is exact.

Every format keeps weights as raw bytes and puts what integers need beside them: a scale per output channel, often a zero
point, sometimes a scale and a zero point for the bias too. These rules follow the formats' schemas and what our converters
write; `benchmarks/size_prediction.py` compares them with real files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

from edgekit.analysis.graph import Analysis, StorageForm, Weight, WeightRole
from edgekit.plan import Precision, Recipe

RUNTIMES: Final = ("tflite", "onnx", "executorch", "coreml")
"""Formats whose sizes are predicted."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How one kind of weight lies in a file.

    Attributes:
        form: The bytes of the values; `int32` for the bias of integer kernels.
        per_channel: Bytes per output channel beside the values.
        per_channel_deflated: What share of these deflate leaves: scales stay, zero points that are all 0 vanish.
        per_group: Bytes per group of `Recipe.group_size` columns.
    """

    form: StorageForm | str
    per_channel: float = 0.0
    per_channel_deflated: float = 0.9
    per_group: float = 0.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One weight in a file.

    Attributes:
        values_bytes: Its values.
        scales_bytes: Scales and zero points.
        deflated_bytes: Both, deflated.
    """

    values_bytes: int
    scales_bytes: int
    deflated_bytes: float


_FLOAT32: Final = Layout(form="float32")
_FLOAT16: Final = Layout(form="float16")

_BITS: Final[Mapping[str, float]] = {"float32": 32, "int32": 32, "float16": 16, "int8": 8, "int4": 4}

_LOOSE: Final[tuple[WeightRole, ...]] = ("bias", "norm", "constant")
_MATRICES: Final[tuple[WeightRole, ...]] = ("kernel", "recurrent", "table")


def _rules(matrices: Layout, loose: Layout, **special: Layout) -> Mapping[str, Layout]:
    return {**dict.fromkeys(_MATRICES, matrices), **dict.fromkeys(_LOOSE, loose), **special}


# TFLite: a scale (float32) and a zero point (int64) per channel, in the tensor's quantization record. Biases of integer
# kernels have such records too. Blockwise 4 bit: scales are a float16 tensor.
_TFLITE_INT8: Final = Layout(form="int8", per_channel=12, per_channel_deflated=0.31)
# ONNX: scale (float32) and zero point (int8) initializers per channel; an integer bias adds a scale and an int32 zero point.
_ONNX_INT8: Final = Layout(form="int8", per_channel=5, per_channel_deflated=0.73)
# ExecuTorch (XNNPACK): a float32 scale per channel in the delegate's own flatbuffer.
_EXECUTORCH_INT8: Final = Layout(form="int8", per_channel=4)
# Core ML: a float16 scale per channel; constexpr_affine_dequantize keeps an int8 zero point per channel too.
_COREML_INT8: Final = Layout(form="int8", per_channel=3, per_channel_deflated=0.62)

_TABLE: Final[Mapping[str, Mapping[Precision, Mapping[str, Layout]]]] = {
    "tflite": {
        "fp32": _rules(_FLOAT32, _FLOAT32),
        "fp16": _rules(_FLOAT16, _FLOAT16),
        "int8_static": _rules(_TFLITE_INT8, _FLOAT32, bias=Layout(form="int32", per_channel=12, per_channel_deflated=0.31)),
        "int8_dynamic": _rules(_TFLITE_INT8, _FLOAT32),
        "int8_weights": _rules(_TFLITE_INT8, _FLOAT32),
        "int4_weights": _rules(Layout(form="int4", per_group=2), _FLOAT32, table=_TFLITE_INT8),
    },
    "onnx": {
        "fp32": _rules(_FLOAT32, _FLOAT32),
        "fp16": _rules(_FLOAT16, _FLOAT16),
        "int8_static": _rules(_ONNX_INT8, _FLOAT32, bias=Layout(form="int32", per_channel=8, per_channel_deflated=0.45)),
        "int8_dynamic": _rules(_ONNX_INT8, _FLOAT32),
        "int8_weights": _rules(_ONNX_INT8, _FLOAT32),
        "int4_weights": _rules(Layout(form="int4", per_group=4), _FLOAT32, table=_ONNX_INT8),
    },
    "executorch": {
        "fp32": _rules(_FLOAT32, _FLOAT32),
        "fp16": _rules(_FLOAT16, _FLOAT16),
        "int8_static": _rules(_EXECUTORCH_INT8, _FLOAT32),
        "int8_dynamic": _rules(_EXECUTORCH_INT8, _FLOAT32),
        "int8_weights": _rules(_EXECUTORCH_INT8, _FLOAT32),
        "int4_weights": _rules(Layout(form="int4", per_group=2), _FLOAT32, table=_EXECUTORCH_INT8),
    },
    "coreml": {
        "fp32": _rules(_FLOAT32, _FLOAT32),
        "fp16": _rules(_FLOAT16, _FLOAT16),
        "int8_static": _rules(_COREML_INT8, _FLOAT16),
        "int8_dynamic": _rules(_COREML_INT8, _FLOAT16),
        "int8_weights": _rules(_COREML_INT8, _FLOAT16),
        "int4_weights": _rules(Layout(form="int4", per_group=2), _FLOAT16, table=_COREML_INT8),
    },
}


def layout_of(runtime: str, precision: Precision, role: WeightRole) -> Layout | None:
    """Returns how a format stores weights of a role, None where that is not known for this runtime and precision."""
    return _TABLE.get(runtime, {}).get(precision, {}).get(role)


def weight_precisions(analysis: Analysis, recipe: Recipe) -> Mapping[str, Precision]:
    """Returns the precision of every weight: that of the first module that uses it."""
    found: dict[str, Precision] = {}
    for operator in analysis.operators:
        for name in operator.weights:
            found.setdefault(name, recipe.precision_of(operator.module))
    return found


def store(weight: Weight, precision: Precision, runtime: str, recipe: Recipe) -> Stored | None:
    """Returns what a weight takes in a file, None where the layout is not known."""
    layout = layout_of(runtime, precision, weight.role)
    if layout is None:
        return None
    if not weight.is_float:
        ratio = weight.deflated.get("float32", 1.0)
        return Stored(values_bytes=weight.size_bytes, scales_bytes=0, deflated_bytes=weight.size_bytes * ratio)
    values = math.ceil(weight.count * _BITS[layout.form] / 8)
    groups = math.ceil(weight.count / recipe.group_size) if layout.per_group else 0
    channels = weight.channels if recipe.per_channel or weight.role == "bias" else 1
    beside = channels * layout.per_channel
    grouped = groups * layout.per_group
    # An int32 bias deflates about as its float form does.
    ratio = weight.deflated.get("float32" if layout.form == "int32" else layout.form, 1.0)
    return Stored(
        values_bytes=values,
        scales_bytes=round(beside + grouped),
        deflated_bytes=values * ratio + beside * layout.per_channel_deflated + grouped * 0.9,
    )
