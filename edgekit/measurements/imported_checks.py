"""Measurements as evidence: checks with `basis: imported`, for the device and the artifact that they speak of only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from edgekit.budget import Budget
from edgekit.checks import Check, judge
from edgekit.errors import DataError
from edgekit.measurements.measurement import Measurement
from edgekit.units import format_bytes

IMPORTED: Final = ("latency", "latency_p95", "memory")
"""Costs that a measurement can speak of."""


def check_belongs(measurements: Sequence[Measurement], device: str, digests: Iterable[str], judged: str) -> None:
    """Refuses measurements of another device or of another artifact: they would decide about what they did not see.

    Args:
        measurements: To be used.
        device: Profile that is judged.
        digests: SHA-256 of the artifacts that are judged.
        judged: What they are, for messages: a file's or a folder's name.

    Raises:
        DataError: a measurement names no device, another one, or another artifact.
    """
    known = set(digests)
    for measurement in measurements:
        if measurement.device is None:
            raise DataError(
                f"{measurement.name} names no device: it holds the time of {measurement.host or measurement.place}, "
                f"and a host's time is never a device's. {_measured_there(measurement.artifact.file, device)}"
            )
        if measurement.device != device:
            raise DataError(
                f"{measurement.name} was measured on {measurement.device}; what is judged is {device}. "
                f"Leave the file out, or judge with --device {measurement.device}."
            )
        if measurement.artifact.sha256 not in known:
            shown = ", ".join(digest[:12] for digest in sorted(known)) or "no artifact"
            raise DataError(
                f"{measurement.name} was measured on an artifact with SHA-256 {measurement.artifact.sha256[:12]} "
                f"({measurement.artifact.file}); {judged} has {shown}. "
                f"{_measured_there('the artifact that is judged', device)}"
            )


def _measured_there(file: str, device: str) -> str:
    """Returns what to do. How a device is reached (--on, --from) depends on its kind: not every one has a shell."""
    return (
        f"Measure {file} on {device}, by --on or --from of edgekit bench (edgekit bench --help says which), "
        f"with --device {device}."
    )


def with_measurements(
    checks: Iterable[Check], measurements: Iterable[Measurement], sha256: str, budget: Budget
) -> tuple[Check, ...]:
    """Returns `checks` in which imported figures of the artifact stand in place of those that this host gave.

    Where several measurements speak of one cost, the worst one counts.

    Args:
        checks: Checks of one artifact.
        measurements: Measurements of any artifacts on the judged device, after `check_belongs`.
        sha256: SHA-256 of the artifact.
        budget: Limits.
    """
    own = [measurement for measurement in measurements if measurement.artifact.sha256 == sha256]
    checks = tuple(checks)
    made = {check.name: check for name in IMPORTED if (check := _worst(name, own, budget, checks)) is not None}
    there = {check.name for check in checks}
    added = [check for name, check in made.items() if name not in there]
    return (*(made.get(check.name, check) for check in checks), *added)


def _worst(name: str, measurements: Sequence[Measurement], budget: Budget, checks: Sequence[Check]) -> Check | None:
    reported = [
        (value, measurement) for measurement in measurements if (value := _value(name, measurement)) is not None
    ]
    if not reported:
        return None
    value, measurement = max(reported, key=lambda item: item[0])
    among = "" if len(reported) == 1 else f" The worst of {len(reported)} measurements."
    latency = measurement.latency
    return judge(
        name,
        value,
        budget.get(name),
        low=latency.low_ms if name == "latency" else None,
        high=latency.high_ms if name == "latency" else None,
        basis="imported",
        measured_on=measurement.device or "",
        detail=f"{_detail(name, measurement)}{among}",
        runtime=checks[0].runtime if checks else measurement.artifact.runtime,
    )


def _value(name: str, measurement: Measurement) -> float | None:
    if name == "memory":
        return None if measurement.memory is None else float(measurement.memory.above_empty_bytes)
    return measurement.latency.value_ms if name == "latency" else measurement.latency.p95_ms


def _detail(name: str, measurement: Measurement) -> str:
    """Returns where a figure comes from, in one sentence."""
    threads = measurement.threads
    facts = [
        measurement.host,
        measurement.engine if measurement.engine != measurement.source else "",
        ", ".join(measurement.units) if measurement.units != ("CPU",) else "",
        "" if threads is None else f"{threads} thread{'' if threads == 1 else 's'}",
        measurement.latency.sentence if name != "memory" else _memory_words(measurement),
    ]
    reported = ", ".join(fact for fact in facts if fact)
    return f"{measurement.source}, {measurement.place}: {reported}; from {measurement.name}, {measurement.created}."


def _memory_words(measurement: Measurement) -> str:
    memory = measurement.memory
    if memory is None:
        return ""
    return f"peak {format_bytes(memory.above_empty_bytes)}" + (f" ({memory.method})" if memory.method else "")
