"""The form of a measurement file: which keys it has, what each accepts, and every fault at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from edgekit.errors import DataError
from edgekit.files.faults import FAULT, describe_file_faults, find_faults

_Milliseconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Bytes = Annotated[int, Field(ge=0)]
_Text = Annotated[str, StringConstraints(min_length=1)]
_Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

_POSITIVE_MS: Final = "a positive number of milliseconds"
_BYTES: Final = "a whole number of bytes"


class _Table(BaseModel):
    # Later versions of edgekit may add keys: what this one does not know, it passes over.
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class ArtifactTable(_Table):
    """`artifact`."""

    file: _Text = Field(description="the artifact's path")
    sha256: _Digest = Field(description="64 hexadecimal digits: the artifact's SHA-256")
    size_bytes: _Bytes = Field(description=_BYTES)
    runtime: _Text = Field(description="tflite, onnx, executorch or coreml")
    precision: _Text = Field("unknown", description="the precision's name, such as int8-static")


class LatencyTable(_Table):
    """`latency`."""

    value_ms: _Milliseconds = Field(description=_POSITIVE_MS)
    statistic: Literal["median", "mean", "estimate"] = Field(description="median, mean or estimate")
    low_ms: _Milliseconds | None = Field(None, description=f"{_POSITIVE_MS}, or null")
    high_ms: _Milliseconds | None = Field(None, description=f"{_POSITIVE_MS}, or null")
    p95_ms: _Milliseconds | None = Field(None, description=f"{_POSITIVE_MS}, or null")
    min_ms: _Milliseconds | None = Field(None, description=f"{_POSITIVE_MS}, or null")
    max_ms: _Milliseconds | None = Field(None, description=f"{_POSITIVE_MS}, or null")
    runs: Annotated[int, Field(ge=1)] | None = Field(None, description="a whole number of at least 1, or null")
    drift: _Milliseconds | None = Field(None, description="a positive ratio, or null")
    samples_ms: list[_Milliseconds] = Field([], description="a list of positive numbers of milliseconds")


class MemoryTable(_Table):
    """`memory`."""

    above_empty_bytes: _Bytes = Field(description=_BYTES)
    peak_bytes: _Bytes | None = Field(None, description=f"{_BYTES}, or null")
    method: str = Field("", description="text")


class MeasurementFile(_Table):
    """A measurement file."""

    schema_version: Literal[1] = Field(description="1, the only schema that this edgekit reads")
    source: _Text = Field(description='who measured, such as "edgekit bench"')
    created: _Text = Field(description="the time in ISO 8601")
    device: _Text | None = Field(None, description="the name of a device profile, or null")
    host: str = Field(description="the machine in its own words")
    place: str = Field(description="how the machine was reached")
    artifact: ArtifactTable = Field(description="an object with file, sha256, size_bytes and runtime")
    engine: str = Field("", description="what ran the artifact")
    threads: Annotated[int, Field(ge=1)] | None = Field(None, description="a whole number of at least 1, or null")
    units: list[_Text] = Field(["CPU"], description="a list of what computed: CPU, GPU, NPU")
    latency: LatencyTable = Field(description="an object with value_ms and statistic")
    load_ms: _Milliseconds | None = Field(None, description=f"{_POSITIVE_MS}, or null")
    memory: MemoryTable | None = Field(None, description="an object with above_empty_bytes, or null")
    outputs: dict[str, float] = Field({}, description="an object from an output's name to its SQNR in dB")
    notes: list[str] = Field([], description="a list of sentences")

    @model_validator(mode="after")
    def _interval_holds_the_figure(self) -> MeasurementFile:
        from pydantic_core import PydanticCustomError

        latency = self.latency
        low = latency.value_ms if latency.low_ms is None else latency.low_ms
        high = latency.value_ms if latency.high_ms is None else latency.high_ms
        if not low <= latency.value_ms <= high:
            raise PydanticCustomError(
                FAULT, "latency: value_ms must lie between low_ms and high_ms: the file was changed by hand"
            )
        return self


def check_measurement(path: Path, data: Mapping[str, Any]) -> MeasurementFile:
    """Returns the checked content of a measurement file.

    Raises:
        DataError: every fault that was found in it.
    """
    try:
        return MeasurementFile.model_validate(data)
    except ValidationError as error:
        faults = find_faults(error, MeasurementFile)
        raise DataError(
            describe_file_faults(path, faults, "Measure again with: edgekit bench ARTIFACT -o FILE")
        ) from error
