"""The form of `search.json`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from edgekit.measurements.figure_schema import (
    BYTES,
    HASH,
    TEXT,
    Bytes,
    CheckRecord,
    Digest,
    PredictionRecord,
    RecipeRecord,
    Record,
    Text,
)


class MeasuredVariant(Record):
    """What was measured of a variant."""

    artifact: dict[str, Any] | None = Field(description="an object about the artifact, or null")
    size_bytes: Bytes = Field(description=BYTES)
    download_bytes: Bytes = Field(description=BYTES)
    sha256: Digest = Field(description=HASH)
    accuracy: dict[str, Any] = Field(description="an object about the metric")
    checks: list[CheckRecord] = Field(description="a list of checks")
    host: dict[str, Any] = Field(description="an object with what was measured on this host")


class Variant(Record):
    """One variant of the search, or the reference."""

    name: str = Field(description="its arguments in words; empty for the reference")
    arguments: dict[str, Any] = Field(description="an object with the factory's arguments")
    fate: str = Field(description="what became of it")
    reason: str = Field(description=TEXT)
    on_front: bool = Field(description="true or false")
    passed: bool = Field(description="true or false")
    model: dict[str, Any] | None = Field(description="an object about the model, or null")
    predicted: list[PredictionRecord] = Field(description="a list of predictions")
    trained: dict[str, Any] | None = Field(description="an object about its training, or null")
    measured: MeasuredVariant | None = Field(description="an object with what was measured, or null")


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
    limits: list[dict[str, Any]] = Field(description="a list of limits")
    parameters: dict[str, list[Any]] = Field(description="an object from a parameter to its values")
    bindings: dict[str, list[Any]] = Field(description="an object from a parameter to its roles")
    reference: Variant = Field(description="an object about the reference")
    variants: list[Variant] = Field(description="a list of variants")
    data: dict[str, Any] = Field(description="an object about the data")
    environment: dict[str, Any] = Field(description="an object about the machine and the packages")
