"""From measured layers and the budget to a recipe of mixed precision: what each choice costs, and what may be spent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from edgekit.analysis.graph import Analysis
from edgekit.budget import Budget
from edgekit.formats.table import find_format
from edgekit.planner.candidates import with_predictions
from edgekit.planner.mixed_precision import Choice, Layer, solve, with_precisions
from edgekit.planner.plan import LayerLoss
from edgekit.profiles.profile import DeviceProfile
from edgekit.recipe import Candidate, Precision

ADDITIVE: Final = ("size", "download", "memory", "latency")
"""Costs that are sums over operators, as far as the predictions are concerned."""

FLOAT_WORK: Final = "work in float"
"""Stands for latency where that is limited and cannot be predicted: MACs in float, of which a tenth may be kept."""

_FLOAT_WORK_SHARE: Final = 0.1
_ATTEMPTS: Final = 3  # memory is a sum only nearly: where the whole breaks a limit, that limit is tightened

_TIE: Final = 0.01
"""Weight of all noise together against all that the metric loses."""

_NOISE: Final = "noise"
"""Name of the noise where it is what is limited."""

_WORTH_IT: Final = 1.25  # times less noise, 1 dB: below that a plain recipe is better for being simple


def precisions_to_mix(candidates: Sequence[Candidate], runtime: str) -> tuple[Precision, ...]:
    """Returns the precisions that layers may have beside the base recipe's: integers first, float last."""
    four_bits: tuple[Precision, ...] = ("int4_weights",)
    offered = any(c.runtime == runtime and c.recipe.default == "int4_weights" for c in candidates)
    return (*(four_bits if offered else ()), find_format(runtime).float_precision)


def is_integer(precision: Precision) -> bool:
    """Returns True if a precision rounds to integers: only these add noise that is worth measuring."""
    return precision not in ("fp32", "fp16")


def losses_by_metric(losses: Sequence[LayerLoss]) -> tuple[LayerLoss, ...]:
    """Returns the losses with what the task's metric loses in the place of noise, where it was measured.

    Noise is a share of the outputs' power: in an output of boxes in pixels and scores it says nothing about the scores.
    What the metric loses decides, and noise between layers that lose the same.

    Args:
        losses: Of all layers; `points` of those that gain are 0.
    """
    points = sum(max(0.0, item.points or 0.0) for item in losses if item.metric)
    noise = sum(item.noise for item in losses)
    if points <= 0 or noise <= 0:
        return tuple(losses)
    return tuple(
        replace(item, noise=max(0.0, item.points or 0.0) / points + _TIE * item.noise / noise) for item in losses
    )


def search(
    losses: Sequence[LayerLoss],
    base: Candidate,
    others: Sequence[Precision],
    budget: Budget,
    analysis: Analysis,
    profile: DeviceProfile,
) -> Candidate | None:
    """Returns the recipe with the least loss that keeps the budget, None where it is no other than a plain one.

    The loss is that of the task's metric where it was measured for each layer, else the noise.

    Args:
        losses: Noise of each module in each integer precision.
        base: The candidate of one precision to start from.
        others: Precisions that layers may have instead; the float one adds no noise.
        budget: Limits; those that only warn count too.
        analysis: The model's costed graph.
        profile: The device.
    """
    layers = _layers(losses_by_metric(losses), base, others, analysis, profile)
    limits = _limits(base, budget, layers)
    if not limits:
        return None  # nothing speaks against float
    for _ in range(_ATTEMPTS):
        picked = solve(layers, limits)
        if picked is None:
            return None
        precisions: dict[str, Precision] = {
            layer.module: choice.precision for layer, choice in zip(layers, picked, strict=True)
        }
        before = sum(layer.choices[0].noise for layer in layers)
        after = sum(choice.noise for choice in picked)
        if len(set(precisions.values())) < 2 or (after > 0 and before / after < _WORTH_IT):
            return None
        recipe = with_precisions(base.recipe, precisions)
        made = with_predictions(Candidate(runtime=base.runtime, recipe=recipe), analysis, profile)
        excess = _excess(made, budget)
        if not excess:
            return made
        limits = {name: limit - excess.get(name, 0.0) for name, limit in limits.items()}
    return None


def search_smallest(
    losses: Sequence[LayerLoss],
    base: Candidate,
    above: Precision,
    allowed: float,
    analysis: Analysis,
    profile: DeviceProfile,
) -> Candidate | None:
    """Returns the smallest recipe of two precisions whose noise is allowed, None where it is no other than a plain one.

    Args:
        losses: Noise of each module in both precisions.
        base: The candidate in the precision of fewer bits.
        above: What layers keep that would add too much noise.
        allowed: Largest sum of the layers' noise.
        analysis: The model's costed graph.
        profile: The device.
    """
    layers = _layers(losses, base, (above,), analysis, profile)
    # The program of `solve` turned round: bytes are what it keeps small, and noise is what it may spend.
    turned = [
        replace(
            layer,
            choices=tuple(
                Choice(precision=choice.precision, noise=choice.costs["size"], costs={_NOISE: choice.noise})
                for choice in layer.choices
            ),
        )
        for layer in layers
    ]
    picked = solve(turned, {_NOISE: allowed})
    if picked is None:
        return None
    precisions: dict[str, Precision] = {
        layer.module: choice.precision for layer, choice in zip(layers, picked, strict=True)
    }
    if len(set(precisions.values())) < 2:
        return None
    recipe = with_precisions(base.recipe, precisions)
    return with_predictions(Candidate(runtime=base.runtime, recipe=recipe), analysis, profile)


def expected_points(noise: float, margins: Sequence[float] | None) -> float | None:
    """Returns how many of 100 decisions noise on the scores is expected to change.

    With independent Gaussian noise of power `noise` on each score, the best two change places with the probability
    P = erfc(m / (2 sigma)) / 2, sigma = sqrt(noise), m their distance; both in units of the scores' root mean square.

    Args:
        noise: Noise power over signal power.
        margins: Distance of the best two scores of each sample; None where the metric is not about the best score.
    """
    if not margins:
        return None
    sigma = math.sqrt(max(noise, 1e-30))
    return 100 * sum(math.erfc(margin / (2 * sigma)) / 2 for margin in margins) / len(margins)


def _layers(
    losses: Sequence[LayerLoss],
    base: Candidate,
    others: Sequence[Precision],
    analysis: Analysis,
    profile: DeviceProfile,
) -> list[Layer]:
    noise = {(item.module, item.precision): item.noise for item in losses}
    macs: dict[str, int] = {}
    for operator in analysis.operators:
        macs[operator.module] = macs.get(operator.module, 0) + operator.macs
    layers: list[Layer] = []
    fixed = dict(base.recipe.overrides)  # layers before heads that stay float
    for module in dict.fromkeys(item.module for item in losses if item.precision == base.recipe.default):
        if module not in macs:
            continue  # the costed graph does not know it: its cost is not known
        if module in fixed:
            layers.append(Layer(module=module, choices=(_choice(fixed[module], 0.0, base, base, 0),)))
            continue
        choices = [_choice(base.recipe.default, noise[module, base.recipe.default], base, base, 0)]
        for precision in others:
            is_float = not is_integer(precision)
            if is_integer(precision) and (module, precision) not in noise:
                continue
            recipe = with_precisions(base.recipe, {**fixed, module: precision})
            alone = with_predictions(Candidate(runtime=base.runtime, recipe=recipe), analysis, profile)
            own = 0.0 if is_float else noise[module, precision]
            choices.append(_choice(precision, own, alone, base, macs[module] if is_float else 0))
        layers.append(Layer(module=module, choices=tuple(choices)))
    return layers


def _choice(precision: Precision, noise: float, alone: Candidate, base: Candidate, float_macs: int) -> Choice:
    costs = {name: _value(alone, name) - _value(base, name) for name in ADDITIVE}
    return Choice(precision=precision, noise=noise, costs={**costs, FLOAT_WORK: float(float_macs)})


def _value(candidate: Candidate, name: str) -> float:
    found = candidate.prediction(name)
    return found.value if found is not None and found.value is not None else 0.0


def _limits(base: Candidate, budget: Budget, layers: Sequence[Layer]) -> dict[str, float]:
    """Returns what may be spent beyond the base candidate, by cost: the upper end of a band has to keep the limit."""
    limits: dict[str, float] = {}
    for name in ADDITIVE:
        limit, found = budget.get(name), base.prediction(name)
        if limit is None:
            continue
        if found is not None and found.value is not None:
            upper = max(found.value, found.high or found.value)
            # Where the band of the base alone crosses the limit, only its value can be held to it.
            share = found.value / upper if upper <= limit.value and upper > 0 else 1.0
            limits[name] = limit.value * share - found.value
        elif name == "latency":
            work = sum(max(choice.costs[FLOAT_WORK] for choice in layer.choices) for layer in layers)
            limits[FLOAT_WORK] = _FLOAT_WORK_SHARE * work
    return limits


def _excess(made: Candidate, budget: Budget) -> dict[str, float]:
    """Returns by how much the whole breaks limits that the sum of its parts keeps."""
    return {
        name: limit.excess(_value(made, name))
        for name in ADDITIVE
        if (limit := budget.get(name)) is not None and limit.excess(_value(made, name)) > 0
    }
