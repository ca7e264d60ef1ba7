"""Applies a technique: the worker process's side of `pipeline.apply_technique`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from edgekit.model import CapturedModel
from edgekit.samples import Samples
from edgekit.task.task import Training
from edgekit.techniques.base import DEFAULT_SEED, Context
from edgekit.techniques.base import technique as find_technique
from edgekit.training.training_data import fingerprint, open_training
from edgekit.workers.worker import Progress

ENTRY: Final = "edgekit.techniques.worker_entry:run"
FINGERPRINT_ENTRY: Final = "edgekit.techniques.worker_entry:fingerprint_training"


def run(payload: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Applies the technique that `payload` names and returns the changed model's facts."""
    step = payload["step"]
    technique = find_technique(step["technique"]).from_settings(step["settings"], "plan")
    scratch = Path(payload["scratch"])
    scratch.mkdir(parents=True)
    samples = Samples.open(Path(payload["samples"])) if payload["samples"] else None
    model = CapturedModel.from_json(payload["model"], Path(payload["folder"]))
    base, training = Path(payload["base"]), payload["training"]
    context = Context(
        samples=samples,
        scratch=scratch,
        progress=progress,
        training=open_training(Training(**training), base) if training else None,
        checkpoints=Path(payload["checkpoints"]) if payload["checkpoints"] else None,
        base=base,
    )
    return technique.run(model, context, Path(payload["output"])).to_json()


def fingerprint_training(payload: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Returns a hash of the training data and of what a setting names beside it, for the cache."""
    progress("looking at the training data", None)
    training, base = Training(**payload["training"]), Path(payload["base"])
    return {"sha256": fingerprint(training, base, DEFAULT_SEED, payload["references"])}
