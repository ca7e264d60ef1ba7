"""The pipeline's stage that changes the float model: techniques, cached by content, training resumed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.errors import EdgekitError
from edgekit.model import CapturedModel
from edgekit.pipeline.capture import portable_facts, read_capture
from edgekit.pipeline.scratch import move_contents
from edgekit.pipeline.settings import DEFAULT_TIMEOUT_S, Settings
from edgekit.recipe import Step
from edgekit.samples import Samples
from edgekit.task.task import Task, Training
from edgekit.techniques.base import technique as find_technique
from edgekit.workers.cache import code_fingerprint, content_key, versions

if TYPE_CHECKING:
    from edgekit.techniques.base import Technique

TRAINING_TIMEOUT_S: Final = 7 * 86400.0
"""Limit of a worker that trains, where nobody set another one."""

TRAINING_THREADS: Final = 4
"""Threads of a worker that trains, on every machine: a number of its own would train other weights."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What a technique has made of a model.

    Attributes:
        step: The technique with its settings.
        model: The changed model.
        seconds: Wall-clock seconds that it took; from the first time, where it was found in the cache.
        cached: True where it was found in the cache.
    """

    step: Step
    model: CapturedModel
    seconds: float
    cached: bool


def apply_techniques(
    model: CapturedModel, steps: Sequence[Step], samples: Samples | None, settings: Settings, task: Task | None = None
) -> tuple[Applied, ...]:
    """Returns what each of `steps` makes of what the one before has left; see `apply_technique`.

    Raises:
        EdgekitError: as `apply_technique` does.
    """
    done: list[Applied] = []
    for step in steps:
        done.append(apply_technique(done[-1].model if done else model, step, samples, settings, task))
    return tuple(done)


Changes = dict[str, tuple[Applied, ...] | EdgekitError]
"""By `pipeline_name`: what each of its techniques has made, or why it failed."""


def change_models(
    model: CapturedModel | EdgekitError,
    pipelines: Sequence[tuple[Step, ...]],
    samples: Samples | None,
    settings: Settings,
    task: Task,
) -> Changes:
    """Returns what pipelines of techniques make of a model, each once; a failure becomes a value, as a model may be.

    One after the other: a technique takes gigabytes and every core, and pipelines with a common start share its result.
    """
    changed: Changes = {}
    for name, steps in {pipeline_name(steps): steps for steps in pipelines if steps}.items():
        try:
            if isinstance(model, EdgekitError):
                raise model
            changed[name] = apply_techniques(model, steps, samples, settings, task)
        except EdgekitError as error:
            changed[name] = error
    return changed


def pipeline_name(steps: Sequence[Step]) -> str:
    """Returns techniques and settings in a line, "" for none: `equalize round_weights:method=gptq,bits=8`."""
    return " ".join(map(str, steps))


def apply_technique(
    model: CapturedModel, step: Step, samples: Samples | None, settings: Settings, task: Task | None = None
) -> Applied:
    """Returns what a technique makes of `model`, worked out in a worker process or found in the cache.

    Training that was interrupted goes on at its last checkpoint.

    Args:
        model: The captured model; its file is left alone.
        step: The technique and its settings.
        samples: Calibration samples; None where the task has none.
        settings: How to run.
        task: Where its training data comes from; None without.

    Raises:
        TechniqueError: the technique cannot be used on this model.
        UsageError: a setting that the technique does not have.
        MissingDependencyError: a package is missing.
        ResourceError: out of time, memory or disk.
        WorkerError: the technique crashed or broke its contract.
    """
    from edgekit.techniques.worker_entry import ENTRY

    technique = find_technique(step.technique).from_settings(step.settings, "plan")
    used = samples if technique.needs in ("calibration", "training") else None
    training = task.training if task is not None and technique.needs == "training" else None
    base = str(task.base) if task is not None else "."
    facts = {
        "code": code_fingerprint(),
        "model": model.digest,
        "facts": portable_facts(model),
        "step": technique.step().to_json(),
        "calibration": used.sha256 if used else None,
        "training": _training_facts(technique, training, base, settings) if training else None,
        "versions": versions(technique.packages),
    }
    key = content_key(facts)
    checkpoints = settings.cache.journal("training", key) if training else None

    def build(place: Path) -> None:
        payload = {
            "model": model.to_json(),
            "folder": str(model.path.parent),
            "step": technique.step().to_json(),
            "samples": str(used.folder) if used else None,
            "training": asdict(training) if training else None,
            "base": base,
            "checkpoints": str(checkpoints) if checkpoints else None,
            "scratch": str(place / "scratch"),
            "output": str(place / "changed"),
        }
        running = training_settings(settings) if training else settings
        result = running.run(f"technique {step.technique}", ENTRY, payload, settings.stage(step.technique))
        shutil.rmtree(place / "scratch", ignore_errors=True)
        move_contents(place / "changed", place)
        (place / "changed").rmdir()
        (place / "effort.json").write_text(json.dumps({"seconds": result.wall_s, "cpu_seconds": result.cpu_s}))

    cached = settings.cache.find("techniques", key) is not None
    folder = settings.cache.make("techniques", key, build)
    if checkpoints is not None:
        shutil.rmtree(checkpoints, ignore_errors=True)
    effort = json.loads((folder / "effort.json").read_text())
    return Applied(step=step, model=read_capture(folder), seconds=effort["seconds"], cached=cached)


def training_settings(settings: Settings) -> Settings:
    """Returns the settings with the threads of a worker that trains, and its limit unless somebody set another one."""
    timeout_s = TRAINING_TIMEOUT_S if settings.timeout_s == DEFAULT_TIMEOUT_S else settings.timeout_s
    return replace(settings, timeout_s=timeout_s, worker_threads=TRAINING_THREADS)


def _training_facts(technique: Technique, training: Training, base: str, settings: Settings) -> dict[str, Any]:
    """Returns what a training result depends on beside model and step: what the user's functions give."""
    from edgekit.techniques.worker_entry import FINGERPRINT_ENTRY

    references = [value for value in technique.settings().values() if isinstance(value, str) and ":" in value]
    payload = {"training": asdict(training), "base": base, "references": references}
    result = settings.run("reading of the training data", FINGERPRINT_ENTRY, payload, settings.stage(technique.name))
    return {**asdict(training), "sha256": result.record["sha256"]}
