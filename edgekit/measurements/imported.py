"""Figures that another tool measured, bound to an artifact and a device by the user's word."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Final

from edgekit.artifact import Artifact
from edgekit.errors import DataError
from edgekit.formats.table import known_format
from edgekit.measurements.ai_hub_profile import is_ai_hub_profile, parse_ai_hub_profile
from edgekit.measurements.benchmark_model_output import (
    BenchmarkModelOutput,
    is_benchmark_model_output,
    parse_benchmark_model,
)
from edgekit.measurements.measurement import KIND, MeasuredArtifact, Measurement, read_json, read_text

BENCHMARK_MODEL: Final = "TFLite benchmark_model"
AI_HUB: Final = "Qualcomm AI Hub"

_SIZE_TOLERANCE: Final = 2e-5
"""benchmark_model prints the file's size with six digits."""


def import_measurement(path: Path, artifact: Artifact, device: str) -> Measurement:
    """Returns the figures in another tool's file as a measurement of `artifact` on `device`.

    Args:
        path: What `benchmark_model` printed, or a profile that qai-hub downloaded.
        artifact: What was measured, by the user's word; what the file says about it must agree.
        device: Profile that it was measured on, by the user's word.

    Raises:
        DataError: neither of the two, a file without figures, or one about another artifact.
    """
    data = read_json(path)
    text = read_text(path)
    measured = MeasuredArtifact(
        file=str(artifact.path),
        sha256=artifact.sha256,
        size_bytes=artifact.size_bytes,
        runtime=artifact.runtime,
        precision=artifact.precision,
    )
    if data is not None and data.get("kind") == KIND:
        raise DataError(f"{path}: this is a measurement file of edgekit already; give it to --measurements as it is.")
    if data is not None and is_ai_hub_profile(data):
        return _from_ai_hub(path, data, measured, device)
    if is_benchmark_model_output(text):
        output = parse_benchmark_model(text, str(path))
        check_same_model(output, artifact, str(path))
        return from_benchmark_model(output, measured, device=device, host="", place=path.name, created=_time_of(path))
    raise DataError(
        f"{path}: neither the output of TFLite's benchmark_model nor a profile of Qualcomm AI Hub. Give all that "
        "benchmark_model printed, or the JSON file that job.download_profile(FILE) of qai-hub wrote."
    )


def from_benchmark_model(
    output: BenchmarkModelOutput, artifact: MeasuredArtifact, *, device: str | None, host: str, place: str, created: str
) -> Measurement:
    """Returns `benchmark_model`'s figures as a measurement."""
    return Measurement(
        source=BENCHMARK_MODEL,
        created=created,
        device=device,
        host=host,
        place=place,
        artifact=artifact,
        engine="TFLite benchmark_model",
        threads=output.threads,
        units=output.units,
        latency=output.latency,
        load_ms=output.load_ms,
        memory=output.memory,
    )


def check_same_model(output: BenchmarkModelOutput, artifact: Artifact, where: str) -> None:
    """Refuses figures of another model: benchmark_model prints the size of its file.

    Raises:
        DataError: another runtime's artifact, or another size.
    """
    made = known_format(artifact.runtime)
    if made is None or not made.runtime.android_benchmark:
        raise DataError(
            f"{where}: benchmark_model runs TFLite files; {artifact.path.name} is for {artifact.runtime}. "
            "Give the .tflite file that was measured."
        )
    size = output.model_bytes
    if size is not None and abs(size - artifact.size_bytes) > max(1.0, artifact.size_bytes * _SIZE_TOLERANCE):
        graph = f" ({PurePosixPath(output.graph).name})" if output.graph else ""
        raise DataError(
            f"{where}: benchmark_model measured a model of {size:.0f} bytes{graph}; {artifact.path.name} has "
            f"{artifact.size_bytes}. Give the file that was measured, or measure this one."
        )


def _from_ai_hub(path: Path, data: dict[str, object], artifact: MeasuredArtifact, device: str) -> Measurement:
    profile = parse_ai_hub_profile(data, str(path))
    made = Measurement(
        source=AI_HUB,
        created=_time_of(path),
        device=device,
        host="",
        place=path.name,
        artifact=artifact,
        engine="Qualcomm AI Hub",
        units=profile.units,
        latency=profile.latency,
        load_ms=profile.load_ms,
        memory=profile.memory,
    )
    if profile.latency.statistic != "estimate":
        return made
    return replace(made, notes=("AI Hub's own estimate of the latency; this job lists no single timings.",))


def _time_of(path: Path) -> str:
    """Returns when the file was written: neither tool's output says when it measured."""
    return datetime.fromtimestamp(path.stat().st_mtime, timezone.utc).isoformat(timespec="seconds")
