"""Plans: which techniques, in which order, which precision for which part of the model, for which runtime."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, Final, Literal, final, get_args

from edgekit.errors import InputError

Precision = Literal[
    "fp32", "fp16", "int8_static", "int8_dynamic", "int8_hybrid", "int8_weights", "int4_weights", "w8a16"
]
"""How one module computes and stores:

fp32, fp16        float
int8_static       integer weights (a scale per channel) and integer activations with calibrated ranges
int8_dynamic      integer weights, activations quantized at run time by their own range
int8_hybrid       decided operator by operator: int8_static for convolutions and what only moves or combines their
                  results, int8_dynamic for linear layers, recurrent layers and tables, float for the rest
int8_weights      integer weights, float arithmetic (embedding tables too)
int4_weights      4-bit weights in groups (linear layers and embedding tables), float or dynamic arithmetic
w8a16             integer weights, 16-bit integer activations
"""

PRECISIONS: Final[tuple[Precision, ...]] = get_args(Precision)

OperatorKind = Literal["convolution", "matrix", "follower", "other"]
"""What tells one operator's precision from another's inside a hybrid recipe:

convolution  transposed ones included
matrix       linear layers, recurrent layers, embedding tables
follower     has no weights, and computes only from results of convolutions and other followers
other        the rest: attention, norms, whatever reads a float value
"""

_HYBRID: Final[Mapping[OperatorKind, Precision]] = {
    "convolution": "int8_static",
    "matrix": "int8_dynamic",
    "follower": "int8_static",
    "other": "fp32",
}

PRESETS: Final[Mapping[str, str]] = {
    "fp32": "32-bit float",
    "fp16": "16-bit float",
    "int8": "the INT8 that suits the model: static for convolutions, dynamic for transformers and recurrent models, "
    "hybrid for mixed ones",
    "int8-static": "integer weights and calibrated integer activations",
    "int8-dynamic": "integer weights, activations quantized at run time",
    "int8-hybrid": "convolutions as with int8-static, linear and recurrent layers as with int8-dynamic",
    "int8-weights": "integer weights, float arithmetic",
    "int4": "4-bit weights in groups",
}
"""What `--precision` accepts. One grammar: bits, then how activations are treated."""

Effort = Literal["quick", "default", "thorough"]
"""How much is run for a plan: nothing, simulations, simulations and exports of the finalists."""

EFFORTS: Final[tuple[Effort, ...]] = get_args(Effort)

Preference = Literal["balanced", "accuracy", "size", "speed"]
"""What a plan prefers among candidates that fit."""

PREFERENCES: Final[tuple[Preference, ...]] = get_args(Preference)

_TABLE_GROUPS: Final = (64, 32)
"""Columns of an embedding table that share a scale at 4 bits, the first that its rows fill: what all runtimes take."""

RangeMethod = Literal["minmax", "percentile", "mse"]

PredictionEvidence = Literal["computed", "expected", "simulated", "measured"]
"""How a prediction is known:

computed   from the model's graph
expected   from what other models lost in this repository's benchmarks
simulated  the recipe was simulated on the task's calibration data
measured   the artifact was made and run
"""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Which precision each part of the model gets, and how ranges are found.

    Attributes:
        default: Precision of every module that no override names.
        overrides: (module name pattern with * and ?, precision), the first match wins.
        ranges: How an activation's range is chosen from its calibration statistics.
        per_channel: Weights have a scale per output channel; False gives one scale for the tensor.
        symmetric_activations: Zero point 0 and signed activations, as TensorRT asks for.
        group_size: Columns that share a scale in int4_weights.
        float_heads: Positions of the outputs whose head stays float: all that lies between the last layers with weights
            and the output, where boxes are decoded and joined with scores (see `analysis.output_heads`).
    """

    default: Precision = "fp32"
    overrides: tuple[tuple[str, Precision], ...] = ()
    ranges: RangeMethod = "minmax"
    per_channel: bool = True
    symmetric_activations: bool = False
    group_size: int = 32
    float_heads: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """The preset's spelling of the default precision, `+mixed` where overrides change it: for files and tables."""
        base = {"int4_weights": "int4"}.get(self.default, self.default.replace("_", "-"))
        return f"{base}+mixed" if self._is_mixed else base

    @property
    def _is_mixed(self) -> bool:
        return any(precision != self.default for _, precision in self.overrides)

    @property
    def tells_layers_apart(self) -> bool:
        """True if only the model tells which layer has which precision: overrides, or a head that stays float."""
        return self._is_mixed or bool(self.float_heads)  # such a head may hold the small layer of an expectation

    @property
    def precisions(self) -> frozenset[Precision]:
        """The precisions that operators may get; a hybrid one stands for those of its operators."""
        named: set[Precision] = {self.default, *(precision for _, precision in self.overrides)}
        if "int8_hybrid" in named:
            named |= {"int8_static", "int8_dynamic"}
        return frozenset(named - {"int8_hybrid"})

    @property
    def needs_calibration(self) -> bool:
        """True if some part has activations with fixed integer ranges."""
        return bool(self.precisions & {"int8_static", "w8a16"})

    def precision_of(self, names: str | Iterable[str], kind: OperatorKind) -> Precision:
        """Returns the precision of an operator; never `int8_hybrid`.

        Args:
            names: Dotted name of the module that it lies in, or of all of them; the first override that fits one wins.
            kind: What it is.
        """
        precision = self.word_of(names)
        return _HYBRID[kind] if precision == "int8_hybrid" else precision

    def word_of(self, names: str | Iterable[str]) -> Precision:
        """Returns the recipe's own word for an operator in these modules, `int8_hybrid` included."""
        modules = (names,) if isinstance(names, str) else tuple(names)
        for pattern, precision in self.overrides:
            if any(fnmatchcase(module, pattern) for module in modules):
                return precision
        return self.default

    def table_group(self, columns: int) -> int | None:
        """Returns how many columns of an embedding table share a scale at 4 bits, None where rows do not fill groups.

        A table that is read row by row loses less than a layer that sums: its groups are larger, its scales fewer.

        Args:
            columns: Of the table.
        """
        return next((size for size in _TABLE_GROUPS if columns % size == 0), None)

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form."""
        return {
            "default": self.default,
            "overrides": [list(item) for item in self.overrides],
            "ranges": self.ranges,
            "per_channel": self.per_channel,
            "symmetric_activations": self.symmetric_activations,
            "group_size": self.group_size,
            "float_heads": list(self.float_heads),
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Recipe:
        """Returns the recipe that `to_json` wrote.

        Raises:
            InputError: a precision that edgekit does not know.
        """
        overrides = tuple((str(pattern), precision) for pattern, precision in data.get("overrides", ()))
        for precision in (data["default"], *(item[1] for item in overrides)):
            if precision not in PRECISIONS:
                raise InputError(f'plan: "{precision}" is not a precision: accepted are {", ".join(PRECISIONS)}.')
        return Recipe(
            default=data["default"],
            overrides=overrides,
            ranges=data.get("ranges", "minmax"),
            per_channel=data.get("per_channel", True),
            symmetric_activations=data.get("symmetric_activations", False),
            group_size=data.get("group_size", 32),
            float_heads=tuple(int(position) for position in data.get("float_heads", ())),
        )


def precision_named(name: str) -> Precision | None:
    """Returns the default precision that a recipe's name speaks of: `int8_static` for `int8-static+mixed`."""
    base = name.partition("+")[0].replace("-", "_")
    base = {"int4": "int4_weights"}.get(base, base)
    by_text: dict[str, Precision] = {precision: precision for precision in PRECISIONS}
    return by_text.get(base)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a pipeline: a technique and its settings, as they are shown and stored."""

    technique: str
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def is_recipe(self) -> bool:
        """True for the last step, which stands for the recipe: the converter carries it out."""
        return self.technique.startswith("quantize")

    def __str__(self) -> str:
        """The form in which `--technique` takes it: `round_weights:method=gptq,bits=8`."""
        settings = ",".join(f"{name}={value}" for name, value in self.settings.items())
        return f"{self.technique}:{settings}" if settings else self.technique

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form."""
        return {"technique": self.technique, "settings": dict(self.settings)}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A value that was computed and not measured.

    Attributes:
        name: A key of `budget.COSTS`.
        value: In `unit`; None where nothing honest can be said (then `basis` says why).
        low: Lower end of the 90 % band.
        high: Upper end of the 90 % band.
        unit: As in `budget.COSTS`.
        basis: Where the value comes from, for people.
        evidence: Where it comes from, in one word.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    unit: str
    basis: str
    evidence: PredictionEvidence = "computed"

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form."""
        return {
            "name": self.name,
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "unit": self.unit,
            "basis": self.basis,
            "evidence": self.evidence,
        }


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A candidate that was rejected, and the reason: the budget that it broke and by how much."""

    candidate: str
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form."""
        return {"candidate": self.candidate, "reason": self.reason}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One way to export: a format, a recipe, the steps before it, and what it is predicted to cost.

    Attributes:
        runtime: The format.
        recipe: Precision of each part.
        steps: What is done, in order, the quantization included.
        predictions: What it is predicted to cost.
        technique_points: What its techniques are expected to lose beside the recipe, in percentage points.
    """

    runtime: str
    recipe: Recipe
    steps: tuple[Step, ...] = ()
    predictions: tuple[Prediction, ...] = ()
    technique_points: float = 0.0

    @property
    def title(self) -> str:
        """Short words for a table: `tflite int8-static`, with the techniques before it."""
        words = [step.technique for step in self.techniques]
        return " + ".join([*words, f"{self.runtime} {self.recipe.name}"])

    @property
    def techniques(self) -> tuple[Step, ...]:
        """The steps that change the float model before the converter realises the recipe."""
        return tuple(step for step in self.steps if not step.is_recipe)

    def better_known(self, predictions: Iterable[Prediction]) -> Candidate:
        """Returns the candidate with these predictions in the place of those of the same cost."""
        by_name = {item.name: item for item in predictions}
        return replace(self, predictions=tuple(by_name.get(item.name, item) for item in self.predictions))

    def prediction(self, name: str) -> Prediction | None:
        """Returns the prediction of the cost `name`, or None."""
        return next((item for item in self.predictions if item.name == name), None)
