"""The form of `sweep.json`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgekit.measurements.figure_schema import TEXT, Record, Text


class PointRecord(Record):
    """A combination of the matrix."""

    model: str = Field(description="the name of a model")
    device: str = Field(description="the name of a device profile")
    format: Text = Field(description="tflite, onnx, executorch or coreml")
    precision: Text = Field(description="a preset, or auto")
    technique: str = Field(description="techniques in a line; empty for none")
    effort: Text = Field(description="quick, default or thorough")


class OmittedRecord(Record):
    """What the matrix does not hold."""

    title: str = Field(description=TEXT)
    reason: str = Field(description=TEXT)


class SweepFile(Record):
    """`sweep.json`."""

    schema_version: Literal[1] = Field(description="1, the only schema that this edgekit reads")
    points: dict[str, PointRecord] = Field(description="an object from a row's name to its combination")
    omitted: list[OmittedRecord] = Field(description="a list of what was left out")
