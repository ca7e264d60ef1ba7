"""Floors that no sound artifact breaks, whatever its task's metric says, by the precision of the artifact."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from edgekit.budget import SOUNDNESS_SOURCE, Limit
from edgekit.recipe import Recipe, precision_named

_FLOOR_DB: Final[Mapping[str, float]] = {"fp32": 60.0, "fp16": 35.0, "int4_weights": 4.0}
"""SQNR against the float model. Sound files lie far above: 100 dB in fp32, 50 in fp16, 20 and more in INT8."""

_INTEGER_FLOOR_DB: Final = 6.0

_EQUAL_PERCENT: Final[Mapping[str, float]] = {"fp32": 99.9, "fp16": 99.0}
"""Integer outputs. Not 100: where two scores are as good as equal, another order of sums picks the other class."""

_INTEGER_EQUAL_PERCENT: Final = 90.0


def sound_limit(name: str, precisions: Iterable[str]) -> Limit:
    """Returns the limit of a check of soundness where no budget sets one.

    Args:
        name: parity_floor, integer_outputs, outputs_alive, evidence or model_digest.
        precisions: Precisions in use, keys of `recipe.PRECISIONS`; the loosest decides. None known is the loosest.
    """
    used = set(precisions) or {"int4_weights"}
    values = {
        "parity_floor": min(_FLOOR_DB.get(precision, _INTEGER_FLOOR_DB) for precision in used),
        "integer_outputs": min(_EQUAL_PERCENT.get(precision, _INTEGER_EQUAL_PERCENT) for precision in used),
        "outputs_alive": 100.0,
        "evidence": 0.0,
        "model_digest": 0.0,
    }
    return Limit(name=name, value=values[name], source=SOUNDNESS_SOURCE)


def precisions_of(recipe: Recipe) -> tuple[str, ...]:
    """Returns the precisions that a recipe uses."""
    return tuple(recipe.precisions)


def precisions_named(name: str) -> tuple[str, ...]:
    """Returns the precisions that the name of a recipe speaks of; none where it is unknown."""
    found = precision_named(name)
    return (found,) if found else ()


def is_float(precisions: Iterable[str]) -> bool:
    """Returns True where everything is stored and computed in float."""
    used = set(precisions)
    return bool(used) and used <= {"fp32", "fp16"}
