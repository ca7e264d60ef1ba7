"""Calibration and evaluation data as sample folders, and the float model's outputs on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekit.model import CapturedModel
from edgekit.pipeline.scratch import move_contents
from edgekit.pipeline.settings import Settings
from edgekit.samples import SAMPLES_NAME, Samples
from edgekit.task.task import Task
from edgekit.workers.cache import code_fingerprint, content_key, versions


def prepare_samples(task: Task, model: CapturedModel, purpose: str, settings: Settings) -> Samples | None:
    """Returns the task's calibration or evaluation data as samples, or None where it names none.

    Raises:
        DataError: empty, wrong shape or dtype, NaN and so on.
    """
    reference = task.calibration if purpose == "calibration" else task.evaluation
    if reference is None:
        return None
    if (ready := _written_for(task.base / reference, model)) is not None:
        return ready
    facts: dict[str, Any] = {"code": code_fingerprint(), "inputs": [spec.to_json() for spec in model.inputs]}
    key: str | None = None
    if task.embedded_default:
        from edgekit.task.default_model import DISTRIBUTIONS

        key = content_key({**facts, "purpose": purpose, "default": versions(DISTRIBUTIONS)})
        if found := settings.cache.find("samples", key):
            return Samples.open(found)
    payload = {
        "reference": reference,
        "base": str(task.base),
        "purpose": purpose,
        "inputs": facts["inputs"],
        "metric": task.metric,
        "preprocessing": task.preprocessing.to_json(),
    }
    with settings.cache.scratch() as scratch:
        folder = scratch / "samples"
        settings.run(
            f"reading of the {purpose} data",
            "edgekit.task.data:materialize",
            {**payload, "folder": str(folder)},
            settings.stage("data"),
        )
        samples = Samples.open(folder)
        key = key or content_key({**facts, "sha256": samples.sha256})
        return Samples.open(settings.cache.make("samples", key, lambda place: move_contents(folder, place)))


def _written_for(folder: Path, model: CapturedModel) -> Samples | None:
    """Returns the samples that were written from memory for this very model; None where that is to be checked yet."""
    if not (folder / SAMPLES_NAME).is_file():
        return None
    samples = Samples.open(folder)
    same_names = samples.names == tuple(spec.name for spec in model.inputs)
    same_forms = [(array.shape[1:], str(array.dtype)) for array in samples.arrays()] == [
        (spec.shape[1:], spec.dtype) for spec in model.inputs
    ]
    return samples if same_names and same_forms else None


def keep_samples(samples: Samples, model: CapturedModel, settings: Settings) -> Samples:
    """Returns the samples, written for `model`, as they lie in the cache; their folder may vanish afterwards."""
    specs = [spec.to_json() for spec in model.inputs]
    key = content_key({"code": code_fingerprint(), "inputs": specs, "sha256": samples.sha256})
    return Samples.open(settings.cache.make("samples", key, lambda place: move_contents(samples.folder, place)))


def reference_outputs(model: CapturedModel, samples: Samples, settings: Settings) -> Samples:
    """Returns the float model's outputs on `samples`, computed once in a runner process."""
    from edgekit.validators.execution import RunSettings, run_reference

    key = content_key({"code": code_fingerprint(), "model": model.digest, "samples": samples.sha256})
    run_settings = RunSettings(timeout_s=settings.timeout_s, memory_limit_bytes=settings.memory_limit_bytes)

    def build(folder: Path) -> None:
        run_reference(model, samples, folder, settings=run_settings, progress=settings.stage("reference"))
        settings.progress("reference", f"float outputs of {samples.count} samples", 1.0)

    return Samples.open(settings.cache.make("reference", key, build))
