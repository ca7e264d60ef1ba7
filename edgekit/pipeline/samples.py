"""Calibration and evaluation data as sample folders, and the float model's outputs on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, final

from edgekit.model import CapturedModel, TensorSpec
from edgekit.pipeline.scratch import move_contents
from edgekit.pipeline.settings import Settings
from edgekit.samples import SAMPLES_NAME, Samples
from edgekit.task.data import MATERIALIZE, DataRequest, Purpose
from edgekit.task.task import Task
from edgekit.workers.request_key import request_key

_RUNNER_CODE: Final = ("edgekit.validators.execution", "edgekit.validators.runners")
"""The runner is started by its path, so imports do not lead to it."""
_RUNNER_TOOLS: Final = ("torch", "onnxruntime", "tensorflow-cpu", "tensorflow", "ai-edge-litert")


def prepare_samples(task: Task, inputs: Sequence[TensorSpec], purpose: Purpose, settings: Settings) -> Samples | None:
    """Returns the task's calibration or evaluation data as samples, or None where it names none.

    Args:
        task: Names the data.
        inputs: What the model takes.
        purpose: calibration or evaluation.
        settings: How to run.

    Raises:
        DataError: empty, wrong shape or dtype, NaN and so on.
    """
    reference = task.calibration if purpose == "calibration" else task.evaluation
    if reference is None:
        return None
    if (ready := _written_for(task.base / reference, inputs)) is not None:
        return ready
    request = DataRequest(
        reference=reference,
        base=task.base,
        purpose=purpose,
        inputs=tuple(inputs),
        metric=task.metric,
        preprocessing=task.preprocessing,
        folder=Path(),
        images=task.images,
        labels=tuple(task.metadata.get("labels", "").splitlines()),
    )
    key: str | None = None
    if task.embedded_default:
        from edgekit.task.default_model import DISTRIBUTIONS

        key = MATERIALIZE.key(request, tools=DISTRIBUTIONS)
        if found := settings.cache.find("samples", key):
            return Samples.open(found)
    with settings.cache.scratch() as scratch:
        folder = scratch / "samples"
        title = f"reading of the {purpose} data"
        made = settings.run(title, MATERIALIZE, replace(request, folder=folder), settings.stage("data")).value
        # User code can depend on anything, so it ran; what it gave is kept once.
        key = key or request_key(made, code=(MATERIALIZE.work.__module__,))
        return Samples.open(settings.cache.make("samples", key, lambda place: move_contents(folder, place)))


def _written_for(folder: Path, inputs: Sequence[TensorSpec]) -> Samples | None:
    """Returns the samples that were written from memory for these very inputs; None where that is to be checked yet."""
    if not (folder / SAMPLES_NAME).is_file():
        return None
    samples = Samples.open(folder)
    same_names = samples.names == tuple(spec.name for spec in inputs)
    dtypes = [str(array.dtype) for array in samples.arrays()]
    same_forms = list(zip(samples.shapes(), dtypes, strict=True)) == [(spec.shape, spec.dtype) for spec in inputs]
    return samples if same_names and same_forms else None


def keep_samples(samples: Samples, settings: Settings) -> Samples:
    """Returns the samples as they lie in the cache; their folder may vanish afterwards."""
    key = request_key(samples, code=(MATERIALIZE.work.__module__,))
    return Samples.open(settings.cache.make("samples", key, lambda place: move_contents(samples.folder, place)))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceRequest:
    """What the float model's outputs depend on.

    Attributes:
        model: The float model.
        samples: Its inputs.
    """

    model: CapturedModel
    samples: Samples


def reference_outputs(model: CapturedModel, samples: Samples, settings: Settings) -> Samples:
    """Returns the float model's outputs on `samples`, computed once in a runner process."""
    from edgekit.validators.execution import RunSettings, run_reference

    key = request_key(ReferenceRequest(model=model, samples=samples), code=_RUNNER_CODE, tools=_RUNNER_TOOLS)
    run_settings = RunSettings(timeout_s=settings.timeout_s, memory_limit_bytes=settings.memory_limit_bytes)

    def build(folder: Path) -> None:
        run_reference(model, samples, folder, settings=run_settings, progress=settings.stage("reference"))
        settings.progress("reference", f"float outputs of {samples.count} samples", 1.0)

    return Samples.open(settings.cache.make("reference", key, build))
