"""The variants of a search: every combination of the parameters' values, and which of them are worth training."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from edgekit.errors import ConfigError
from edgekit.task.references import Value
from edgekit.task.task import SearchSpace

GRID_LIMIT: Final = 256
"""Variants that are captured at most: each takes a second or more before anything is trained."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One combination of values.

    Attributes:
        name: For files: `width8-depth1`.
        arguments: Parameter names with one value each, in the task file's order.
    """

    name: str
    arguments: tuple[tuple[str, Value], ...]

    @property
    def title(self) -> str:
        """For people: `width=8 depth=1`."""
        return " ".join(f"{name}={value}" for name, value in self.arguments)


def variants_of(space: SearchSpace) -> tuple[Variant, ...]:
    """Returns every combination of the space's values, the last parameter moving first.

    Raises:
        ConfigError: there are more than GRID_LIMIT.
    """
    count = math.prod(len(values) for _, values in space.parameters)
    if count > GRID_LIMIT:
        product = " x ".join(f"{len(values)} ({name})" for name, values in space.parameters)
        raise ConfigError(
            f"[search] has {product} = {count:,} variants; at most {GRID_LIMIT} are looked at. Give fewer values."
        )
    names = [name for name, _ in space.parameters]
    combinations = itertools.product(*(values for _, values in space.parameters))
    return _named([tuple(zip(names, values, strict=True)) for values in combinations])


def _named(combinations: Sequence[tuple[tuple[str, Value], ...]]) -> tuple[Variant, ...]:
    """Returns the variants with names that a file may have; equal ones, as `a/b` and `a b` give, get a number."""
    made: dict[str, Variant] = {}
    for arguments in combinations:
        words = [re.sub(r"[^A-Za-z0-9._-]+", "_", f"{name}{value}") for name, value in arguments]
        base = name = "-".join(words)
        number = 2
        while name in made:
            name, number = f"{base}-{number}", number + 1
        made[name] = Variant(name=name, arguments=arguments)
    return tuple(made.values())


def spread(costs: Sequence[float], count: int) -> tuple[int, ...]:
    """Returns the indices of `count` items spread evenly over the order of their costs, the dearest always among them.

    Args:
        costs: One an item.
        count: How many to keep; all of them where there are no more.
    """
    order = sorted(range(len(costs)), key=lambda index: (costs[index], index))
    if count >= len(order):
        return tuple(range(len(order)))
    if count == 1:
        return (order[-1],)
    last = len(order) - 1
    return tuple(sorted(order[round(step * last / (count - 1))] for step in range(count)))
