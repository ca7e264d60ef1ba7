"""The form of `plan.json`, which `export --plan` carries out."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from edgekit.budget import Level
from edgekit.measurements.figure_schema import (
    NUMBER,
    TEXT,
    CheckRecord,
    Finite,
    PredictionRecord,
    RecipeRecord,
    Record,
    RejectionRecord,
    StepRecord,
    Text,
    check_cost_name,
)


class PlanModel(Record):
    """`model`: the facts that the plan is about."""

    name: str = Field(description=TEXT)
    source: str = Field(description="what the user named")
    digest: str = Field(description="the model's digest")
    parameters: Annotated[int, Field(ge=0)] = Field(description="a whole number")
    macs: Annotated[int, Field(ge=0)] | None = Field(description="a whole number, or null")
    family: Text = Field(description="a family of models, such as cnn")
    family_evidence: str = Field(description=TEXT)
    embedded_default: bool = Field(description="true or false")


class PlanLimit(Record):
    """A limit."""

    name: Text = Field(description="the name of a cost, such as size")
    value: Finite = Field(description=NUMBER)
    source: str = Field(description="who set it")
    level: Level = Field(description="error or warn")

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        check_cost_name(self.name)
        return self


class PlanCandidate(Record):
    """One way to export."""

    runtime: Text = Field(description="tflite, onnx, executorch or coreml")
    recipe: RecipeRecord = Field(description="an object with the precision of each part")
    steps: list[StepRecord] = Field(description="a list of steps")
    predictions: list[PredictionRecord] = Field(description="a list of predictions")


class PlanRunnerUp(PlanCandidate):
    """A candidate that was not chosen."""

    reason: str = Field(description=TEXT)


class PlanLayer(Record):
    """What a layer costs in accuracy."""

    module: str = Field(description="the name of a module")
    precision: Text = Field(description="a precision, such as int8_static")
    noise: Finite = Field(description=NUMBER)
    points: Finite | None = Field(None, description="a number, or null")
    metric: str = Field("", description=TEXT)


class PlanHead(Record):
    """A head that stays float."""

    output: str = Field(description="the name of an output")
    why: str = Field(description=TEXT)
    layers: list[str] = Field([], description="a list of the names of modules")
    latency_ms: Finite | None = Field(None, description="a number, or null")
    latency_share: Finite | None = Field(None, description="a number, or null")


class PlanFileSchema(Record):
    """`plan.json`."""

    schema_version: Literal[1] = Field(description="1, the only schema that this edgekit reads")
    command: Literal["plan"] = Field(description='"plan"')
    device: str = Field(description="the name of a device profile")
    device_title: str = Field(description=TEXT)
    runtime: str | None = Field(description="tflite, onnx, executorch or coreml, or null")
    feasible: bool = Field(description="true or false")
    prefer: Literal["balanced", "accuracy", "size", "speed"] = Field(
        "balanced", description="balanced, accuracy, size or speed"
    )
    effort: Literal["quick", "default", "thorough"] = Field("quick", description="quick, default or thorough")
    model: PlanModel = Field(description="an object about the model")
    steps: list[StepRecord] = Field(description="a list of steps")
    recipe: RecipeRecord | None = Field(description="an object with the precision of each part, or null")
    checks: list[CheckRecord] = Field(description="a list of checks")
    predictions: list[PredictionRecord] = Field(description="a list of predictions")
    baseline: list[PredictionRecord] = Field(description="a list of predictions")
    reasons: list[str] = Field(description="a list of sentences")
    runners_up: list[PlanRunnerUp] = Field(description="a list of candidates")
    rejected: list[RejectionRecord] = Field(description="a list of rejected candidates")
    misses: list[str] = Field(description="a list of sentences")
    remedies: list[str] = Field(description="a list of sentences")
    limits: list[PlanLimit] = Field(description="a list of limits")
    warnings: list[str] = Field(description="a list of sentences")
    sensitivity: list[PlanLayer] = Field([], description="a list of layers")
    considered: list[PlanCandidate] = Field([], description="a list of candidates")
    heads: list[PlanHead] = Field([], description="a list of heads that stay float")
