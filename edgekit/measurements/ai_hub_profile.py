"""Reads the profile of a Qualcomm AI Hub job, as `job.download_profile("FILE.json")` of the package qai-hub writes it.

    {"execution_summary": {"estimated_inference_time": 417, "all_inference_times": [417, 430, ...],
                           "inference_memory_peak_range": [12345, 4567890], "first_load_time": 311671, ...},
     "execution_detail": [{"name": "...", "type": "CONV_2D", "compute_unit": "NPU", ...}, ...]}

Times are in microseconds, memory in bytes. Older jobs have no `all_inference_times` and no ranges. The file names
neither the device nor the model: its user does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from edgekit.errors import DataError
from edgekit.measurements.latency_figures import LatencyFigures, figures_of
from edgekit.measurements.measurement import MemoryFigures


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class AIHubProfile:
    """What one profile job said.

    Attributes:
        latency: Latency of one inference.
        load_ms: Time of the first load, compilation on the device included.
        memory: None where the job does not report it.
        units: What computed at least one layer: CPU, GPU, NPU; empty where the job does not list layers.
    """

    latency: LatencyFigures
    load_ms: float | None
    memory: MemoryFigures | None
    units: tuple[str, ...]


def is_ai_hub_profile(data: object) -> bool:
    """Returns True if `data` has the form of a profile."""
    return isinstance(data, Mapping) and isinstance(data.get("execution_summary"), Mapping)


def parse_ai_hub_profile(data: Mapping[str, Any], where: str) -> AIHubProfile:
    """Returns what an AI Hub profile job measured.

    Args:
        data: The file's JSON.
        where: The file, for messages.

    Raises:
        DataError: no inference time, or figures that are none.
    """
    summary: Mapping[str, Any] = data["execution_summary"]
    times: Any = summary.get("all_inference_times")
    listed: Sequence[object] = times if _is_list(times) else ()
    samples = [_number(value, "all_inference_times", where) / 1e3 for value in listed]
    if samples:
        latency = figures_of(samples)
    elif summary.get("estimated_inference_time") is not None:
        value = _number(summary["estimated_inference_time"], "estimated_inference_time", where) / 1e3
        latency = LatencyFigures(value_ms=value, statistic="estimate")
    else:
        raise DataError(
            f"{where}: the AI Hub profile has no inference time: expected estimated_inference_time or "
            "all_inference_times (microseconds) in execution_summary. The job may have failed: look at its page."
        )
    load = summary.get("first_load_time")
    return AIHubProfile(
        latency=latency,
        load_ms=None if load is None else _number(load, "first_load_time", where) / 1e3,
        memory=_memory(summary, where),
        units=_units(data.get("execution_detail")),
    )


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _number(value: object, name: str, where: str) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf"):
        return float(value)
    raise DataError(
        f"{where}: execution_summary.{name} holds {value!r}; expected positive numbers. Download the profile again."
    )


def _memory(summary: Mapping[str, Any], where: str) -> MemoryFigures | None:
    """Returns the upper end of the peak's range, or the older single estimate."""
    peak = summary.get("inference_memory_peak_range")
    value = peak[-1] if _is_list(peak) and peak else summary.get("estimated_inference_peak_memory")
    if not value:
        return None
    size = round(_number(value, "inference_memory_peak_range", where))
    return MemoryFigures(
        above_empty_bytes=size,
        peak_bytes=size,
        method="AI Hub's peak, upper end of its range; an empty runtime's memory is not taken away",
    )


def _units(layers: object) -> tuple[str, ...]:
    if not _is_list(layers):
        return ()
    items: Any = layers
    names = {str(layer.get("compute_unit", "")).upper() for layer in items if isinstance(layer, Mapping)}
    return tuple(sorted(name for name in names if name and name != "UNSPECIFIED"))
