"""How each format stores a weight under each precision: the part of a file's size that is exact.

Every format keeps weights as raw bytes and puts what integers need beside them: a scale per output channel, often a
zero point, sometimes a scale and a zero point for the bias too. These rules follow the formats' schemas and what our
converters write; `benchmarks/size_prediction.py` compares them with real files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

from edgekit.analysis.graph import Analysis, KernelClass, StorageForm, Weight, WeightRole
from edgekit.recipe import Precision, Recipe

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
        per_group: Bytes per group of columns.
        group_size: Columns of a group; None for `Recipe.group_size`, and then rows that groups do not fill stay 8 bits.
    """

    form: StorageForm | str
    per_channel: float = 0.0
    per_channel_deflated: float = 0.9
    per_group: float = 0.0
    group_size: int | None = None


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
_WIDENED: Final = Layout(form="float16_as_float32")

_BITS: Final[Mapping[str, float]] = {
    "float32": 32,
    "float16_as_float32": 32,
    "int32": 32,
    "float16": 16,
    "int8": 8,
    "int4": 4,
}

_DEPTHWISE: Final = "depthwise"
_LINEAR: Final = "linear"
"""Kernels of these operators, where a format treats them unlike other kernels."""


def _rules(matrices: Layout, loose: Layout, **special: Layout | None) -> Mapping[str, Layout | None]:
    """Returns the layout by what a weight is for: matrices, loose values, and what is special."""
    return {
        **dict.fromkeys(("kernel", "recurrent", "table"), matrices),
        **dict.fromkeys(("bias", "norm", "constant"), loose),
        **special,
    }


# TFLite: a scale (float32) and a zero point (int64) per channel in the tensor's quantization record, and such a
# record for
# the int32 bias of integer kernels too. 4 bits: fully connected layers only, a float16 scale per group.
_TFLITE_INT8: Final = Layout(form="int8", per_channel=12, per_channel_deflated=0.31)
_TFLITE_BIAS: Final = Layout(form="int32", per_channel=12, per_channel_deflated=0.31)
# ONNX: scale (float32) and zero point (int8) initializers per channel; an integer bias has a scale and an int32 zero
# point. Dynamic linear layers keep each channel's sum too; weights-only ones are MatMulNBits in blocks of 32.
_ONNX_INT8: Final = Layout(form="int8", per_channel=5, per_channel_deflated=0.73)
_ONNX_BIAS: Final = Layout(form="int32", per_channel=8, per_channel_deflated=0.45)
# ExecuTorch: a float32 scale per channel in XNNPACK's delegate, for the int32 bias too. Its dynamic
# kernels know no depthwise convolution and nothing recurrent: those weights stay float.
_EXECUTORCH_INT8: Final = Layout(form="int8", per_channel=4)
_EXECUTORCH_BIAS: Final = Layout(form="int32", per_channel=4)
# Core ML: a scale per channel (float16) and an int8 zero point, in the weight file.
_COREML_INT8: Final = Layout(form="int8", per_channel=3, per_channel_deflated=0.62)

_TABLE: Final[Mapping[str, Mapping[Precision, Mapping[str, Layout | None]]]] = {
    "tflite": {
        "fp32": _rules(_FLOAT32, _FLOAT32),
        # Biases and constants stay float32: only weights are read through DEQUANTIZE.
        "fp16": _rules(_FLOAT16, _FLOAT32),
        # Unrolled recurrent layers are quantized in parts: how much of them is not known before.
        "int8_static": _rules(_TFLITE_INT8, _FLOAT32, bias=_TFLITE_BIAS, recurrent=None),
        "int8_dynamic": _rules(_TFLITE_INT8, _FLOAT32),
        "int8_weights": _rules(_TFLITE_INT8, _FLOAT32),
        "int4_weights": _rules(_TFLITE_INT8, _FLOAT32, linear=Layout(form="int4", per_group=2)),
    },
    "onnx": {
        "fp32": _rules(_FLOAT32, _FLOAT32),
        "fp16": _rules(_FLOAT16, _FLOAT16),
        "int8_static": _rules(_ONNX_INT8, _FLOAT32, bias=_ONNX_BIAS),
        "int8_dynamic": _rules(_ONNX_INT8, _FLOAT32, linear=Layout(form="int8", per_channel=8)),
        "int8_weights": _rules(_ONNX_INT8, _FLOAT32, linear=Layout(form="int8", per_group=4, group_size=32)),
        "int4_weights": _rules(_ONNX_INT8, _FLOAT32, linear=Layout(form="int4", per_group=4)),
    },
    "executorch": {
        "fp32": _rules(_FLOAT32, _FLOAT32),
        # XNNPACK's delegate keeps 4 bytes for convolutions that were rounded to float16: the file hardly shrinks.
        "fp16": _rules(_WIDENED, _WIDENED, table=_FLOAT16, linear=_FLOAT16),
        "int8_static": _rules(_EXECUTORCH_INT8, _FLOAT32, bias=_EXECUTORCH_BIAS, recurrent=_FLOAT32),
        "int8_dynamic": _rules(_EXECUTORCH_INT8, _FLOAT32, recurrent=_FLOAT32, depthwise=_FLOAT32),
        "int4_weights": _rules(
            _EXECUTORCH_INT8, _FLOAT32, recurrent=_FLOAT32, depthwise=_FLOAT32, linear=Layout(form="int4", per_group=2)
        ),
    },
    "coreml": {
        "fp32": _rules(_FLOAT32, _FLOAT32),
        "fp16": _rules(_FLOAT16, _FLOAT16),
        "int8_static": _rules(_COREML_INT8, _FLOAT16),
        "int8_dynamic": _rules(_COREML_INT8, _FLOAT16),
        "int8_weights": _rules(_COREML_INT8, _FLOAT16),
        "int4_weights": _rules(_COREML_INT8, _FLOAT16, linear=Layout(form="int4", per_group=2)),
    },
}
"""Runtime, precision, what the weight is for. What is missing is not known, and then nothing is predicted."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """How a weight is used first: by which kernel, in which precision."""

    precision: Precision
    kernel: KernelClass


def weight_uses(analysis: Analysis, recipe: Recipe) -> Mapping[str, Use]:
    """Returns how each weight is used, by name."""
    found: dict[str, Use] = {}
    for operator in analysis.operators:
        use = Use(precision=recipe.precision_of(operator.module), kernel=operator.kernel)
        for name in operator.weights:
            found.setdefault(name, use)
    return found


def layout_of(runtime: str, use: Use, role: WeightRole) -> Layout | None:
    """Returns how a format stores a weight, None where that is not known for this runtime and precision."""
    rules = _TABLE.get(runtime, {}).get(use.precision)
    if rules is None:
        return None
    if role == "bias" and use.kernel == "recurrent":
        # No runtime here has integer recurrent kernels with calibrated ranges: their biases stay float.
        return rules["constant"]
    special = {"depthwise_conv": _DEPTHWISE, "linear": _LINEAR}.get(use.kernel, "") if role == "kernel" else ""
    return rules.get(special) or rules.get(role)


def store(weight: Weight, use: Use, runtime: str, recipe: Recipe) -> Stored | None:
    """Returns what a weight takes in a file, None where the layout is not known."""
    layout = layout_of(runtime, use, weight.role)
    if layout is not None and _must_change(weight, layout, runtime, recipe):
        layout = _FLOAT16 if weight.role == "recurrent" else _TABLE[runtime][use.precision]["kernel"]
    if layout is None:
        return None
    if not weight.is_float:
        ratio = weight.deflated.get("float32", 1.0)
        return Stored(values_bytes=weight.size_bytes, scales_bytes=0, deflated_bytes=weight.size_bytes * ratio)
    # ExecuTorch slices when it runs, the other converters when they convert.
    count = weight.count if runtime == "executorch" else round(weight.count * weight.read_share)
    values = math.ceil(count * _BITS[layout.form] / 8)
    groups = math.ceil(count / (layout.group_size or recipe.group_size)) if layout.per_group else 0
    channels = weight.channels if recipe.per_channel or weight.role == "bias" else 1
    beside = channels * layout.per_channel
    grouped = groups * layout.per_group
    # An int32 bias deflates about as its float form does.
    ratio = weight.deflated.get("float32" if layout.form == "int32" else layout.form, 1.0)
    return Stored(
        values_bytes=values,
        scales_bytes=round(beside + grouped),
        deflated_bytes=values * ratio
        + beside * layout.per_channel_deflated
        + grouped * weight.deflated.get("int4_scales", 1.0),
    )


def _must_change(weight: Weight, layout: Layout, runtime: str, recipe: Recipe) -> bool:
    """Returns True if a weight's own shape speaks against its layout.

    Groups that do not fill a row leave it at 8 bits. Recurrent input weights of few columns stay half floats in ONNX:
    features of very different size would share a row's scale.
    """
    if layout.per_group and layout.group_size is None and runtime != "onnx":
        return (weight.count // max(1, weight.channels)) % recipe.group_size != 0
    is_narrow = len(weight.shape) > 1 and 8 * weight.shape[-1] < weight.shape[-2]
    return runtime == "onnx" and weight.role == "recurrent" and layout.form == "int8" and is_narrow


def four_bit_work(analysis: Analysis, recipe: Recipe, runtime: str) -> float | None:
    """Returns the share of multiply-accumulates whose weights a format stores in 4 bits, None if unknown."""
    if runtime not in RUNTIMES:
        return None
    uses = weight_uses(analysis, recipe)
    narrow = total = 0
    for operator in analysis.operators:
        total += operator.macs
        layouts = [
            (analysis.weights[name], layout_of(runtime, uses[name], analysis.weights[name].role))
            for name in operator.weights
        ]
        if any(x is not None and x.form == "int4" and not _must_change(w, x, runtime, recipe) for w, x in layouts):
            narrow += operator.macs
    return narrow / total if total else 0.0
