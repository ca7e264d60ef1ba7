"""The form of `search.json`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from edgekit.measurements.figure_schema import (
    BYTES,
    HASH,
    TEXT,
    Bytes,
    CheckRecord,
    Digest,
    Finite,
    PredictionRecord,
    RecipeRecord,
    Record,
    Text,
)
from edgekit.planner.plan_schema import PlanLimit


class MetricRecord(Record):
    """What the metric gave."""

    float: Finite | None = Field(None, description="a number, or null")
    artifact: Finite | None = Field(None, description="a number, or null")


class HostRecord(Record):
    """What was measured on the host that searched."""

    ratio_to_reference: Finite | None = Field(None, description="a number, or null")
    measured_on: str = Field("not known", description=TEXT)


class VariantModel(Record):
    """The trained model of a variant."""

    name: str = Field("", description=TEXT)
    source: str = Field("", description=TEXT)
    parameters: Annotated[int, Field(ge=0)] = Field(0, description="a whole number")
    macs: Annotated[int, Field(ge=0)] | None = Field(description="a whole number, or null")


class TrainedRecord(Record):
    """How a variant was trained."""

    epochs: Annotated[int, Field(ge=0)] = Field(description="a whole number")
    held_out: dict[str, Finite | None] = Field(description="an object with figures on held-out batches")
    seconds: Finite = Field(description="a number")


class MeasuredVariant(Record):
    """What was measured of a variant."""

    artifact: dict[str, Any] | None = Field(description="an object about the artifact, or null")
    size_bytes: Bytes = Field(description=BYTES)
    download_bytes: Bytes = Field(description=BYTES)
    sha256: Digest = Field(description=HASH)
    accuracy: MetricRecord = Field(description="an object about the metric")
    checks: list[CheckRecord] = Field(description="a list of checks")
    host: HostRecord = Field(description="an object with what was measured on this host")


class NetworkRecord(Record):
    """What a variant and the reference share."""

    name: str = Field(description="its arguments in words; empty for the reference")
    arguments: dict[str, Any] = Field(description="an object with the factory's arguments")
    fate: str = Field(description="what became of it")
    reason: str = Field(description=TEXT)
    on_front: bool = Field(description="true or false")
    passed: bool = Field(description="true or false")
    model: VariantModel | None = Field(description="an object about the model, or null")
    predicted: list[PredictionRecord] = Field(description="a list of predictions")
    trained: TrainedRecord | None = Field(description="an object about its training, or null")


class Variant(NetworkRecord):
    """One variant of the search."""

    measured: MeasuredVariant | None = Field(description="an object with what was measured, or null")


class MeasuredReference(NetworkRecord):
    """The reference: it is measured before any variant is trained."""

    measured: MeasuredVariant = Field(description="an object with what was measured")


class RungRecord(Record):
    """One rung of the halving."""

    trials: Annotated[int, Field(ge=0)] = Field(description="a whole number")
    epochs: Annotated[int, Field(ge=0)] = Field(description="a whole number")


class EvaluationRecord(Record):
    """The evaluation data."""

    items: Annotated[int, Field(ge=0)] = Field(description="a whole number")


class DataRecord(Record):
    """What the search was judged on."""

    evaluation: EvaluationRecord | None = Field(None, description="an object about the evaluation data, or null")


class SearchFile(Record):
    """`search.json`."""

    schema_version: Literal[1] = Field(description="1, the only schema that this edgekit reads")
    device: str = Field(description="the name of a device profile")
    device_title: str = Field(description=TEXT)
    runtime: Text = Field(description="tflite, onnx, executorch or coreml")
    precision: Text = Field(description="a precision's name, such as int8-static")
    recipe: RecipeRecord = Field(description="an object with the precision of each part")
    metric: str = Field(description="a metric's name")
    recommended: str | None = Field(description="the name of a variant, or null")
    limits: list[PlanLimit] = Field(description="a list of limits")
    parameters: dict[str, list[Any]] = Field(description="an object from a parameter to its values")
    bindings: dict[str, list[str]] = Field(description="an object from a parameter to its roles")
    passed: bool = Field(description="true or false")
    rungs: list[RungRecord] = Field(description="a list of rungs")
    notes: list[str] = Field(description="a list of sentences")
    reference: MeasuredReference = Field(description="an object about the reference")
    variants: list[Variant] = Field(description="a list of variants")
    data: DataRecord = Field(description="an object about the data")
    environment: dict[str, Any] = Field(description="an object about the machine and the packages")
