"""A validation, from the request to the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.artifact import runtime_of
from edgekit.exporting.artifact_data import ArtifactData
from edgekit.task.input_sizes import read_input_sizes
from edgekit.task.request import Request, make_request
from edgekit.task.task import find_config

if TYPE_CHECKING:
    from edgekit.exporting.report import ExportReport
    from edgekit.pipeline.settings import Settings
    from edgekit.profiles.profile import DeviceProfile
    from edgekit.task.task import Task


def request_validation(
    artifact: Path,
    *,
    model: str | None,
    device: str | DeviceProfile | None,
    config: Path | None,
    limits: Mapping[str, str | None],
    overrides: Mapping[str, str | None],
    input_sizes: Sequence[str] = (),
    regression: Sequence[str] = (),
    task: Task | None = None,
    without: Sequence[str] = (),
    data: ArtifactData | None = None,
) -> tuple[Request, ArtifactData | None]:
    """Returns the request, and what to run the artifact on where no model is named: nothing to compare it with.

    That is `data`, where it is known already; else `overrides` and `input_sizes` say it.

    Raises:
        InputError: no such artifact, or a flag, file or variable is wrong.
    """
    runtime_of(artifact)
    sizes = read_input_sizes(input_sizes)
    has_task = task is not None or model is not None or config is not None or find_config(Path.cwd()) is not None
    request = make_request(
        model=model,
        device=device,
        config=config,
        limits=limits,
        overrides=overrides,
        input_sizes=sizes,
        regression=regression,
        without=without,
        demo_limits=has_task,
        task=task,
    )
    if has_task:
        return request, None
    return request, data or ArtifactData.from_overrides(overrides, sizes, Path.cwd())


def run_validation(
    artifact: Path,
    request: Request,
    *,
    data: ArtifactData | None,
    measurements: Sequence[Path],
    settings: Settings,
) -> ExportReport:
    """Runs the artifact and returns its report.

    Args:
        artifact: The file.
        request: What `request_validation` returned, and `data` with it.
        data: What to run the artifact on where no model is named.
        measurements: Files with figures from the device.
        settings: How to run.
    """
    from edgekit.exporting.validation import validate
    from edgekit.measurements.measurement import read_measurement

    return validate(
        artifact,
        request.task if data is None else None,
        device=request.profile.name,
        budget=request.budget,
        latency_models=request.profile.latency_model,
        accelerators=request.profile.accelerators,
        settings=settings,
        cwd=Path.cwd(),
        measurements=tuple(map(read_measurement, measurements)),
        data=data,
    )
