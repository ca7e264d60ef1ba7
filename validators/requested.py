"""What was requested of an artifact: the settings that its file must show, and which of its operators may be float."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, Final, final

from edgekit.analysis.graph import Analysis
from edgekit.errors import InputError
from edgekit.files.bounded_reading import parse_json
from edgekit.recipe import Precision, Recipe, precision_named
from edgekit.validators.artifact_operators import ArtifactOperator

REQUESTED_KEY: Final = "edgekit.asked"
"""Metadata entry with the settings that an artifact's precision name does not tell, as JSON."""

TECHNIQUES_KEY: Final = "edgekit.techniques"

PRECISION_KEY: Final = "edgekit.precision"


class Demand(IntEnum):
    """What a precision asks of an operator; more is more."""

    NOTHING = 0
    STORED = 1
    """Integer weights, in whatever arithmetic."""
    INTEGER = 2
    """Integer arithmetic."""


_DEMANDS: Final[Mapping[Precision, Demand]] = {
    "fp32": Demand.NOTHING,
    "fp16": Demand.NOTHING,
    "int8_weights": Demand.STORED,
    "int4_weights": Demand.STORED,
    "int8_dynamic": Demand.INTEGER,
    "int8_static": Demand.INTEGER,
    "w8a16": Demand.INTEGER,
}

_STATIC: Final = frozenset({"int8_static", "w8a16"})
"""Precisions that ask for integers in a product of two activations too: the others are about weights."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Requested:
    """What was requested of an artifact.

    Attributes:
        recipe: Precision of each part.
        io: Types of its inputs and outputs: float or int8.
        techniques: Steps before the conversion, as text; None where nobody knows.
        by_weights: Number of weights of a layer to the demands of the layers that have so many.
        by_macs: The same for products of two activations, by their multiply-accumulates.
        knows_layers: False where the recipe treats layers differently and nobody can tell which operator is which.
    """

    recipe: Recipe
    io: str = "float"
    techniques: str | None = None
    by_weights: Mapping[int, tuple[Demand, ...]]
    by_macs: Mapping[int, tuple[Demand, ...]]
    knows_layers: bool = True

    @property
    def wants_integers(self) -> bool:
        """True if integers were requested anywhere."""
        used: set[Precision] = {self.recipe.default, *(precision for _, precision in self.recipe.overrides)}
        return any(_DEMANDS[precision] > Demand.NOTHING for precision in used)

    def demands(self, operators: Sequence[ArtifactOperator]) -> list[Demand]:
        """Returns what was requested of each operator.

        An artifact's operators have no modules' names. What tells a layer is how many weights it has; among layers of
        one size the least demand falls on the operator that does least, so that no operator is blamed in doubt.
        """
        found = [self._default(operator) for operator in operators]
        groups: dict[tuple[bool, int], list[int]] = defaultdict(list)
        for i, operator in enumerate(operators):
            groups[operator.weights > 0, operator.weights or operator.macs or 0].append(i)
        for (weighted, size), members in groups.items():
            known = sorted((self.by_weights if weighted else self.by_macs).get(size, ()))
            if not known:
                continue
            # Unrolled layers come more often than they are in the model.
            known = [known[0]] * (len(members) - len(known)) + known
            members.sort(key=lambda i: achieved(operators[i]))
            for i, demand in zip(members, known, strict=False):
                found[i] = demand
        return found

    def _default(self, operator: ArtifactOperator) -> Demand:
        if operator.weights or self.recipe.default in _STATIC:
            return _DEMANDS[self.recipe.default]
        return Demand.NOTHING


def achieved(operator: ArtifactOperator) -> Demand:
    """Returns what an operator fulfils."""
    if operator.in_integers:
        return Demand.INTEGER
    return Demand.STORED if 0 < operator.weight_bits <= 8 else Demand.NOTHING


def requested_settings(
    recipe: Recipe, *, io: str = "float", techniques: str | None = None, analysis: Analysis | None = None
) -> Requested:
    """Returns what a recipe asks of an artifact.

    Args:
        recipe: Precision of each part.
        io: Types of inputs and outputs.
        techniques: Steps before the conversion, as text; None where nobody knows.
        analysis: Analysis of the float model; without one the layers of a mixed recipe cannot be distinguished.
    """
    by_weights, by_macs = _by_size(recipe, analysis) if analysis is not None else ({}, {})
    mixed = {recipe.default, *(precision for _, precision in recipe.overrides)} != {recipe.default}
    return Requested(
        recipe=recipe,
        io=io,
        techniques=techniques,
        by_weights=by_weights,
        by_macs=by_macs,
        knows_layers=analysis is not None or not mixed,
    )


def _by_size(recipe: Recipe, analysis: Analysis) -> tuple[dict[int, tuple[Demand, ...]], dict[int, tuple[Demand, ...]]]:
    """Returns the demands of layers by their number of weights, and of plain products by multiply-accumulates."""
    by_weights: dict[int, tuple[Demand, ...]] = defaultdict(tuple)
    by_macs: dict[int, tuple[Demand, ...]] = defaultdict(tuple)
    for operator in analysis.operators:
        precision = recipe.precision_of(operator.module)
        weights = [analysis.weights[name] for name in operator.weights]
        sizes = [weight.count for weight in weights if weight.role in ("kernel", "recurrent")]
        if not operator.macs:
            continue
        if not sizes:
            by_macs[operator.macs] += (_DEMANDS[precision] if precision in _STATIC else Demand.NOTHING,)
        # No runtime here has integer kernels for recurrent layers: what a precision asks of them is integer weights.
        demand = min(_DEMANDS[precision], Demand.STORED) if operator.kernel == "recurrent" else _DEMANDS[precision]
        # Recurrent layers are one operator here, and one for each of their matrices where a format unrolls them.
        for size in {sum(sizes), *sizes} if sizes else ():
            by_weights[size] += (demand,)
    return dict(by_weights), dict(by_macs)


def requested_metadata(recipe: Recipe, io: str) -> dict[str, str]:
    """Returns what is embedded in an artifact: the precision's name, and settings that are not the usual ones."""
    usual = Recipe(default=recipe.default).to_json()
    unusual: dict[str, Any] = {key: value for key, value in recipe.to_json().items() if value != usual[key]}
    if io != "float":
        unusual["io"] = io
    entry = {REQUESTED_KEY: json.dumps(unusual, sort_keys=True, separators=(",", ":"))} if unusual else {}
    return {PRECISION_KEY: recipe.name, **entry}


def read_requested(metadata: Mapping[str, str]) -> Requested | None:
    """Returns what an artifact says was requested of it; None for one that does not say it."""
    default = precision_named(metadata.get(PRECISION_KEY, ""))
    if default is None:
        return None
    try:
        unusual: dict[str, Any] = parse_json(metadata.get(REQUESTED_KEY, "{}"), REQUESTED_KEY)
        io = str(unusual.pop("io", "float"))
        recipe = Recipe.from_json({"default": default, **unusual})
    except (AttributeError, TypeError, InputError):
        recipe, io = Recipe(default=default), "float"  # somebody else's use of the key
    requested = requested_settings(recipe, io=io)
    if metadata[PRECISION_KEY].endswith("+mixed") and not recipe.overrides:
        # Made by an edgekit that did not write down which layers are float.
        return replace(requested, knows_layers=False)
    return requested


def missed(
    operators: Iterable[ArtifactOperator], requested: Requested
) -> tuple[list[ArtifactOperator], list[ArtifactOperator]]:
    """Returns (operators of which integers were requested, those of them that do not fulfil it)."""
    listed = [operator for operator in operators if operator.multiplies]
    demands = requested.demands(listed)
    wanted = [(operator, demand) for operator, demand in zip(listed, demands, strict=True) if demand > Demand.NOTHING]
    return [item for item, _ in wanted], [item for item, demand in wanted if achieved(item) < demand]
