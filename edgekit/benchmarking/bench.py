"""One benchmark: an artifact, a place, a measurement."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

from edgekit.artifact import Artifact, measure_files, runtime_of
from edgekit.benchmarking.target import Order, Target, TargetFigures
from edgekit.benchmarking.this_machine import ThisMachine
from edgekit.errors import EdgekitError, UsageError, WorkerError
from edgekit.measurements.measurement import MeasuredArtifact, Measurement
from edgekit.profiles.profile import DeviceProfile
from edgekit.samples import Samples
from edgekit.validators.execution import collect_evidence
from edgekit.validators.output_statistics import LARGEST_DB
from edgekit.validators.parity import sqnr_by_output
from edgekit.validators.runner_process import RunSettings
from edgekit.workers.worker import Progress

PRECISION_KEY: Final = "edgekit.precision"
_ARM_MACHINES: Final = ("aarch64", "arm64", "armv8l", "armv7l", "armv6l")
_NEAR_DB: Final = 40.0
"""The same file in the same runtime on two processors: above this the outputs differ by rounding only."""


def plain_artifact(path: Path) -> Artifact:
    """Returns an artifact's facts without loading it: its runtime may be only where it is measured.

    Raises:
        ArtifactError: no such file, or one that no runtime loads.
    """
    runtime = runtime_of(path)
    size_bytes, download_bytes, sha256 = measure_files(path)
    return Artifact(
        path=path,
        runtime=runtime,
        precision="unknown",
        size_bytes=size_bytes,
        download_bytes=download_bytes,
        sha256=sha256,
    )


def bench(
    artifact: Artifact,
    place: Target,
    *,
    folder: Path,
    profile: DeviceProfile | None = None,
    samples: Samples | None = None,
    settings: RunSettings,
    progress: Progress,
) -> tuple[Measurement, Samples | None]:
    """Measures an artifact at a place.

    Args:
        artifact: The file.
        place: Where.
        folder: An empty folder for outputs.
        profile: The device that the place is, by the user's word; None where it is none.
        samples: Inputs whose outputs are brought back and compared with this machine's.
        settings: Threads, counts and limits.
        progress: Callback that gets what is going on.

    Returns:
        The measurement, and the outputs on `samples`.

    Raises:
        EdgekitError: it cannot be measured there.
        UsageError: the place cannot be that device.
    """

    def accept(machine: str) -> None:
        if profile is not None:
            check_machine(profile, machine, place.words)

    order = Order(artifact=artifact, samples=samples, folder=folder / "there", settings=settings, accept=accept)
    measured = place.measure(order, progress)
    outputs: dict[str, float] = {}
    notes = list(measured.notes)
    if samples is not None and measured.outputs is not None and not isinstance(place, ThisMachine):
        outputs, said = _compare(artifact, samples, measured.outputs, folder / "here", settings, progress)
        notes.append(said)
    if drift := measured.latency.drift_sentence:
        notes.append(drift)
    made = _measurement(artifact, place, measured, profile)
    return replace(made, threads=settings.threads, outputs=outputs, notes=tuple(notes)), measured.outputs


def check_machine(profile: DeviceProfile, machine: str, place: str) -> None:
    """Refuses a machine that cannot be the device: its time would be taken for the device's.

    Raises:
        UsageError: the profile's processor has Arm features and the machine is no Arm.
    """
    if profile.hardware.features and machine not in _ARM_MACHINES:
        cores = " + ".join(cluster.core for cluster in profile.hardware.cpu)
        raise UsageError(
            f"{place} is no {profile.name}: its processor is {machine or 'unknown'}, and {profile.title} has {cores}. "
            "Its time would be taken for the device's. Measure without --device, or on the device itself."
        )


def _compare(
    artifact: Artifact, samples: Samples, there: Samples, folder: Path, settings: RunSettings, progress: Progress
) -> tuple[dict[str, float], str]:
    """Returns each output's SQNR of the device against this machine, and a sentence about the worst."""
    try:
        evidence = collect_evidence(
            artifact, folder=folder, evaluation=samples, pieces=("outputs",), settings=settings, progress=progress
        )
        here = evidence.outputs
        if here is None:
            raise WorkerError(evidence.why_missing("outputs"))
    except EdgekitError as error:
        return {}, f"Outputs were not compared with this machine's: {error.message}"
    found = sqnr_by_output(here, there)
    if isinstance(found, str):
        return {}, f"Outputs were not compared with this machine's: {found}"
    if any(math.isnan(value) for value in found.values()):
        return {}, "Outputs differ from this machine's: some are NaN or infinite."
    worst = min(found, key=lambda name: found[name])
    same = "agree with" if found[worst] >= _NEAR_DB else "differ from"
    rows = f"{there.count} row{'' if there.count == 1 else 's'}"
    if found[worst] >= LARGEST_DB:
        return found, f"Outputs are equal to this machine's over {rows}."
    return found, f"Outputs {same} this machine's: the worst, {worst}, to {found[worst]:.1f} dB over {rows}."


def _measurement(
    artifact: Artifact, place: Target, measured: TargetFigures, profile: DeviceProfile | None
) -> Measurement:
    return Measurement(
        source=measured.source,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        device=profile.name if profile else None,
        host=measured.host,
        place=place.words,
        artifact=MeasuredArtifact(
            file=str(artifact.path),
            sha256=artifact.sha256,
            size_bytes=artifact.size_bytes,
            runtime=artifact.runtime,
            precision=measured.artifact.metadata.get(PRECISION_KEY, artifact.precision),
        ),
        engine=measured.engine,
        units=measured.units,
        latency=measured.latency,
        load_ms=measured.load_ms,
        memory=measured.memory,
    )
