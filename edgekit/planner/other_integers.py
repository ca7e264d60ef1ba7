"""Which other INT8 a model may get where the one that suits its family brings it too far from the float model.

What `int8` means is known by family (see `recipes`), and a single model may be none for it: a bottleneck of a few
values that differ by decades, a deep network that amplifies what the first rounding adds. The recipes that are tried
are those of the same bits that round less, in the order of what they cost on a device: other ranges cost nothing; then
come layers whose grids are found at run time, and at last integer weights with float arithmetic, which have the size
of INT8 and the speed of float.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, final

from edgekit.recipe import Precision, RangeMethod, Recipe

NEAR_DB: Final = 15.0
"""Parity from which on a recipe is left alone: the noise has 3 % of the power of the outputs."""

_GAINS_DB: Final = {True: 1.0, False: 3.0}
"""Parity that a change must gain: with the same kernels, and with others that cost more (half of the noise)."""

_ALIKE_DB: Final = 1.0
"""Difference of two parities that says nothing on a few samples."""

_ROUND_LESS: Final[tuple[Precision, ...]] = ("int8_static", "int8_hybrid", "int8_dynamic", "int8_weights")
"""Precisions of 8 bits, each rounding less than the one before it and costing more."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredRecipe:
    """A recipe and how near its outputs are to the float model's.

    Attributes:
        recipe: Precision of each part.
        parity_db: SQNR of the worst output on samples that say nothing about the choice of ranges.
        is_sound: No check of soundness fails there: no output or channel is dead, no integer output another.
    """

    recipe: Recipe
    parity_db: float
    is_sound: bool = True

    @property
    def is_near(self) -> bool:
        """True where there is nothing to mend."""
        return self.is_sound and self.parity_db >= NEAR_DB

    @property
    def is_surely_near(self) -> bool:
        """True where it is near by more than a few samples leave open."""
        return self.is_sound and self.parity_db >= NEAR_DB + _ALIKE_DB


def other_integers(recipe: Recipe) -> tuple[Recipe, ...]:
    """Returns the recipes of 8 bits that round less than this one, what costs least first; none for other bits."""
    if recipe.default not in _ROUND_LESS:
        return ()
    found: list[Recipe] = []
    if recipe.needs_calibration:
        methods: tuple[RangeMethod, ...] = ("percentile", "mse", "minmax")
        found += [replace(recipe, ranges=method) for method in methods if method != recipe.ranges]
    for precision in _ROUND_LESS[_ROUND_LESS.index(recipe.default) + 1 :]:
        made = replace(recipe, default=precision)
        if precision != "int8_hybrid":
            # Without fixed ranges there is nothing to keep a head from, and no zero point to place.
            made = replace(made, float_heads=(), symmetric_activations=False, ranges="minmax")
        found.append(made)
    return tuple(found)


def nearest(
    base: MeasuredRecipe, others: Sequence[Recipe], measure: Callable[[Recipe], MeasuredRecipe | None]
) -> tuple[MeasuredRecipe, tuple[MeasuredRecipe, ...]]:
    """Returns the recipe to take, and all that were measured.

    The first that gains enough and surely comes near is taken, so that nothing after it is made. Where none does, it is
    the cheapest of those that gain enough and are as good as the best; the base where none gains enough.

    Args:
        base: What would be made.
        others: What may be made instead, what costs least first.
        measure: Makes and runs a recipe; returns None where it cannot be made or compared.
    """
    tried: list[MeasuredRecipe] = []
    for recipe in others:
        found = measure(recipe)
        if found is None:
            continue
        tried.append(found)
        if found.is_surely_near and _is_worth_it(base, found):
            return found, tuple(tried)
    worth = [item for item in tried if _is_worth_it(base, item)]
    best = max((item.parity_db for item in worth), default=0.0)
    return next((item for item in worth if item.parity_db >= best - _ALIKE_DB), base), tuple(tried)


def _is_worth_it(base: MeasuredRecipe, other: MeasuredRecipe) -> bool:
    if base.is_sound != other.is_sound:
        return other.is_sound and other.parity_db >= base.parity_db
    same_kernels = base.recipe.default == other.recipe.default
    return other.parity_db - base.parity_db >= _GAINS_DB[same_kernels]
