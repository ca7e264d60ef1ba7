"""What was requested of an artifact: the settings that its file must show, and which of its operators may be float."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, final

from edgekit.analysis.graph import Analysis
from edgekit.errors import InputError
from edgekit.files.bounded_reading import parse_json
from edgekit.formats.float_kernels import RECURRENT_LAYER, FloatKernel, float_kernel
from edgekit.formats.table import known_format
from edgekit.recipe import Precision, Recipe, precision_named
from edgekit.validators.artifact_operators import ArtifactOperator
from edgekit.validators.layer_precisions import DEMANDS, Demand, LayerPrecisions, of_product

_NO_LAYERS: Final = LayerPrecisions()

REQUESTED_KEY: Final = "edgekit.asked"
"""Metadata entry with the settings that an artifact's precision name does not tell, as JSON."""

TECHNIQUES_KEY: Final = "edgekit.techniques"

PRECISION_KEY: Final = "edgekit.precision"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Requested:
    """What was requested of an artifact.

    Attributes:
        recipe: Precision of each part.
        io: Types of its inputs and outputs: float or int8.
        techniques: Steps before the conversion, as text; None where nobody knows.
        layers: The precisions of the layers, where they are known.
        knows_layers: False where the recipe treats layers differently and nobody can tell which operator is which.
    """

    recipe: Recipe
    io: str = "float"
    techniques: str | None = None
    layers: LayerPrecisions = _NO_LAYERS
    knows_layers: bool = True

    @property
    def wants_integers(self) -> bool:
        """True if integers were requested anywhere."""
        return any(DEMANDS[precision] > Demand.NOTHING for precision in self.recipe.precisions)

    def demands(self, operators: Sequence[ArtifactOperator], runtime: str) -> list[tuple[Demand, str]]:
        """Returns what was requested of each operator, and why the plan leaves it in float; "" where it does not."""
        found: list[tuple[Demand, str]] = []
        made = known_format(runtime)
        for operator, precision in zip(operators, self._precisions(operators), strict=True):
            row = self._float_kernel(made.float_kernels, operator, precision) if made else None
            if row is None or operator.in_integers:
                found.append((DEMANDS[precision], ""))
            else:
                found.append((min(DEMANDS[precision], Demand.STORED if row.stored else Demand.NOTHING), row.reason))
        return found

    def _float_kernel(
        self, rows: tuple[FloatKernel, ...], operator: ArtifactOperator, precision: Precision
    ) -> FloatKernel | None:
        found = float_kernel(rows, operator.kind, precision)
        if found is None and operator.weights in self.layers.recurrent:
            return float_kernel(rows, RECURRENT_LAYER, precision)
        return found

    def _precisions(self, operators: Sequence[ArtifactOperator]) -> list[Precision]:
        """Returns which precision was requested of each operator.

        An artifact's operators have no modules' names. What tells a layer is how many weights it has; among layers of
        one size the least demand falls on the operator that does least, so that no operator is blamed in doubt.
        """
        found: list[Precision] = [self._default(operator) for operator in operators]
        groups: dict[tuple[bool, int], list[int]] = defaultdict(list)
        for i, operator in enumerate(operators):
            groups[operator.weights > 0, operator.weights or operator.macs or 0].append(i)
        for (weighted, size), members in groups.items():
            known: list[Precision] = sorted(
                (self.layers.by_weights if weighted else self.layers.by_macs).get(size, ()), key=DEMANDS.__getitem__
            )
            if not known:
                continue
            # Unrolled layers come more often than they are in the model.
            least: Precision = known[0]
            known = [*(least for _ in range(len(members) - len(known))), *known]
            members.sort(key=lambda i: achieved(operators[i]))
            for i, precision in zip(members, known, strict=False):
                found[i] = precision
        return found

    def _default(self, operator: ArtifactOperator) -> Precision:
        if operator.weights:
            # Runtimes agree on little, but a convolution's type says that it is one.
            return self.recipe.precision_of((), "convolution" if "conv" in operator.kind.lower() else "matrix")
        return of_product(self.recipe.default)


def achieved(operator: ArtifactOperator) -> Demand:
    """Returns what an operator fulfils."""
    if operator.in_integers:
        return Demand.INTEGER
    return Demand.STORED if 0 < operator.weight_bits <= 8 else Demand.NOTHING


def requested_settings(
    recipe: Recipe,
    *,
    io: str = "float",
    techniques: str | None = None,
    analysis: Analysis | None = None,
) -> Requested:
    """Returns what a recipe asks of an artifact.

    Args:
        recipe: Precision of each part.
        io: Types of inputs and outputs.
        techniques: Steps before the conversion, as text; None where nobody knows.
        analysis: Analysis of the float model; without one the layers of a mixed recipe cannot be distinguished.
    """
    return Requested(
        recipe=recipe,
        io=io,
        techniques=techniques,
        layers=LayerPrecisions.from_analysis(recipe, analysis) if analysis is not None else _NO_LAYERS,
        knows_layers=analysis is not None or not recipe.tells_layers_apart,
    )


def requested_metadata(recipe: Recipe, io: str, analysis: Analysis | None = None) -> dict[str, str]:
    """Returns what is embedded in an artifact: the precision's name, and settings that are not the usual ones.

    Args:
        recipe: Precision of each part.
        io: Types of inputs and outputs.
        analysis: Analysis of the float model, where the recipe tells its layers apart: which layer got which precision
            is written down by size, so that the file alone says which of its operators may be float.
    """
    usual = Recipe(default=recipe.default).to_json()
    unusual: dict[str, Any] = {key: value for key, value in recipe.to_json().items() if value != usual[key]}
    if io != "float":
        unusual["io"] = io
    if analysis is not None and recipe.tells_layers_apart:
        unusual["layers"] = LayerPrecisions.from_analysis(recipe, analysis).to_json(recipe)
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
        table = unusual.pop("layers", None)
        layers = LayerPrecisions.from_json(table) if table is not None else None
        recipe = Recipe.from_json({"default": default, **unusual})
    except (AttributeError, TypeError, ValueError, InputError):
        recipe, io, layers = Recipe(default=default), "float", None  # somebody else's use of the key
    requested = requested_settings(recipe, io=io)
    if layers is not None:
        return replace(requested, layers=layers, knows_layers=True)
    if metadata[PRECISION_KEY].endswith("+mixed") and not recipe.overrides:
        # Made by an edgekit that did not write down which layers are float.
        return replace(requested, knows_layers=False)
    return requested


def coverage(
    operators: Iterable[ArtifactOperator], requested: Requested, runtime: str
) -> tuple[list[ArtifactOperator], list[ArtifactOperator], dict[str, list[ArtifactOperator]]]:
    """Returns what came of a request for integers, of the operators that multiply.

    Args:
        operators: All of an artifact.
        requested: What was requested of it.
        runtime: Its format: what that has no integer kernels for is float by plan.

    Returns:
        The operators that the plan gave to integers, those of them that do not fulfil it, and by reason those that the
        plan leaves in float.
    """
    listed = [operator for operator in operators if operator.multiplies]
    wanted: list[ArtifactOperator] = []
    missing: list[ArtifactOperator] = []
    planned: dict[str, list[ArtifactOperator]] = defaultdict(list)
    for operator, (demand, reason) in zip(listed, requested.demands(listed, runtime), strict=True):
        if reason and achieved(operator) >= demand:
            planned[reason].append(operator)
        elif demand > Demand.NOTHING:
            wanted.append(operator)
            missing += [operator] if achieved(operator) < demand else []
    return wanted, missing, dict(planned)
