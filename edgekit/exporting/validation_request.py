"""A validation, from the request to the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.artifact import runtime_of
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
    regression: Sequence[str] = (),
    task: Task | None = None,
) -> tuple[Request, bool]:
    """Returns the request, and whether the user named a model (without one there is nothing to compare with).

    Raises:
        InputError: no such artifact, or a flag, file or variable is wrong.
    """
    runtime_of(artifact)
    has_task = task is not None or model is not None or config is not None or find_config(Path.cwd()) is not None
    request = make_request(
        model=model,
        device=device,
        config=config,
        limits=limits,
        overrides=overrides,
        regression=regression,
        demo_limits=has_task,
        task=task,
    )
    return request, has_task


def run_validation(
    artifact: Path,
    request: Request,
    *,
    has_task: bool,
    measurements: Sequence[Path],
    settings: Settings,
) -> ExportReport:
    """Runs the artifact and returns its report."""
    from edgekit.exporting.validation import validate
    from edgekit.measurements.measurement import read_measurement

    return validate(
        artifact,
        request.task if has_task else None,
        device=request.profile.name,
        budget=request.budget,
        latency_models=request.profile.latency_model,
        accelerators=request.profile.accelerators,
        settings=settings,
        cwd=Path.cwd(),
        measurements=tuple(map(read_measurement, measurements)),
    )
