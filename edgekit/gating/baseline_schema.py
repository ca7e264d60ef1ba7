"""The form of a baseline file."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from edgekit.exporting.report_parts_schema import COUNT, Count, ScoresRecord
from edgekit.measurements.figure_schema import (
    HASH,
    NUMBER,
    TEXT,
    Digest,
    Finite,
    NamedFigureRecord,
    PartialRecord,
    Record,
    Text,
    fault,
)


class BaselineFigure(NamedFigureRecord):
    """A figure of the baseline."""

    measured_on: str = Field("", description=TEXT)


class BaselineAccuracy(PartialRecord):
    """The artifact's own value of the metric; nothing where there was none."""

    metric: str | None = Field(None, description="the name of a metric")
    value: Finite | None = Field(None, description="a finite number, or null")
    count: Count | None = Field(None, description=COUNT)
    items: ScoresRecord | None = Field(None, description="an object with kind, count and zlib_base64, or null")

    @model_validator(mode="after")
    def _is_whole(self) -> BaselineAccuracy:
        if self.model_fields_set and (
            self.metric is None or self.count is None or "value" not in self.model_fields_set
        ):
            raise fault("metric, value and count belong together: one of them is missing")
        return self


class BaselineFormat(Record):
    """One format of the baseline."""

    runtime: Text = Field(description="tflite, onnx, executorch or coreml")
    precision: Text = Field(description="a precision's name, such as int8-static")
    sha256: Digest = Field(description=HASH)
    ran_by: str = Field(description=TEXT)
    file: str | None = Field(description="the path of the kept artifact, or null")
    figures: list[BaselineFigure] = Field(description="a list of figures")
    accuracy: BaselineAccuracy = Field(description="an object about the metric")


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


class BaselineModel(PartialRecord):
    """The model of the baseline."""

    name: str | None = Field(None, description=TEXT)
    digest: str | None = Field(None, description=HASH)


class BaselineData(PartialRecord):
    """What the baseline was judged on."""

    metric: str | None = Field(None, description="the name of a metric, or null")
    evaluation: str | None = Field(None, description=f"{HASH}, or null")


class BaselineFile(Record):
    """A baseline."""

    schema_version: Literal[1] = Field(description="1, the only schema that this edgekit reads")
    device: str = Field(description="the name of a device profile")
    model: BaselineModel = Field(description="an object with name and digest")
    data: BaselineData = Field(description="an object with metric and evaluation")
    formats: list[BaselineFormat] = Field(description="a list of formats")
    history: list[BaselineChange] = Field([], description="a list of the times that it was set anew")
