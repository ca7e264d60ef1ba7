"""A measurement: one artifact, on one device, in one runtime, once. It is a file that others can check and reuse.

The file names what was measured (the artifact's SHA-256), where (the host's own words, and the profile that the user
says it is), with what (runtime, version, threads) and by whom (edgekit, or the tool that the figures came from).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import edgekit
from edgekit.errors import DataError, ResourceError
from edgekit.files import bounded_reading
from edgekit.measurements.latency_figures import LatencyFigures
from edgekit.workers.atomic_files import write_json

if TYPE_CHECKING:
    from edgekit.measurements.measurement_file import MeasurementFile

SCHEMA: Final = 1
KIND: Final = "edgekit measurement"
"""Value of the key `kind`, that distinguishes the file from other JSON."""

OWN_SOURCE: Final = "edgekit bench"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryFigures:
    """Peak memory of the process that ran the artifact.

    Attributes:
        above_empty_bytes: Peak above the empty runtime's: what a memory budget is held against.
        peak_bytes: Peak of the whole process; None where the tool does not print it.
        method: How it was measured, for people.
    """

    above_empty_bytes: int
    peak_bytes: int | None = None
    method: str = ""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredArtifact:
    """What was measured.

    Attributes:
        file: Its path as it was given.
        sha256: As `artifact.measure_files` gives it.
        size_bytes: Sum over its files.
        runtime: tflite, onnx, executorch or coreml.
        precision: The recipe's name, `unknown` for a file made elsewhere.
    """

    file: str
    sha256: str
    size_bytes: int
    runtime: str
    precision: str = "unknown"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Figures of one artifact on one device.

    Attributes:
        source: Who measured: `edgekit bench`, `TFLite benchmark_model`, `Qualcomm AI Hub`.
        created: UTC, ISO 8601.
        device: Profile that this machine is, by the user's word; None for a machine that is no device's.
        host: The machine in its own words.
        place: How it was reached: `this machine`, `ssh://pi@raspberrypi`, `adb:SERIAL`, or the imported file's name.
        artifact: What was measured.
        engine: What ran it: `ai-edge-litert 2.1.0`.
        threads: That the runtime was given; None where nobody says.
        units: What computed: CPU, GPU, NPU.
        latency: Latency of one inference.
        load_ms: From the file to a session that can run; None where it was not measured.
        memory: None where it was not measured.
        notes: What a reader should know: drift, differences of outputs, reasons for missing figures.
        path: The file it was read from; None before it is written.
    """

    source: str = OWN_SOURCE
    created: str
    device: str | None = None
    host: str
    place: str
    artifact: MeasuredArtifact
    engine: str = ""
    threads: int | None = None
    units: tuple[str, ...] = ("CPU",)
    latency: LatencyFigures
    load_ms: float | None = None
    memory: MemoryFigures | None = None
    outputs: Mapping[str, float] = field(default_factory=dict[str, float])
    notes: tuple[str, ...] = ()
    path: Path | None = None

    @property
    def name(self) -> str:
        """The file's name, for messages."""
        return self.path.name if self.path else self.artifact.file

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form: the measurement file's content."""
        memory = self.memory
        return {
            "schema_version": SCHEMA,
            "kind": KIND,
            "edgekit": edgekit.__version__,
            "source": self.source,
            "created": self.created,
            "device": self.device,
            "host": self.host,
            "place": self.place,
            "artifact": {name: getattr(self.artifact, name) for name in self.artifact.__slots__},
            "engine": self.engine,
            "threads": self.threads,
            "units": list(self.units),
            "latency": self.latency.to_json(),
            "load_ms": self.load_ms,
            "memory": None if memory is None else {name: getattr(memory, name) for name in memory.__slots__},
            "outputs": dict(self.outputs),
            "notes": list(self.notes),
        }


def write_measurement(measurement: Measurement, path: Path) -> None:
    """Writes a measurement file, complete or not at all.

    Raises:
        ResourceError: it cannot be written.
    """
    try:
        write_json(path, measurement.to_json())
    except OSError as error:
        raise ResourceError(
            f"The measurement file {path} cannot be written: {error.strerror}. Give another one with --output."
        ) from error


def read_text(path: Path) -> str:
    """Returns the text of a file with figures.

    Raises:
        DataError: it is not there, or is no text.
    """
    try:
        return bounded_reading.read_text(path, DataError)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file. Give a measurement file that edgekit bench -o wrote.") from None


def read_json(path: Path) -> dict[str, Any] | None:
    """Returns the JSON object in a file with figures, None where it holds something else.

    Raises:
        DataError: it is not there, or is no text.
    """
    text = read_text(path)
    try:
        data: object = bounded_reading.parse_json(text, str(path), DataError)
    except DataError:
        return None  # what benchmark_model printed is no JSON
    return data if isinstance(data, dict) else None


def is_measurement(path: Path) -> bool:
    """Returns True for a measurement file of edgekit, whether it has faults or not.

    Raises:
        DataError: it is not there, or is no text.
    """
    return (read_json(path) or {}).get("kind") == KIND


def read_measurement(path: Path) -> Measurement:
    """Returns the measurement in a file that `write_measurement` wrote.

    Raises:
        DataError: no such file, another tool's output, or a file with faults (all at once).
    """
    data = read_json(path)
    if data is None or data.get("kind") != KIND:
        raise DataError(
            f'{path}: not a measurement file of edgekit (no "kind": "{KIND}"). The output of benchmark_model or a '
            "profile of Qualcomm AI Hub becomes one with: edgekit bench ARTIFACT --from FILE --device NAME -o NEW.json"
        )
    from edgekit.measurements.measurement_file import check_measurement

    return _to_measurement(check_measurement(path, data), path)


def _to_measurement(file: MeasurementFile, path: Path) -> Measurement:
    """Returns the checked file as a value."""
    latency: dict[str, Any] = {**file.latency.model_dump(), "samples_ms": tuple(file.latency.samples_ms)}
    memory = None if file.memory is None else MemoryFigures(**file.memory.model_dump())
    return Measurement(
        source=file.source,
        created=file.created,
        device=file.device,
        host=file.host,
        place=file.place,
        artifact=MeasuredArtifact(**file.artifact.model_dump()),
        engine=file.engine,
        threads=file.threads,
        units=tuple(file.units),
        latency=LatencyFigures(**latency),
        load_ms=file.load_ms,
        memory=memory,
        outputs=file.outputs,
        notes=tuple(file.notes),
        path=path,
    )
