"""What the words of `--precision` mean for a model: the one place that knows what INT8 is for which family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from edgekit.errors import UsageError
from edgekit.formats.table import known_format
from edgekit.model import Family
from edgekit.recipe import PRESETS, Precision, Recipe, Step

_INT8: Final[Mapping[Family, Precision]] = {
    "cnn": "int8_static",
    "mlp": "int8_static",
    # Static activations ruin attention and recurrent states; ranges found at run time do not.
    "transformer": "int8_dynamic",
    "rnn": "int8_dynamic",
    "mixed": "int8_hybrid",
    "unknown": "int8_weights",
}

_FIXED: Final[Mapping[str, Precision]] = {
    "fp32": "fp32",
    "fp16": "fp16",
    "int8-static": "int8_static",
    "int8-dynamic": "int8_dynamic",
    "int8-hybrid": "int8_hybrid",
    "int8-weights": "int8_weights",
    "int4": "int4_weights",
}

_STATIC: Final[tuple[Precision, ...]] = ("int8_static", "int8_hybrid")
"""Those whose activations have calibrated ranges."""

_DEFAULT_PRESETS: Final[Mapping[Family, tuple[str, ...]]] = {
    "cnn": ("fp32", "fp16", "int8"),
    "mlp": ("fp32", "fp16", "int8"),
    "transformer": ("fp32", "fp16", "int8", "int4"),
    "rnn": ("fp32", "fp16", "int8"),
    "mixed": ("fp32", "fp16", "int8"),
    "unknown": ("fp32", "fp16", "int8"),
}

_STEPS: Final[Mapping[Precision, str]] = {
    "fp16": "quantize_float16",
    "int8_static": "quantize_static",
    "int8_dynamic": "quantize_dynamic",
    "int8_hybrid": "quantize_hybrid",
    "int8_weights": "quantize_weights",
    "int4_weights": "quantize_weights",
    "w8a16": "quantize_static",
}


def resolve_precision(
    preset: str,
    family: Family,
    runtime: str,
    options: Mapping[str, Any] | None = None,
    *,
    dense_outputs: bool = False,
) -> Recipe:
    """Returns the recipe that a preset means for a model in a runtime.

    `int4` is about linear layers and embedding tables: converters keep convolutions at 8 bits by themselves.

    Args:
        preset: A key of `plan.PRESETS`.
        family: The model's family; decides what `int8` is.
        runtime: Decides too: not every one quantizes activations at run time.
        options: What the device's profile asks of this runtime's artifacts (`DeviceProfile.options[runtime]`).
        dense_outputs: An output says something of each of many places (`Analysis.has_dense_outputs`). Boxes and masks
            need finer steps than one decision does: single outliers do not widen the ranges then.

    Raises:
        UsageError: no such preset.
    """
    if preset not in PRESETS:
        raise UsageError(f'--precision "{preset}" is not known: accepted are {", ".join(PRESETS)}.')
    precision = _INT8[family] if preset == "int8" else _FIXED[preset]
    if preset == "int8" and precision == "int8_dynamic" and not _has_dynamic_ranges(runtime):
        precision = "int8_weights"
    wanted = dict(options or {})
    return Recipe(
        default=precision,
        ranges="percentile" if dense_outputs and precision in _STATIC else "minmax",
        per_channel=bool(wanted.get("per_channel", True)),
        symmetric_activations=bool(wanted.get("symmetric_activations", False)) and precision in _STATIC,
    )


def eight_bits_for(runtime: str) -> Precision:
    """Returns what a layer gets in a 4-bit recipe where 4 bits are too few for it: no calibrated ranges are needed."""
    return "int8_dynamic" if _has_dynamic_ranges(runtime) else "int8_weights"


def _has_dynamic_ranges(runtime: str) -> bool:
    made = known_format(runtime)
    return made is None or made.dynamic_ranges


def default_presets(family: Family, runtime: str) -> tuple[str, ...]:
    """Returns the presets that are worth a look for a family in a runtime, where the user names none."""
    presets = _DEFAULT_PRESETS[family]
    # A runtime that computes in 16-bit float gains nothing from 32.
    made = known_format(runtime)
    widest = made.float_precision if made else "fp32"
    return presets if widest == "fp32" else tuple(preset for preset in presets if preset != "fp32")


def steps_of(recipe: Recipe) -> tuple[Step, ...]:
    """Returns the recipe as the last step of a pipeline; none for 32-bit float."""
    name = _STEPS.get(recipe.default)
    if name is None:
        return ()
    settings: dict[str, Any] = {"precision": recipe.default}
    if recipe.default != "fp16":
        settings["per_channel"] = recipe.per_channel
    if recipe.needs_calibration:
        settings |= {"ranges": recipe.ranges, "symmetric_activations": recipe.symmetric_activations}
    if recipe.default == "int4_weights":
        settings["group_size"] = recipe.group_size
    return (Step(technique=name, settings=settings),)
