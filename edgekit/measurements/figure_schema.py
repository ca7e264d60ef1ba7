"""What all records of edgekit share: figures, checks, hashes, and how a record is read with every fault at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic_core import PydanticCustomError
from typing_extensions import Self

from edgekit.budget import Level, cost_of
from edgekit.checks import Basis, ShownVerdict, Verdict
from edgekit.errors import EdgekitError
from edgekit.files.bounded_reading import read_json
from edgekit.files.faults import FAULT, describe_file_faults, find_faults
from edgekit.recipe import Precision

Finite = Annotated[float, Field(allow_inf_nan=False)]
Bytes = Annotated[int, Field(ge=0, lt=1 << 63)]
Text = Annotated[str, StringConstraints(min_length=1)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

_WHOLE_PERCENT: Final = 100 + 1e-6
"""Shares are sums of floats."""

NUMBER: Final = "a finite number"
NUMBER_OR_NULL: Final = "a finite number, or null"
BYTES: Final = "a whole number of bytes"
HASH: Final = "64 hexadecimal digits"
TEXT: Final = "text"


class Record(BaseModel):
    """A part of a record. Later versions of edgekit may add keys: what this one does not know, it passes over."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)


class PartialRecord(Record):
    """A part of a record that is taken as it is: the defaults of keys that it need not have are not added to it."""


def fault(sentence: str) -> PydanticCustomError:
    """Returns the error for a fault that is already a sentence."""
    return PydanticCustomError(FAULT, "{sentence}", {"sentence": sentence})


def check_cost_name(name: str) -> str:
    """Returns the unit of a cost, by the name that a record gives.

    Raises:
        PydanticCustomError: this edgekit knows no cost of that name.
    """
    try:
        return cost_of(name).unit
    except KeyError:
        raise fault(f'"{name}" was given as a check\'s name; this edgekit knows no such check') from None


class BandRecord(Record):
    """A number with its band. The number may lie outside of it: a bootstrapped interval need not hold its estimate."""

    value: Finite | None = Field(description=NUMBER_OR_NULL)
    low: Finite | None = Field(None, description=NUMBER_OR_NULL)
    high: Finite | None = Field(None, description=NUMBER_OR_NULL)
    unit: str = Field(description="a unit: bytes, ms, pp, dB, % or nothing")

    @model_validator(mode="after")
    def _has_a_band(self) -> Self:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise fault(f"low {self.low:g} is above high {self.high:g}")
        return self


class FigureRecord(BandRecord):
    """A figure that was predicted, measured or imported."""

    basis: Basis = Field("measured", description="predicted, measured or imported")

    @model_validator(mode="after")
    def _lies_in_its_domain(self) -> Self:
        found = [x for x in (self.value, self.low, self.high) if x is not None]
        if self.unit in self._units_from_zero() and found and min(found) < 0:
            raise fault(f"{min(found):g} {self.unit} was given; expected a number that is not negative")
        return self

    def _units_from_zero(self) -> tuple[str, ...]:
        # Not "%": an artifact's own metric, a correlation for one, may be negative.
        return ("bytes", "ms")


class NamedFigureRecord(FigureRecord):
    """A figure with the name of its cost."""

    name: str = Field(description="the name of a check, such as size")

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        unit = check_cost_name(self.name)
        if unit == "%" and self._is_share() and self.value is not None and self.value > _WHOLE_PERCENT:
            raise fault(f"{self.value:g} % was given; expected at most 100 %")
        return self

    def _is_share(self) -> bool:
        # A metric of the user's may return any number.
        return not self.name.endswith("_change") and self.name != "accuracy"

    def _units_from_zero(self) -> tuple[str, ...]:
        if self.name.endswith("_change"):
            return ()
        return ("bytes", "ms", "%") if self._is_share() else ("bytes", "ms")


class CheckRecord(NamedFigureRecord):
    """A check."""

    verdict: Verdict = Field(description="pass, fail, inconclusive or not_run")
    shown_as: ShownVerdict | None = Field(None, description="pass, warn, fail, inconclusive or not measured")
    limit: Finite | None = Field(description=NUMBER_OR_NULL)
    measured_on: str = Field("", description=TEXT)
    limit_from: str = Field("", description=TEXT)
    level: Level = Field("error", description="error or warn")
    detail: str = Field("", description=TEXT)
    runtime: str = Field("", description=TEXT)

    @model_validator(mode="after")
    def _has_a_figure_where_it_was_run(self) -> Self:
        if self.value is None and self.verdict in ("pass", "inconclusive"):
            raise fault(f'the verdict "{self.verdict}" has no figure: value is null')
        if self.value is not None and self.verdict == "not_run":
            raise fault(f'the verdict "not_run" has a figure: {self.value:g}')
        return self


class PredictionRecord(BandRecord):
    """A prediction."""

    name: str = Field(description="the name of a cost, such as size")
    basis: str = Field(description="where the prediction comes from")


class StepRecord(Record):
    """One step of a pipeline."""

    technique: Text = Field(description="the name of a technique")
    settings: dict[str, Any] = Field(description="an object with the technique's settings")


class RecipeRecord(Record):
    """A precision recipe."""

    default: Precision = Field(description="a precision, such as int8_static")
    overrides: list[list[str]] = Field([], description="a list of pairs: a module's name and a precision")
    ranges: Literal["minmax", "percentile", "mse"] = Field("minmax", description="minmax, percentile or mse")
    per_channel: bool = Field(True, description="true or false")
    symmetric_activations: bool = Field(False, description="true or false")
    group_size: Annotated[int, Field(ge=1)] = Field(32, description="a whole number of at least 1")
    float_heads: list[Annotated[int, Field(ge=0)]] = Field([], description="a list of positions of outputs, from 0")


def read_record(
    path: Path, schema: type[BaseModel], error: type[EdgekitError], *, what: str, advice: str, missing: str
) -> dict[str, Any]:
    """Returns the JSON object in a record that edgekit wrote.

    Args:
        path: The file.
        schema: Its form; a field `schema_version` says which versions are read.
        error: What to raise.
        what: What the file should be, for messages: "a report of edgekit export".
        advice: What to do where it is not.
        missing: The message where there is no such file.

    Raises:
        EdgekitError: none there, no JSON, another version, or every fault that was found in it.
    """
    try:
        data: object = read_json(path, error)
    except FileNotFoundError:
        raise error(missing) from None
    except error as cause:
        raise error(f"{cause.message} {advice}") from None
    version = data.get("schema_version") if isinstance(data, Mapping) else None
    accepted = schema.model_fields["schema_version"].annotation
    expected = accepted.__args__[0] if accepted is not None else 1
    if not isinstance(data, dict) or type(version) is not int or version != expected:
        raise error(
            f"{path}: not {what} that this edgekit reads (schema_version {version!r}, expected {expected}). {advice}"
        )
    return check_record(path, data, schema, error, advice)


def check_record(
    path: Path, data: Mapping[str, Any], schema: type[BaseModel], error: type[EdgekitError], advice: str
) -> dict[str, Any]:
    """Returns a record that was read, with the defaults of the keys that it need not have.

    Raises:
        EdgekitError: every fault that was found in it.
    """
    try:
        completed: dict[str, Any] = _with_defaults(data, schema.model_validate(data))
    except ValidationError as found:
        raise error(describe_file_faults(path, find_faults(found, schema), advice)) from None
    return completed


def _with_defaults(data: Any, checked: Any) -> Any:
    """Returns JSON data with what the schema adds to it. Keys that the schema does not know stay."""
    if isinstance(checked, PartialRecord):
        return data
    if isinstance(checked, BaseModel):
        known = {key: _with_defaults(data.get(key), getattr(checked, key)) for key in type(checked).model_fields}
        return {**data, **known}
    if isinstance(checked, (list, tuple)) and isinstance(data, list):
        return [_with_defaults(one, other) for one, other in zip(data, checked, strict=True)]
    return checked if data is None else data


class RejectionRecord(Record):
    """A candidate that the planner rejected."""

    candidate: str = Field(description=TEXT)
    reason: str = Field(description=TEXT)
