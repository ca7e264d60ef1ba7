"""The forms of what an export leaves: `report.json`, `edgekit.lock` and `details.json`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from edgekit.exporting.report_parts_schema import (
    COUNT,
    CalibrationRecord,
    ComparisonRecord,
    Count,
    DataRecord,
    EnvironmentRecord,
    HostRecord,
    StageTableRecord,
)
from edgekit.measurements.figure_schema import (
    BYTES,
    HASH,
    TEXT,
    Bytes,
    CheckRecord,
    Digest,
    FigureRecord,
    Finite,
    PredictionRecord,
    RecipeRecord,
    Record,
    RejectionRecord,
    StepRecord,
    Text,
    fault,
)

_VERSION = "1, the only schema that this edgekit reads"
_BOOLEAN = "true or false"


class ModelRecord(Record):
    """`model`: facts about the float model."""

    source: str = Field(description="what the user named")
    digest: str = Field(description=HASH)
    embedded_default: bool = Field(description=_BOOLEAN)
    name: str = Field(description=TEXT)
    family: str | None = Field(description="a family of architectures, or null")
    parameters: Count = Field(description=COUNT)
    macs: Count | None = Field(description="a whole number, or null")
    float_types: list[str] = Field([], description="a list of types")
    settled_branches: list[str] = Field([], description="a list of branches")


class ArtifactRecord(Record):
    """An artifact."""

    path: Text = Field(description="the artifact's path, from the report's folder")
    runtime: Text = Field(description="tflite, onnx, executorch or coreml")
    precision: Text = Field(description="a precision's name, such as int8-static")
    size_bytes: Bytes = Field(description=BYTES)
    download_bytes: Bytes = Field(description=BYTES)
    sha256: Digest = Field(description=HASH)


class ErrorRecord(Record):
    """Why a format has no artifact, or why it could not be judged."""

    type: Text = Field(description="the name of an error")
    message: str = Field(description=TEXT)
    exit_code: Literal[1, 2, 3, 4] = Field(description="an exit code from 1 to 4")


class FormatEntry(Record):
    """What came of one format."""

    runtime: Text = Field(description="tflite, onnx, executorch or coreml")
    precision: Text = Field(description="a precision's name, such as int8-static")
    recipe: RecipeRecord = Field(description="an object with the precision of each part")
    steps: list[StepRecord] = Field(description="a list of steps")
    artifact: ArtifactRecord | None = Field(description="an object about the artifact, or null")
    checks: list[CheckRecord] = Field(description="a list of checks")
    host: HostRecord = Field(description="an object with what was measured on this host")
    predictions: list[PredictionRecord] = Field(description="a list of predictions")
    predicted_and_measured: list[ComparisonRecord] = Field(description="a list of predictions beside measurements")
    passed: bool = Field(description=_BOOLEAN)
    notes: list[str] = Field(description="a list of texts")
    float_fallbacks: list[str] = Field(description="a list of texts")
    error: ErrorRecord | None = Field(description="an object with type, message and exit_code, or null")

    @model_validator(mode="after")
    def _has_an_outcome(self) -> FormatEntry:
        if self.artifact is None and self.error is None:
            raise fault("there is neither an artifact nor an error")
        names = [check.name for check in self.checks]
        if doubled := next((name for name in names if names.count(name) > 1), None):
            raise fault(f'the check "{doubled}" stands there twice')
        if self.artifact is not None and self.error is None and not names:
            raise fault("there is an artifact without any check")
        return self


class ReportFile(Record):
    """`report.json`."""

    schema_version: Literal[1] = Field(description=_VERSION)
    command: Text = Field(description="the command that wrote it")
    device: str = Field(description="the name of a device profile")
    runtime: Text = Field(description="a format's name, or several")
    feasible: bool = Field(description=_BOOLEAN)
    passed: bool = Field(description=_BOOLEAN)
    model: ModelRecord | None = Field(description="an object about the float model, or null")
    steps: list[StepRecord] = Field(description="a list of steps")
    checks: list[CheckRecord] = Field(description="a list of checks")
    predictions: list[PredictionRecord] = Field(description="a list of predictions")
    rejected: list[RejectionRecord] = Field(description="a list of rejected candidates")
    artifacts: list[ArtifactRecord] = Field(description="a list of artifacts")
    formats: list[FormatEntry] = Field(description="a list of what came of each format")
    figures_sha256: Digest = Field(description=f"{HASH}: of the checks and the host's figures of all formats")
    stages: list[StageTableRecord] = Field([], description="a list of tables of stages")
    edgekit: str = Field(description="the version of edgekit that wrote it")
    data: DataRecord = Field(description="an object about the calibration and evaluation data")
    calibration: CalibrationRecord | None = Field(description="an object about the calibration data, or null")
    environment: EnvironmentRecord = Field(description="an object about the machine and the packages")


class LockedFigure(FigureRecord):
    """A figure that the same inputs give again, with the limit that follows from the recipe or is everybody's."""

    verdict: Literal["fail", "not_run"] | None = Field(None, description="fail or not_run, where there is no figure")
    limit: Finite | None = Field(None, description="the limit that follows from the recipe, or null")
    level: Literal["error", "warn"] | None = Field(None, description="the level of that limit, or null")


class LockedArtifact(Record):
    """An artifact of the lock."""

    file: Text = Field(description="the artifact's file name")
    runtime: Text = Field(description="tflite, onnx, executorch or coreml")
    recipe: RecipeRecord = Field(description="an object with the precision of each part")
    steps: list[StepRecord] = Field(description="a list of steps")
    sha256: Digest = Field(description=HASH)
    size_bytes: Bytes = Field(description=BYTES)
    checks: list[Text] = Field(description="a list of the names of all checks")
    measurements: dict[str, LockedFigure] = Field(description="an object from a check's name to its figure")
    image_input: bool = Field(default=False, description="true where its input is pixels")


class LockedModel(Record):
    """The model of the lock."""

    source: str = Field(description="what the user named")
    digest: str = Field(description=HASH)
    embedded_default: bool = Field(description=_BOOLEAN)


class LockedFormat(Record):
    """One format that was requested."""

    runtime: Text = Field(description="tflite, onnx, executorch or coreml")
    precision: Text = Field(description="a precision's name, such as int8-static")
    failed: bool = Field(description=_BOOLEAN)


class LockFile(Record):
    """`edgekit.lock`."""

    schema_version: Literal[1] = Field(description=_VERSION)
    edgekit: str = Field(description="the version of edgekit that wrote it")
    code: str = Field(description="a hash of edgekit's code")
    device: str = Field(description="the name of a device profile")
    io: Literal["float", "int8"] = Field(description="float or int8")
    model: LockedModel | None = Field(description="an object with source, digest and embedded_default, or null")
    data: DataRecord = Field(description="an object about the calibration and evaluation data")
    packages: dict[str, str] = Field(description="an object from a package's name to its version")
    formats: list[LockedFormat] = Field(description="a list of the formats that were requested")
    artifacts: list[LockedArtifact] = Field(description="a list of artifacts")
