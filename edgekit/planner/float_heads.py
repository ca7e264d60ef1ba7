"""Heads that stay float in recipes of static INT8, what they are kept for, and what that costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, final

from edgekit.analysis.graph import Analysis
from edgekit.formats.table import find_format
from edgekit.planner.mixed_precision import with_precisions
from edgekit.predict.latency import predict_latency
from edgekit.profiles.profile import DeviceProfile
from edgekit.recipe import Candidate, Precision, Recipe

_STATIC: Final[tuple[Precision, ...]] = ("int8_static", "int8_hybrid")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FloatHead:
    """The head of one output that integers would ruin.

    Attributes:
        position: Position of the output.
        output: Name of the output.
        decodes: Its joints and its decoding stay float; False where only `layers` do.
        layers: Modules of layers that stay float, for one grid would leave some of their channels hardly any values.
        why: What was found, a clause.
    """

    position: int
    output: str
    decodes: bool
    layers: tuple[str, ...]
    why: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class KeptHead:
    """A head that a chosen recipe keeps in float.

    Attributes:
        output: Name of the output.
        why: What was found, a clause.
        layers: Modules of layers that are float for it.
        latency_ms: What that is predicted to cost on the device; None where it cannot be predicted.
        latency_share: The same over the latency of the recipe in integers throughout.
    """

    output: str
    why: str
    layers: tuple[str, ...] = ()
    latency_ms: float | None = None
    latency_share: float | None = None


def with_float_heads(recipe: Recipe, runtime: str, heads: Sequence[FloatHead]) -> Recipe:
    """Returns the recipe with these heads in float; as it is where it has no activations with fixed ranges."""
    if recipe.default not in _STATIC:
        return recipe
    precision = find_format(runtime).float_precision
    layers: dict[str, Precision] = {module: precision for head in heads for module in head.layers}
    positions = tuple(head.position for head in heads if head.decodes)
    # Without layers the recipe keeps its name: a head has no weights to speak of.
    changed = with_precisions(recipe, layers) if layers else recipe
    return replace(changed, float_heads=positions)


def kept_heads(
    chosen: Candidate, heads: Sequence[FloatHead], analysis: Analysis, profile: DeviceProfile
) -> tuple[KeptHead, ...]:
    """Returns the heads that a candidate keeps in float, each with what it costs."""
    recipe = chosen.recipe
    if recipe.default not in _STATIC:
        return ()
    kept: list[KeptHead] = []
    for head in heads:
        names = set(head.layers)
        integers = replace(
            recipe,
            float_heads=tuple(position for position in recipe.float_heads if position != head.position),
            overrides=tuple(item for item in recipe.overrides if item[0] not in names),
        )
        before, after = (_latency_ms(analysis, item, chosen.runtime, profile) for item in (integers, recipe))
        cost = None if before is None or after is None else max(0.0, after - before)
        share = cost / before if cost is not None and before else None
        kept.append(
            KeptHead(output=head.output, why=head.why, layers=head.layers, latency_ms=cost, latency_share=share)
        )
    return tuple(kept)


def _latency_ms(analysis: Analysis, recipe: Recipe, runtime: str, profile: DeviceProfile) -> float | None:
    return predict_latency(analysis, recipe, runtime, profile.latency_model, profile.name)[0].value
