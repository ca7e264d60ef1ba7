"""Calibration and evaluation data as sample folders, and the float model's outputs on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekit.model import CapturedModel, TensorSpec
from edgekit.pipeline.scratch import move_contents, scratch_folder
from edgekit.pipeline.settings import Settings
from edgekit.samples import Samples
from edgekit.task.task import Task
from edgekit.workers.cache import code_fingerprint, content_key, versions


def prepare_samples(task: Task, inputs: Sequence[TensorSpec], purpose: str, settings: Settings) -> Samples | None:
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
    facts: dict[str, Any] = {"code": code_fingerprint(), "inputs": [spec.to_json() for spec in inputs]}
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
    with scratch_folder(settings) as scratch:
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


def reference_outputs(model: CapturedModel, samples: Samples, settings: Settings) -> Samples:
    """Returns the float model's outputs on `samples`, computed once in a runner process."""
    from edgekit.validators.execution import RunSettings, run_reference

    key = content_key({"code": code_fingerprint(), "model": model.digest, "samples": samples.sha256})
    run_settings = RunSettings(timeout_s=settings.timeout_s, memory_limit_bytes=settings.memory_limit_bytes)

    def build(folder: Path) -> None:
        run_reference(model, samples, folder, settings=run_settings, progress=settings.stage("reference"))

    return Samples.open(settings.cache.make("reference", key, build))
