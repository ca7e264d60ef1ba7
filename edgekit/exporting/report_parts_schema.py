"""The forms of the parts of `report.json` that are shown and not judged: hosts, data, machines, stages."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from edgekit.measurements.figure_schema import (
    HASH,
    NUMBER_OR_NULL,
    TEXT,
    Finite,
    PartialRecord,
    check_cost_name,
    fault,
)
from edgekit.metrics.item_scores import unpack_scores

Count = Annotated[int, Field(ge=0)]
COUNT = "a whole number"
MOST_SCORES: Final = 100_000_000
_TRUTH = "true, false or null"


class SliceRecord(PartialRecord):
    """A part of the evaluation data, and what the artifact loses on it."""

    name: str = Field(description=TEXT)
    count: Count = Field(description=COUNT)
    drop: Finite | None = Field(description=NUMBER_OR_NULL)
    low: Finite | None = Field(description=NUMBER_OR_NULL)
    high: Finite | None = Field(description=NUMBER_OR_NULL)
    detectable: Finite | None = Field(None, description=NUMBER_OR_NULL)


class ScoresRecord(PartialRecord):
    """What each item contributed to the metric (see `metrics.item_scores`)."""

    kind: Literal["bits", "float32"] = Field(description="bits or float32")
    count: Annotated[int, Field(ge=0, le=MOST_SCORES)] = Field(description=COUNT)
    zlib_base64: str = Field(description="scores, compressed, in base64")

    @model_validator(mode="after")
    def _can_be_read(self) -> ScoresRecord:
        try:
            unpack_scores(self.model_dump())
        except ValueError as error:
            raise fault(f"the scores cannot be read: {error}") from None
        return self


class AccuracyRecord(PartialRecord):
    """The artifact's own value of the metric."""

    metric: str = Field(description="the name of a metric")
    value: Finite | None = Field(description=NUMBER_OR_NULL)
    count: Count = Field(description=COUNT)
    items: ScoresRecord | None = Field(None, description="an object with kind, count and zlib_base64, or null")


class HostRecord(PartialRecord):
    """What was measured on the host: it is part of what `figures_sha256` is about, so nothing is added to it."""

    runtime: str = Field("", description=TEXT)
    slices: list[SliceRecord] = Field([], description="a list of slices")
    accuracy: AccuracyRecord | None = Field(None, description="an object about the metric, or null")
    median_ms: Finite | None = Field(None, description=NUMBER_OR_NULL)


class ComparisonRecord(PartialRecord):
    """A prediction beside what was measured."""

    name: str = Field(description="the name of a check, such as size")
    unit: str = Field(description="a unit: bytes, ms, pp, dB, % or nothing")
    predicted: Finite = Field(description="a number")
    low: Finite | None = Field(description=NUMBER_OR_NULL)
    high: Finite | None = Field(description=NUMBER_OR_NULL)
    measured: Finite | None = Field(description=NUMBER_OR_NULL)
    error: Finite | None = Field(description=NUMBER_OR_NULL)
    error_percent: Finite | None = Field(description=NUMBER_OR_NULL)
    in_band: bool | None = Field(description=_TRUTH)
    overlaps: bool | None = Field(None, description=_TRUTH)
    basis: str = Field(description=TEXT)

    @model_validator(mode="after")
    def _is_known(self) -> ComparisonRecord:
        check_cost_name(self.name)
        if self.measured is not None and self.error is None:
            raise fault(f"{self.measured:g} was measured, and error is null")
        return self


class DataPartRecord(PartialRecord):
    """The calibration or evaluation data."""

    items: Count = Field(description=COUNT)
    sha256: str = Field(description=HASH)


class DataRecord(PartialRecord):
    """`data`: what the export was calibrated and judged on."""

    metric: str | None = Field(None, description="the name of a metric, or null")
    calibration: DataPartRecord | None = Field(None, description="an object with items and sha256, or null")
    evaluation: DataPartRecord | None = Field(None, description="an object with items and sha256, or null")


class FindingRecord(PartialRecord):
    """What the lint has found in the calibration data."""

    rule: str = Field(description=TEXT)
    message: str = Field(description=TEXT)


class ValuesRecord(PartialRecord):
    """The values of an input."""

    low: Finite | None = Field(description=NUMBER_OR_NULL)
    high: Finite | None = Field(description=NUMBER_OR_NULL)
    mean: Finite | None = Field(description=NUMBER_OR_NULL)
    deviation: Finite | None = Field(description=NUMBER_OR_NULL)


class InputValuesRecord(PartialRecord):
    """The values of an input in both kinds of data."""

    name: str = Field(description=TEXT)
    calibration: ValuesRecord | None = Field(description="an object with low, high, mean and deviation, or null")
    evaluation: ValuesRecord | None = Field(description="an object with low, high, mean and deviation, or null")


class CalibrationRecord(PartialRecord):
    """`calibration`: what the lint says about the calibration data."""

    samples: Count = Field(description=COUNT)
    sha256: str = Field(description=HASH)
    findings: list[FindingRecord] = Field(description="a list of findings")
    inputs: list[InputValuesRecord] = Field(description="a list of inputs")
    classes_compared: bool = Field(description="true or false")


class EnvironmentRecord(PartialRecord):
    """`environment`: the machine and the packages."""

    python: str = Field("", description=TEXT)
    system: str = Field("", description=TEXT)
    packages: dict[str, str] = Field({}, description="an object from a package's name to its version")


class StageRecord(PartialRecord):
    """One stage of a pipeline."""

    name: str = Field(description=TEXT)
    parameters: Count = Field(description=COUNT)
    macs: Count = Field(description=COUNT)
    size_bytes: Count | None = Field(description="a whole number, or null")
    download_bytes: Count | None = Field(description="a whole number, or null")
    size_basis: str = Field(description=TEXT)
    value: Finite | None = Field(description=NUMBER_OR_NULL)
    drop: Finite | None = Field(description=NUMBER_OR_NULL)
    low: Finite | None = Field(description=NUMBER_OR_NULL)
    high: Finite | None = Field(description=NUMBER_OR_NULL)
    parity_db: Finite | None = Field(description=NUMBER_OR_NULL)
    seconds: Finite | None = Field(description=NUMBER_OR_NULL)
    cached: bool = Field(description="true or false")
    reason: str = Field(description=TEXT)


class StageTableRecord(PartialRecord):
    """The stages of one pipeline of techniques."""

    metric: str = Field(description=TEXT)
    stages: list[StageRecord] = Field(description="a list of stages")
    sentence: str = Field(description=TEXT)
    warning: str = Field(description=TEXT)
