"""What a weight takes in a format's file under each precision: the part of a file's size that is exact.

How a format stores weights is written in its descriptor (`formats.stored_bytes`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

from edgekit.analysis.graph import Analysis, KernelClass, Weight, WeightRole
from edgekit.analysis.operator_precisions import analysis_precisions
from edgekit.formats.stored_bytes import FLOAT16, Layout, Storage
from edgekit.formats.table import known_format
from edgekit.recipe import Precision, Recipe


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


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """How a weight is used first: by which kernel, in which precision."""

    precision: Precision
    kernel: KernelClass


def storage_of(runtime: str) -> Storage | None:
    """Returns how a format stores a model, None where nobody has declared it."""
    found = known_format(runtime)
    return found.storage if found else None


def weight_uses(analysis: Analysis, recipe: Recipe) -> Mapping[str, Use]:
    """Returns how each weight is used, by name."""
    found: dict[str, Use] = {}
    precisions = analysis_precisions(analysis, recipe)
    for operator in analysis.operators:
        use = Use(precision=precisions[operator.name], kernel=operator.kernel)
        for name in operator.weights:
            found.setdefault(name, use)
    return found


def layout_of(runtime: str, use: Use, role: WeightRole) -> Layout | None:
    """Returns how a format stores a weight, None where that is not known for this runtime and precision."""
    storage = storage_of(runtime)
    rules = storage.layouts.get(use.precision) if storage else None
    if rules is None:
        return None
    if role == "bias" and use.kernel == "recurrent":
        # No runtime here has integer recurrent kernels with calibrated ranges: their biases stay float.
        return rules["constant"]
    special = {"depthwise_conv": _DEPTHWISE, "linear": _LINEAR}.get(use.kernel, "") if role == "kernel" else ""
    return rules.get(special) or rules.get(role)


def store(weight: Weight, use: Use, runtime: str, recipe: Recipe) -> Stored | None:
    """Returns what a weight takes in a file, None where the layout is not known."""
    storage, layout = storage_of(runtime), layout_of(runtime, use, weight.role)
    if storage is None or layout is None:
        return None
    group = _group(weight, layout, recipe)
    if _must_change(weight, layout, group, storage):
        layout = FLOAT16 if weight.role == "recurrent" else storage.layouts[use.precision]["kernel"]
    if layout is None:
        return None
    if not weight.is_float:
        ratio = weight.deflated.get("float32", 1.0)
        return Stored(values_bytes=weight.size_bytes, scales_bytes=0, deflated_bytes=weight.size_bytes * ratio)
    count = weight.count if storage.keeps_unread else round(weight.count * weight.read_share)
    values = math.ceil(count * _BITS[layout.form] / 8)
    groups = math.ceil(count / group) if layout.per_group and group else 0
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


def _group(weight: Weight, layout: Layout, recipe: Recipe) -> int | None:
    """Returns how many columns share a scale, None where rows of a table do not fill groups."""
    if layout.group_size is None and weight.role == "table":
        return recipe.table_group(_columns(weight))
    return layout.group_size or recipe.group_size


def _must_change(weight: Weight, layout: Layout, group: int | None, storage: Storage) -> bool:
    """Returns True if a weight's own shape speaks against its layout (see `Storage`)."""
    if layout.per_group and layout.group_size is None:
        return group is None or (not storage.fills_groups and _columns(weight) % group != 0)
    return storage.narrow_recurrent_halves and layout.form == "int8" and weight.is_narrow_recurrent


def _columns(weight: Weight) -> int:
    return weight.count // max(1, weight.channels)


def four_bit_work(analysis: Analysis, recipe: Recipe, runtime: str) -> float | None:
    """Returns the share of multiply-accumulates whose weights a format stores in 4 bits, None if unknown."""
    storage = storage_of(runtime)
    if storage is None:
        return None
    uses = weight_uses(analysis, recipe)
    narrow = total = 0
    for operator in analysis.operators:
        total += operator.macs
        layouts = [
            (analysis.weights[name], layout_of(runtime, uses[name], analysis.weights[name].role))
            for name in operator.weights
        ]
        if any(
            x is not None and x.form == "int4" and not _must_change(w, x, _group(w, x, recipe), storage)
            for w, x in layouts
        ):
            narrow += operator.macs
    return narrow / total if total else 0.0
