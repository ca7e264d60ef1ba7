"""Makes the artifacts of a lock once more, from the task as it is now, and compares the bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from edgekit.converters.base import IoType
from edgekit.errors import EdgekitError
from edgekit.exporting.export import convert_candidates
from edgekit.exporting.inputs import describe_data, read_inputs
from edgekit.exporting.verification import Verified, passed, verify_inputs
from edgekit.pipeline.settings import Settings
from edgekit.recipe import Candidate, Recipe, Step
from edgekit.task.task import Task


def verify_rebuild(lock: Mapping[str, Any], task: Task, settings: Settings) -> tuple[Verified, ...]:
    """Returns whether the same inputs give the same bytes; converts only where model and data are the lock's.

    Args:
        lock: The lock.
        task: What it was made from.
        settings: How to run; its cache must not reuse, or the bytes would be compared with themselves.

    Raises:
        EdgekitError: the model or the data cannot be read, or the lock names no model.
    """
    candidates = [_candidate(artifact) for artifact in lock["artifacts"]]
    changed = any(candidate.techniques for candidate in candidates)
    pixels = any(artifact.get("image_input") is True for artifact in lock["artifacts"])
    task = replace(task, image_input=pixels, image_input_stated=False)
    inputs = read_inputs(task, [candidate.runtime for candidate in candidates], settings, as_torch=changed)
    checked = verify_inputs(lock, inputs.model.digest, describe_data(inputs))
    if not passed(checked):
        return checked
    io: IoType = "int8" if lock["io"] == "int8" else "float"
    made = convert_candidates(inputs, candidates, settings, io, lambda _stage, _phrase: None)
    return (
        *checked,
        *(
            _compared(artifact, outcome if isinstance(outcome, EdgekitError) else outcome.artifact.sha256)
            for artifact, outcome in zip(lock["artifacts"], made, strict=True)
        ),
    )


def _candidate(artifact: Mapping[str, Any]) -> Candidate:
    return Candidate(
        runtime=artifact["runtime"],
        recipe=Recipe.from_json(artifact["recipe"]),
        steps=tuple(Step(technique=step["technique"], settings=step["settings"]) for step in artifact["steps"]),
    )


def _compared(artifact: Mapping[str, Any], outcome: str | EdgekitError) -> Verified:
    name = f"{artifact['file']}, rebuilt"
    if isinstance(outcome, EdgekitError):
        return Verified(name=name, verdict="failed", detail=f"It could not be made: {outcome.message}")
    if outcome != artifact["sha256"]:
        return Verified(
            name=name,
            verdict="failed",
            detail=f"Other bytes: SHA-256 {outcome[:12]}, the lock says {artifact['sha256'][:12]}.",
        )
    return Verified(name=name, verdict="ok", detail="The same bytes.")
