"""The form of a sweep's baseline."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from edgekit.gating.baseline_schema import BaselineChange, BaselineFormat
from edgekit.measurements.figure_schema import TEXT, Record, Text


class BaselineRow(Record):
    """A row of the sweep: what an export's baseline says, of its one artifact."""

    title: Text = Field(description=TEXT)
    passed: bool = Field(description="true or false")
    device: str = Field(description="the name of a device profile")
    model: dict[str, Any] = Field(description="an object with name and digest")
    data: dict[str, Any] = Field(description="an object with metric and evaluation")
    formats: list[BaselineFormat] = Field(description="a list with the row's artifact, empty where there was none")
    history: list[BaselineChange] = Field([], description="a list of the times that it was set anew")


class SweepBaselineFile(Record):
    """A sweep's baseline."""

    schema_version: Literal[1] = Field(description="1, the only schema that this edgekit reads")
    command: Literal["sweep"] = Field(description='"sweep": a baseline of an export is another file')
    rows: dict[str, BaselineRow] = Field(description="an object from a row's name to its figures")
