"""Which precision each layer was given, in the only terms by which an artifact's operators can be told apart: sizes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import groupby
from typing import Any, Final, final

from edgekit.analysis.graph import Analysis
from edgekit.analysis.operator_precisions import analysis_precisions
from edgekit.errors import InputError
from edgekit.recipe import PRECISIONS, Precision, Recipe


class Demand(IntEnum):
    """What a precision asks of an operator; more is more."""

    NOTHING = 0
    STORED = 1
    """Integer weights, in whatever arithmetic."""
    INTEGER = 2
    """Integer arithmetic."""


DEMANDS: Final[Mapping[Precision, Demand]] = {
    "fp32": Demand.NOTHING,
    "fp16": Demand.NOTHING,
    "int8_weights": Demand.STORED,
    "int4_weights": Demand.STORED,
    "int8_dynamic": Demand.INTEGER,
    "int8_hybrid": Demand.INTEGER,
    "int8_static": Demand.INTEGER,
    "w8a16": Demand.INTEGER,
}


_MANY: Final = 1_000_000
"""Layers of one size that a file may speak of: what says more was not written by edgekit."""

_BySize = Mapping[int, tuple[Precision, ...]]

_STATIC: Final = frozenset({"int8_static", "w8a16"})


def of_product(precision: Precision) -> Precision:
    """Returns what a precision asks of a product of two activations: all but the static ones are about weights."""
    return precision if precision in _STATIC else "fp32"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPrecisions:
    """The precisions of a model's layers.

    Attributes:
        by_weights: Number of weights of a layer to the precisions of the layers that have so many.
        by_macs: The same for products of two activations, by their multiply-accumulates.
        recurrent: Numbers of weights of the matrices that recurrent layers have.
    """

    by_weights: _BySize = field(default_factory=dict[int, tuple[Precision, ...]])
    by_macs: _BySize = field(default_factory=dict[int, tuple[Precision, ...]])
    recurrent: frozenset[int] = frozenset()

    @staticmethod
    def from_analysis(recipe: Recipe, analysis: Analysis) -> LayerPrecisions:
        """Returns what a recipe gives to the layers of a float model."""
        by_weights, by_macs = _by_size(recipe, analysis)
        return LayerPrecisions(by_weights=by_weights, by_macs=by_macs, recurrent=_recurrent_sizes(analysis))

    def to_json(self, recipe: Recipe) -> dict[str, Any]:
        """Returns what the recipe's default does not say already, in a form that `from_json` reads."""
        usual: set[Precision] = {recipe.precision_of((), "convolution"), recipe.precision_of((), "matrix")}
        products: set[Precision] = {of_product(recipe.default)}
        tables = {"weights": (self.by_weights, usual), "macs": (self.by_macs, products)}
        found: dict[str, Any] = {}
        for name, (table, default) in tables.items():
            if unusual := {str(size): _counted(x) for size, x in sorted(table.items()) if set(x) != default}:
                found[name] = unusual
        if self.recurrent:
            found["recurrent"] = sorted(self.recurrent)
        return found

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> LayerPrecisions:
        """Returns what `to_json` wrote.

        Raises:
            InputError: something else.
        """
        return LayerPrecisions(
            by_weights=_read(data.get("weights", {})),
            by_macs=_read(data.get("macs", {})),
            recurrent=frozenset(int(size) for size in data.get("recurrent", ())),
        )


def _counted(precisions: tuple[Precision, ...]) -> list[list[Any]]:
    return [[precision, len(list(group))] for precision, group in groupby(sorted(precisions))]


def _read(table: Mapping[str, list[tuple[Precision, int]]]) -> _BySize:
    rows = [row for rows in table.values() for row in rows]
    if any(precision not in PRECISIONS for precision, _ in rows) or sum(int(count) for _, count in rows) > _MANY:
        raise InputError("The artifact's table of layers was not written by edgekit.")
    found: dict[int, tuple[Precision, ...]] = {}
    for size, counted in table.items():
        precisions: list[Precision] = []
        for precision, count in counted:
            precisions.extend(precision for _ in range(int(count)))
        found[int(size)] = tuple(precisions)
    return found


def _by_size(
    recipe: Recipe, analysis: Analysis
) -> tuple[dict[int, tuple[Precision, ...]], dict[int, tuple[Precision, ...]]]:
    """Returns the precisions of layers by their number of weights, and of plain products by multiply-accumulates."""
    by_weights: dict[int, tuple[Precision, ...]] = defaultdict(tuple)
    by_macs: dict[int, tuple[Precision, ...]] = defaultdict(tuple)
    precisions = analysis_precisions(analysis, recipe)
    for operator in analysis.operators:
        precision = precisions[operator.name]
        weights = [analysis.weights[name] for name in operator.weights]
        kernels = [weight for weight in weights if weight.role in ("kernel", "recurrent")]
        sizes = [weight.count for weight in kernels]
        if not operator.macs:
            continue
        if not sizes:
            by_macs[operator.macs] += (of_product(precision),)
        # No runtime here has integer kernels for recurrent layers: what a precision asks of them is integer weights.
        if operator.kernel == "recurrent" and DEMANDS[precision] > Demand.STORED:
            precision = "int8_weights"
        # Recurrent layers are one operator here, and one for each of their matrices where a format unrolls them.
        halves = {weight.count for weight in kernels if weight.is_narrow_recurrent}
        for size in {sum(sizes), *sizes} if sizes else ():
            by_weights[size] += ("fp16" if size in halves else precision,)
    return dict(by_weights), dict(by_macs)


def _recurrent_sizes(analysis: Analysis) -> frozenset[int]:
    """Returns how many weights the matrices of recurrent layers have."""
    layers = [operator for operator in analysis.operators if operator.kernel == "recurrent"]
    weights = [analysis.weights[name] for operator in layers for name in operator.weights]
    return frozenset(weight.count for weight in weights if weight.role == "recurrent")
