"""The form of a baseline file."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from edgekit.measurements.figure_schema import HASH, NUMBER, TEXT, Digest, Finite, NamedFigureRecord, Record, Text


class BaselineFigure(NamedFigureRecord):
    """A figure of the baseline."""

    measured_on: str = Field("", description=TEXT)


class BaselineFormat(Record):
    """One format of the baseline."""

    runtime: Text = Field(description="tflite, onnx, executorch or coreml")
    precision: Text = Field(description="a precision's name, such as int8-static")
    sha256: Digest = Field(description=HASH)
    ran_by: str = Field(description=TEXT)
    file: str | None = Field(description="the path of the kept artifact, or null")
    figures: list[BaselineFigure] = Field(description="a list of figures")
    accuracy: dict[str, Any] = Field(description="an object about the metric")


class FigureMove(Record):
    """How far a figure moved when the baseline was set anew."""

    runtime: Text = Field(description="tflite, onnx, executorch or coreml")
    precision: Text = Field(description="a precision's name, such as int8-static")
    name: Text = Field(description="the name of a check, such as size")
    unit: str = Field(description="the figure's unit")
    old: Finite = Field(description=NUMBER)
    new: Finite = Field(description=NUMBER)


class BaselineChange(Record):
    """One time that the baseline was set anew."""

    when: Text = Field(description="the time in ISO 8601")
    reason: str = Field(description=TEXT)
    moves: list[FigureMove] = Field(description="a list of figures that moved")


class BaselineFile(Record):
    """A baseline."""

    schema_version: Literal[1] = Field(description="1, the only schema that this edgekit reads")
    device: str = Field(description="the name of a device profile")
    model: dict[str, Any] = Field(description="an object with name and digest")
    data: dict[str, Any] = Field(description="an object with metric and evaluation")
    formats: list[BaselineFormat] = Field(description="a list of formats")
    history: list[BaselineChange] = Field([], description="a list of the times that it was set anew")
