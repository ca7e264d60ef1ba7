"""Applies a technique: the worker process's side of `pipeline.apply_technique`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from edgekit import registry
from edgekit.model import CapturedModel
from edgekit.samples import Samples
from edgekit.techniques.base import Context
from edgekit.worker import Progress

ENTRY: Final = "edgekit.techniques.worker_entry:run"


def run(payload: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Applies the technique that `payload` names and returns the changed model's facts."""
    step = payload["step"]
    technique = registry.technique(step["technique"]).from_settings(step["settings"], "plan")
    scratch = Path(payload["scratch"])
    scratch.mkdir(parents=True)
    samples = Samples.open(Path(payload["samples"])) if payload["samples"] else None
    model = CapturedModel.from_json(payload["model"], Path(payload["folder"]))
    context = Context(samples=samples, scratch=scratch, progress=progress)
    return technique.run(model, context, Path(payload["output"])).to_json()
