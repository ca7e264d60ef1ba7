"""What may bring an integer recipe nearer to the float model with calibration data alone, and how such changes combine.

A rescue is a technique before the quantization that trains nothing, or another way to choose ranges. None of them
changes what an artifact costs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, final

from edgekit.planner.recipes import steps_of
from edgekit.planner.technique_order import PLACES
from edgekit.recipe import Candidate, RangeMethod, Step

GAIN_DB: Final = 0.3
"""Gain below which another change is not worth its time: repeated simulations of other samples differ by as much."""

_INTEGER: Final = ("int8_static", "int8_hybrid", "int8_dynamic", "int8_weights", "int4_weights", "w8a16")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Rescue:
    """One change, or several together.

    Attributes:
        steps: Techniques before the quantization, in the order of `technique_order`.
        ranges: How ranges are chosen; None leaves the recipe's way.
    """

    steps: tuple[Step, ...] = ()
    ranges: RangeMethod | None = None

    @property
    def title(self) -> str:
        """Returns `equalize + round_weights:method=gptq + ranges=mse`."""
        words = [*map(str, self.steps), *([f"ranges={self.ranges}"] if self.ranges else [])]
        return " + ".join(words) or "nothing"

    def applied_to(self, candidate: Candidate) -> Candidate:
        """Returns the candidate with these changes; its predictions are kept."""
        recipe = replace(candidate.recipe, ranges=self.ranges or candidate.recipe.ranges)
        return replace(candidate, recipe=recipe, steps=(*candidate.techniques, *self.steps, *steps_of(recipe)))


def possible_rescues(candidate: Candidate) -> tuple[Rescue, ...]:
    """Returns the single changes that could help a candidate's precision; whether the model allows them is not asked.

    Rounding that is learned by gradient descent (`blocks`, which starts from what `gptq` finds) takes ten times as long
    as the rest together, and at 8 bits finds hardly more than `gptq`: it is for 4 bits.
    """
    precision, recipe = candidate.recipe.default, candidate.recipe
    if precision not in _INTEGER:
        return ()
    narrow = {"bits": 4, "group_size": recipe.group_size} if precision == "int4_weights" else {}
    changes = [Rescue(steps=(Step(technique="equalize"),)), Rescue(steps=(Step(technique="smooth_activations"),))]
    if recipe.needs_calibration:
        changes += [Rescue(ranges=method) for method in _other_ranges(recipe.ranges)]
    for method in ("gptq", "blocks") if narrow else ("gptq",):
        changes.append(Rescue(steps=(Step(technique="round_weights", settings={"method": method, **narrow}),)))
    return tuple(changes)


def joined(first: Rescue, second: Rescue) -> Rescue | None:
    """Returns both changes together, None where they are about the same thing."""
    if first.ranges and second.ranges:
        return None
    names = {step.technique for step in first.steps}
    if any(step.technique in names for step in second.steps):
        return None
    steps = sorted((*first.steps, *second.steps), key=lambda step: PLACES[step.technique])
    return Rescue(steps=tuple(steps), ranges=first.ranges or second.ranges)


def worth_joining(gains: Iterable[tuple[Rescue, float]]) -> tuple[Rescue, ...]:
    """Returns the changes that help by themselves, what helps most first.

    Args:
        gains: Each with what it gains in dB.
    """
    helpful = [(rescue, gain) for rescue, gain in gains if gain >= GAIN_DB]
    return tuple(rescue for rescue, _ in sorted(helpful, key=lambda item: -item[1]))


def _other_ranges(used: RangeMethod) -> tuple[RangeMethod, ...]:
    methods: tuple[RangeMethod, ...] = ("minmax", "mse", "percentile")
    return tuple(method for method in methods if method != used)
