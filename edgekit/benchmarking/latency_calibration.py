"""Calibrates a profile's latency model with measurements from the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

from edgekit.analysis.finished_file import READ_FINISHED, FinishedFileRequest
from edgekit.analysis.graph import Analysis
from edgekit.artifact import hash_files
from edgekit.benchmarking.bench import plain_artifact
from edgekit.errors import DataError, UsageError
from edgekit.formats.table import all_formats
from edgekit.measurements.imported import import_measurement
from edgekit.measurements.measurement import Measurement, is_measurement, read_measurement
from edgekit.pipeline.analysis import analyze_model
from edgekit.pipeline.capture import capture_model
from edgekit.pipeline.settings import Settings
from edgekit.predict.latency import rates_for
from edgekit.predict.latency_features import count_operator
from edgekit.predict.latency_refit import Observation, Refit, doubt_of, refit
from edgekit.profiles.profile import DeviceProfile
from edgekit.recipe import Precision, precision_named
from edgekit.task.task import model_task

Tables = Mapping[str, Mapping[str, Any]]
CalibratedGroup = tuple[str, Precision]
"""A runtime and a precision that has rates of its own."""

_SEEN_SHARE: Final = 0.1
"""Work that takes less of a model's time drowns in the noise of its latency."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CalibratedTable:
    """One refitted latency model.

    Attributes:
        group: Whose rates.
        observations: What they were fitted on.
        refit: The outcome.
        table: The new table, as the profile's file holds it.
    """

    group: CalibratedGroup
    observations: tuple[Observation, ...]
    refit: Refit
    table: Mapping[str, Any]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationResult:
    """What came of a calibration.

    Attributes:
        tables: The refitted models.
        unused: Measurements that could not be used, by name, each with the reason.
    """

    tables: tuple[CalibratedTable, ...]
    unused: Mapping[str, str]


def calibrate(
    profile: DeviceProfile, measurements: Sequence[Measurement], models: Sequence[str], settings: Settings, cwd: Path
) -> CalibrationResult:
    """Refits the latency models of a profile on measurements.

    Args:
        profile: Whose rates.
        measurements: From this device.
        models: Artifacts or models that measurements are about where their own artifact is not found or cannot be read.
        settings: How to run.
        cwd: Where relative paths start.

    Raises:
        UsageError: the profile has no latency model.
        DataError: no measurement can be used, or a measurement's artifact is not found.
    """
    if not profile.latency_model:
        raise UsageError(
            f"{profile.name} has no latency model that could be refitted. Copy the [latency_model] tables of a device "
            "with the same processor into a profile of your own, and calibrate that one."
        )
    grouped: dict[CalibratedGroup, list[Observation]] = {}
    unused: dict[str, str] = {}
    for measurement, source in zip(measurements, find_models(measurements, models, cwd), strict=True):
        analysis = analyze_source(source, settings, cwd)
        found = observe(measurement, analysis, profile)
        if isinstance(found, str):
            unused[measurement.name] = found
        else:
            group, observation = found
            grouped.setdefault(group, []).append(observation)
    if not grouped:
        reasons = "\n".join(f"  {name}: {reason}" for name, reason in unused.items())
        raise DataError(f"No measurement can be used to calibrate {profile.name}:\n{reasons}")
    tables = tuple(_calibrated(group, found, profile) for group, found in grouped.items())
    return CalibrationResult(tables=tables, unused=unused)


def find_models(measurements: Sequence[Measurement], models: Sequence[str], cwd: Path) -> list[str]:
    """Returns for each measurement the artifact or model that tells its graph.

    A measurement's own artifact is taken where it is found, unchanged, and can be read; else the one of `models` with
    the same SHA-256; else the next of the others in order, or the only one for all.

    Raises:
        DataError: a measurement is left without one.
        UsageError: a model is left over.
    """
    digests = {text: hash_files(cwd / text)[1] for text in models if (cwd / text).is_file()}
    known = {measurement.artifact.sha256 for measurement in measurements}
    free = [text for text in models if digests.get(text) not in known]
    share = len(free) == 1
    found: list[str] = []
    taken: set[str] = set()
    for measurement in measurements:
        digest = measurement.artifact.sha256
        named = next((text for text in models if digests.get(text) == digest and _is_readable(text)), None)
        own = named or _own_artifact(measurement, cwd)
        if own is None and free:
            own = free[0] if share else free.pop(0)
            taken.add(own)
        if own is None:
            raise DataError(
                f"{measurement.name} was measured on {measurement.artifact.file}, which is not there any more, has "
                f"changed, or holds no graph that can be read. Name the artifact ({', '.join(_readers())}) or the "
                "model that it was made from with --model."
            )
        found.append(own)
    left = [text for text in models if text not in found and text not in taken]
    if left:
        raise UsageError(f"--model {left[0]} belongs to no measurement: each found its own artifact. Leave it out.")
    return found


def _readers() -> dict[str, str]:
    """Returns suffix to the reader of such an artifact's graph, of the formats that have one."""
    return {one.suffix: one.graph_reader for one in all_formats() if one.graph_reader}


def _is_readable(text: str) -> bool:
    return Path(text).suffix.lower() in _readers()


def _own_artifact(measurement: Measurement, cwd: Path) -> str | None:
    beside = measurement.path.parent if measurement.path else cwd
    for base in (cwd, beside):
        path = base / measurement.artifact.file
        if path.is_file() and _is_readable(path.name) and hash_files(path)[1] == measurement.artifact.sha256:
            return str(path)
    return None


def analyze_source(source: str, settings: Settings, cwd: Path) -> Analysis:
    """Returns the costed graph of an artifact or a model."""
    path = cwd / source
    if path.is_file() and _is_readable(path.name):
        request = FinishedFileRequest(reader=_readers()[path.suffix.lower()], path=path, sizes={})
        read = settings.run("analysis of the artifact", READ_FINISHED, request, settings.stage("analysis")).value
        return read.analysis
    return analyze_model(capture_model(model_task(source, cwd), settings), settings)


def observe(
    measurement: Measurement, analysis: Analysis, profile: DeviceProfile
) -> tuple[CalibratedGroup, Observation] | str:
    """Returns whose rates a measurement tells about and what it says, or the reason why it tells nothing."""
    runtime = measurement.artifact.runtime
    tables: Tables = profile.latency_model.get(runtime, {})
    if not tables:
        return f"{profile.name} has no latency model for {runtime}, only for {', '.join(profile.latency_model)}."
    precision = precision_named(measurement.artifact.precision) or _precision_of(analysis)
    table = tables.get(precision)
    if table is None:
        return f"{profile.name}'s latency model for {runtime} has rates of {', '.join(tables)} and not of {precision}."
    if reason := _other_conditions(measurement, table):
        return reason
    found = work_ms(analysis, precision, profile, runtime)
    if isinstance(found, str):
        return found
    parts, fixed = found
    observation = Observation(
        name=measurement.name, parts_ms=parts, fixed_ms=fixed, measured_ms=measurement.latency.value_ms
    )
    return (runtime, precision), observation


def work_ms(
    analysis: Analysis, precision: Precision, profile: DeviceProfile, runtime: str
) -> tuple[dict[str, float], float] | str:
    """Returns what the rates say about a model, or the reason why they say nothing.

    Args:
        analysis: The model's costed graph.
        precision: Of the artifact.
        profile: Whose rates.
        runtime: What runs it.

    Returns:
        (kind of work to milliseconds at this precision's rates, milliseconds at the rates of other precisions).
    """
    tables: Tables = profile.latency_model[runtime]
    parts: dict[str, float] = {}
    fixed = 0.0
    for operator in analysis.operators:
        chosen = rates_for(operator, precision, tables)
        if chosen is None:
            return f"{profile.name}'s latency model for {runtime} does not know the speed of {operator.type}."
        rates: Mapping[str, float] = tables[chosen]["ns"]
        for term, amount in count_operator(analysis, operator).items():
            part = rates[term] * amount / 1e6
            if chosen == precision and part > 0:
                parts[term] = parts.get(term, 0.0) + part
            else:
                fixed += part
    return (parts, fixed) if parts else "The model has no work that these rates speak of."


def _other_conditions(measurement: Measurement, table: Mapping[str, Any]) -> str:
    """Returns why the rates are about another processor or thread count than the measurement, or ""."""
    unit = "CPU" if table["unit"] == "cpu" else "GPU" if table["unit"] == "gpu" else "NPU"
    if measurement.units and set(measurement.units) != {unit}:
        return f"It was computed on {' and '.join(measurement.units)}; the latency model is of the {unit} alone."
    threads = table.get("threads")
    if threads is not None and measurement.threads is not None and threads != measurement.threads:
        return (
            f"It was measured with {measurement.threads} thread{'' if measurement.threads == 1 else 's'}; the latency "
            f"model is of {threads}. Measure with --threads {threads}."
        )
    return ""


def _precision_of(analysis: Analysis) -> Precision:
    """Returns the precision of an artifact made elsewhere, by the types of its weights and activations."""
    kernels = [weight for weight in analysis.weights.values() if weight.role in ("kernel", "recurrent")]
    largest = max(kernels, key=lambda weight: weight.count, default=None)
    if largest is None or largest.dtype in ("float32", "float64"):
        return "fp32"
    if largest.dtype in ("float16", "bfloat16"):
        return "fp16"
    users = [operator for operator in analysis.operators if largest.name in operator.weights]
    inputs = [analysis.tensors[name].dtype for operator in users for name in operator.inputs]
    return "int8_static" if inputs and all(dtype in ("int8", "uint8") for dtype in inputs) else "int8_dynamic"


def _calibrated(group: CalibratedGroup, observations: Sequence[Observation], profile: DeviceProfile) -> CalibratedTable:
    old: Mapping[str, Any] = profile.latency_model[group[0]][group[1]]
    found = refit(observations, old["spread"], doubt_of(old))
    rates = {term: rate * found.factors.get(term, found.common) for term, rate in old["ns"].items()}
    names = ", ".join(dict.fromkeys(observation.name for observation in observations))
    shrink = min(1.0, found.spread / old["spread"])
    table = {
        **old,
        **({"doubt": {term: value * shrink for term, value in old["doubt"].items()}} if "doubt" in old else {}),
        "spread": found.spread,
        **({"error": found.error_left_out} if found.error_left_out is not None else {}),
        "untested": [term for term in old.get("untested", ()) if not _is_tested(term, observations)],
        "sources": [*old.get("sources", ()), f"calibrated on own measurements: {names}"],
        "ns": rates,
    }
    return CalibratedTable(group=group, observations=tuple(observations), refit=found, table=table)


def _is_tested(term: str, observations: Sequence[Observation]) -> bool:
    """Returns True if the work takes enough of one measured model's time to be seen in it."""
    return any(o.parts_ms.get(term, 0.0) >= _SEEN_SHARE * o.predicted_ms() for o in observations)


def read_measurements(
    paths: Sequence[Path], models: Sequence[str], profile: DeviceProfile, cwd: Path
) -> tuple[tuple[Measurement, ...], tuple[str, ...]]:
    """Returns the measurements in files of edgekit or of other tools, and the models that none of them was bound to.

    Other tools' files are bound to an artifact each: to the next of `models`, or to the only one.

    Raises:
        DataError: a file that is none, or one of another device.
        UsageError: another tool's file without its artifact.
    """
    free = list(models)
    only = free[0] if len(free) == 1 else None
    found: list[Measurement] = []
    for path in paths:
        if is_measurement(path):
            found.append(_of_this_device(read_measurement(path), profile))
            continue
        name = only or (free[0] if free else None)
        if name is None or not (cwd / name).exists() or not _is_readable(name):
            raise UsageError(
                f"{path.name} does not say which model it is about. Name the artifact that was measured (.tflite, "
                f".onnx) with --model, in the order of --from; {name or 'none'} was given."
            )
        free = [text for text in free if text != name]
        found.append(replace(import_measurement(path, plain_artifact(cwd / name), profile.name), path=path))
    return tuple(found), tuple(free)


def _of_this_device(measurement: Measurement, profile: DeviceProfile) -> Measurement:
    if measurement.device != profile.name:
        device = measurement.device or f"no device ({measurement.host or measurement.place})"
        raise DataError(
            f"{measurement.name} was measured on {device}; what is calibrated is {profile.name}. Measure "
            f"{measurement.artifact.file} there, by --on or --from of edgekit bench (edgekit bench --help says which), "
            f"with --device {profile.name}."
        )
    return measurement
