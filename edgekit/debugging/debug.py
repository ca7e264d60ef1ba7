"""Runs a debug session: finds the float model and data that belong to an artifact, and compares inside."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, final

from edgekit.artifact import Artifact, runtime_of
from edgekit.debugging.inspector import check_inspectable
from edgekit.debugging.job import COMPARE, ComparisonRequest
from edgekit.debugging.remedies import ExportCall, with_remedies
from edgekit.debugging.report import DebugReport
from edgekit.errors import DataError, InputError, ModelError, UsageError
from edgekit.exporting.validation import DEFAULT_KEY
from edgekit.files.bounded_reading import read_json
from edgekit.model import IMPORTABLE, CapturedModel
from edgekit.pipeline.capture import capture_model
from edgekit.pipeline.samples import prepare_samples
from edgekit.pipeline.settings import Settings
from edgekit.pipeline.technique_stage import apply_technique
from edgekit.recipe import PRESETS
from edgekit.samples import Samples
from edgekit.task.data import Purpose
from edgekit.task.image_input import embedded_image_input
from edgekit.task.task import Task, default_task
from edgekit.task.technique_text import split_step
from edgekit.validators.execution import describe_artifact
from edgekit.validators.model_digest import DIGEST_KEY
from edgekit.validators.requested import PRECISION_KEY
from edgekit.validators.runner_process import RunSettings

SOURCE_KEY: Final = "edgekit.source"
TECHNIQUES_KEY: Final = "edgekit.techniques"
_PURPOSES: Final[tuple[Purpose, ...]] = ("calibration", "evaluation")
_UNSET_DEVICE: Final = "pi4"
"""Device of the commands that are shown where nobody names one."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DebugRequest:
    """What is requested.

    Attributes:
        artifact: Its path.
        task: The float model and its data; None where the user named none.
        data: `calibration`, `evaluation`, or None for the first of them that the task has.
        samples: How many to run.
        device: For the commands that are shown; None for the one in report.json.
        model: MODEL as the user wrote it, for the commands that are shown.
        config: Task file as the user wrote it.
        calibration: Calibration data as the user wrote it.
        cwd: Where the user stands.
    """

    artifact: Path
    task: Task | None
    data: str | None
    samples: int
    device: str | None
    model: str | None
    config: Path | None
    calibration: str | None
    cwd: Path


def debug(request: DebugRequest, settings: Settings) -> DebugReport:
    """Returns where the artifact departs from its float model, and why.

    Raises:
        UsageError: no model was named and the artifact does not lead to one.
        DataError: the task has no data.
        ArtifactError: nobody sees inside such artifacts.
        EdgekitError: the artifact, the model or the data cannot be read or run.
    """
    check_inspectable(runtime_of(request.artifact), request.artifact)
    run_settings = RunSettings(timeout_s=settings.timeout_s, memory_limit_bytes=settings.memory_limit_bytes)
    artifact = describe_artifact(request.artifact, settings=run_settings, progress=settings.stage("artifact"))
    refuse_pixels(artifact)
    task = _task(request, artifact)
    model = capture_model(task, settings, as_torch=True)
    samples, source = _samples(task, model, request, settings)
    compared, notes = _as_quantized(_layer_by_layer(model), artifact, task, settings)
    comparison = ComparisonRequest(
        model=compared,
        source=model.source,
        artifact=request.artifact,
        runtime=artifact.runtime,
        precision=artifact.metadata.get(PRECISION_KEY, "unknown"),
        samples=samples,
        samples_from=source,
        count=request.samples,
        threads=settings.threads,
        metric=task.metric,
        base=task.base,
    )
    report = settings.run("comparison inside", COMPARE, comparison, settings.stage("debug")).value
    mismatch = _mismatch(artifact, model)
    report = replace(report, notes=(*mismatch, *notes, *report.notes))
    return with_remedies(report, _call(request, task, artifact))


def refuse_pixels(artifact: Artifact) -> None:
    """Refuses an artifact whose first tensors the float model does not have: nothing there could be compared.

    Raises:
        UsageError: it takes pixels.
    """
    if embedded_image_input(artifact.metadata) is not None:
        raise UsageError(
            f"{artifact.path.name} takes pixels, and debug compares tensors that the float model has too. Export it "
            "with --no-image-input and debug that file: its weights and grids are the same."
        )


def _task(request: DebugRequest, artifact: Artifact) -> Task:
    """Returns the task that the user named, else the one that the artifact leads to."""
    if request.task is not None:
        return request.task
    if artifact.metadata.get(DEFAULT_KEY) == "true":
        return default_task(request.cwd)
    source = artifact.metadata.get(SOURCE_KEY)
    made = f' It was made from "{source}".' if source else " It was not made by edgekit, or does not say from what."
    raise UsageError(
        f"{request.artifact.name}: debug compares with a float model, and none was named.{made} Give the float model "
        "with --model (and data with --calibration), or run where its edgekit.toml lies."
    )


def _samples(task: Task, model: CapturedModel, request: DebugRequest, settings: Settings) -> tuple[Samples, str]:
    for purpose in _PURPOSES:
        if request.data not in (None, purpose):
            continue
        samples = prepare_samples(task, model, purpose, settings)
        if samples is not None:
            return samples, purpose
    wanted = request.data or "calibration or evaluation"
    raise DataError(
        f"{request.artifact.name}: debug runs both models on real data, and the task has no {wanted} data. "
        "Give some with --calibration DATA: a function, an .npz file or a folder of images."
    )


def _layer_by_layer(model: CapturedModel) -> CapturedModel:
    """Returns the model, an exported program, whose layers can be run one by one.

    Raises:
        ModelError: it is none.
    """
    if model.kind != "pt2":
        raise ModelError(
            f"{model.source} cannot be run layer by layer: it was captured as {model.kind}, and debug needs a torch "
            "model, an exported program (.pt2), a Keras model or an .onnx file. Give the model that the file was made "
            "from with --model."
        )
    return model


def _as_quantized(
    model: CapturedModel, artifact: Artifact, task: Task, settings: Settings
) -> tuple[CapturedModel, list[str]]:
    """Returns the model with those of the artifact's techniques that keep the function: insides differ after them."""
    from edgekit import registry
    from edgekit.techniques.base import technique as find_technique

    notes: list[str] = []
    for text in artifact.metadata.get(TECHNIQUES_KEY, "").split():
        name, values = split_step(text, TECHNIQUES_KEY)
        if name not in registry.technique_names():
            notes.append(f"The artifact was made with {name}, which this edgekit does not know: it is not applied.")
            continue
        technique = find_technique(name).from_settings(values, TECHNIQUES_KEY)
        if not technique.keeps_function:
            notes.append(f"{name} changed the weights on purpose: what it changed counts as error here.")
            continue
        calibration = prepare_samples(task, model, "calibration", settings)
        model = apply_technique(model, technique.step(), calibration, settings).model
        notes.append(f"Compared with the float model after {name}, which moves values between layers.")
    return model, notes


def _mismatch(artifact: Artifact, model: CapturedModel) -> tuple[str, ...]:
    digest = artifact.metadata.get(DIGEST_KEY)
    if digest is None or digest == model.digest or model.source_kind in IMPORTABLE:
        return ()
    return (
        (
            f"The artifact was made from a model with digest {digest[:12]}, and this float model has "
            f"{model.digest[:12]}: two models are compared."
        ),
    )


def _call(request: DebugRequest, task: Task, artifact: Artifact) -> ExportCall:
    precision = artifact.metadata.get(PRECISION_KEY, "").partition("+")[0]
    return ExportCall(
        model=request.model or ("" if task.config or task.embedded_default else task.model),
        config=str(request.config) if request.config else "",
        calibration=request.calibration or "",
        device=request.device or _device_beside(request.artifact) or _UNSET_DEVICE,
        runtime=artifact.runtime,
        precision=precision if precision in PRESETS else "int8",
    )


def _device_beside(artifact: Path) -> str | None:
    """Returns the device that the export was made for, where its report.json lies beside the artifact."""
    try:
        data = read_json(artifact.parent / "report.json")
    except (FileNotFoundError, InputError):
        return None
    device = data.get("device") if isinstance(data, dict) else None
    return device if isinstance(device, str) else None
