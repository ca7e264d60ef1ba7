"""Mixed precision: which precision each layer gets, so that the expected loss is least and the budgets are kept.

With x[m, p] = 1 where module m has precision p, this is the integer program

    minimise    sum over m, p of  noise[m, p] * x[m, p]
    subject to  sum over p of  x[m, p] = 1                            for each module m
                sum over m, p of  cost[c, m, p] * x[m, p] <= limit[c]  for each limited cost c

Errors of layers are independent to a first order, so their powers add up at the outputs, and the least sum of powers is
the least loss, whatever the metric (Dong et al., "HAWQ-V2", 2020, section 3; Hubara et al., "Accurate Post Training
Quantization With Small Calibration Sets", 2021, section 4, has the same program). HiGHS solves it exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.recipe import Precision, Recipe

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SLACK: Final = 1e-9
"""Share of a limit that the solver's arithmetic may be off by. Its tolerance is 1e-6, so limits are tightened by it."""

_TOLERANCE: Final = 1e-6


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One precision that a module may have.

    Attributes:
        precision: The precision.
        noise: What it adds to the noise of the outputs, as a share of their power.
        costs: Cost name to what it costs, in any unit that adds up over the modules.
    """

    precision: Precision
    noise: float
    costs: Mapping[str, float]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A module and the precisions that it may have."""

    module: str
    choices: tuple[Choice, ...]


def solve(layers: Sequence[Layer], limits: Mapping[str, float]) -> tuple[Choice, ...] | None:
    """Returns the choice for each layer with the least total noise, or None where nothing keeps the limits.

    Args:
        layers: At least one choice each.
        limits: Cost name to the largest sum over all layers; costs without a limit are free.
    """
    if not layers:
        return () if all(limit >= 0 for limit in limits.values()) else None
    import numpy as np
    from scipy.optimize import Bounds, LinearConstraint, milp

    every = [(i, choice) for i, layer in enumerate(layers) for choice in layer.choices]
    noise = np.array([choice.noise for _, choice in every])
    one_each = np.zeros((len(layers), len(every)))
    one_each[[i for i, _ in every], range(len(every))] = 1
    constraints = [LinearConstraint(one_each, 1, 1)]
    for name, limit in limits.items():
        row, bound = _scaled(np.array([choice.costs[name] for _, choice in every]), limit)
        constraints.append(LinearConstraint(row[None, :], -np.inf, bound))
    found: Any = milp(
        # Noise powers lie near 1e-6, below what the solver takes for zero.
        noise / (noise.max() or 1.0),
        integrality=np.ones(len(every)),
        bounds=Bounds(0, 1),
        constraints=constraints,
        options={"mip_rel_gap": 0.0},
    )
    if found.x is None:
        return None
    picked = np.flatnonzero(found.x > 0.5)
    return tuple(every[k][1] for k in picked)


def _scaled(row: NDArray[np.float64], limit: float) -> tuple[NDArray[np.float64], float]:
    """Returns a constraint in numbers near 1, tightened by the solver's tolerance so that the limit itself is kept."""
    scale = float(abs(row).max()) or 1.0
    return row / scale, limit / scale * (1 + _SLACK if limit >= 0 else 1 - _SLACK)


def with_precisions(recipe: Recipe, precisions: Mapping[str, Precision]) -> Recipe:
    """Returns a recipe whose modules have these precisions.

    A name stands for a module and for what lies inside it, and the first match wins. So inner modules come first, and a
    module of the default precision is named too where it lies inside one that differs.
    """
    differing = {module for module, precision in precisions.items() if precision != recipe.default}
    named = [
        module
        for module in precisions
        if module in differing or any(module.startswith(f"{outer}.") for outer in differing)
    ]
    named.sort(key=lambda module: (-module.count("."), list(precisions).index(module)))
    return replace(recipe, overrides=tuple((_literal(module), precisions[module]) for module in named))


def _literal(module: str) -> str:
    """Returns a pattern that matches this name only."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in module)
