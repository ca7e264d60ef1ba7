"""The pipeline's stage that changes the float model: techniques, cached by content, training resumed."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

from edgekit.errors import EdgekitError
from edgekit.metrics.table import classifies
from edgekit.model import CapturedModel
from edgekit.pipeline.scratch import move_contents
from edgekit.pipeline.settings import DEFAULT_TIMEOUT_S, Settings
from edgekit.recipe import Step
from edgekit.samples import Samples
from edgekit.sources.captured_file import open_captured
from edgekit.task.task import Task, Training
from edgekit.task.technique_text import split_pipeline, split_step
from edgekit.techniques.base import technique as find_technique
from edgekit.techniques.worker_entry import APPLY, FINGERPRINT, TechniqueRequest, TrainingDataRequest
from edgekit.workers.structure import read_value, write_value

if TYPE_CHECKING:
    from edgekit.techniques.base import Technique
    from edgekit.training.imitation import Outputs

_EFFORT: Final = "effort.json"

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
        unlabelled: True where it has trained to imitate the float model, for want of training data.
    """

    step: Step
    model: CapturedModel
    seconds: float
    cached: bool
    unlabelled: bool = False


def apply_techniques(
    model: CapturedModel, steps: Sequence[Step], samples: Samples | None, settings: Settings, task: Task | None = None
) -> tuple[Applied, ...]:
    """Returns what each of `steps` makes of what the one before has left; see `apply_technique`.

    Raises:
        EdgekitError: as `apply_technique` does.
    """
    done: list[Applied] = []
    for step in steps:
        done.append(apply_technique(done[-1].model if done else model, step, samples, settings, task, model))
    return tuple(done)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """What a technique took the first time, kept beside the changed model.

    Attributes:
        seconds: Wall-clock.
        cpu_seconds: CPU seconds of the worker.
    """

    seconds: float
    cpu_seconds: float


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
    model: CapturedModel,
    step: Step,
    samples: Samples | None,
    settings: Settings,
    task: Task | None = None,
    teacher: CapturedModel | None = None,
) -> Applied:
    """Returns what a technique makes of `model`, worked out in a worker process or found in the cache.

    Training that was interrupted goes on at its last checkpoint.

    Args:
        model: The captured model; its file is left alone.
        step: The technique and its settings.
        samples: Calibration samples; None where the task has none.
        settings: How to run.
        task: Where its training data comes from; None without.
        teacher: The float model as it was captured, which is imitated where the task has no training data; None for
            `model` itself.

    Raises:
        TechniqueError: the technique cannot be used on this model.
        UsageError: a setting that the technique does not have.
        MissingDependencyError: a package is missing.
        ResourceError: out of time, memory or disk.
        WorkerError: the technique crashed or broke its contract.
    """
    technique = find_technique(step.technique).from_settings(step.settings, "plan")
    request = _request(model, technique, samples, settings, task, teacher or model)
    trains = technique.needs == "training"
    key = _key(request, technique)
    checkpoints = settings.cache.journal("training", key) if trains else None

    def build(place: Path) -> None:
        output, scratch = place / "changed", place / "scratch"
        placed = replace(request, checkpoints=checkpoints, scratch=scratch, output=output)
        running = training_settings(settings) if trains else settings
        title, tell = f"technique {step.technique}", settings.stage(step.technique)
        result = running.run(title, APPLY, placed, tell)
        shutil.rmtree(scratch, ignore_errors=True)
        move_contents(output, place)
        output.rmdir()
        write_value(place / _EFFORT, Effort(seconds=result.wall_s, cpu_seconds=result.cpu_s))

    cached = settings.cache.find("techniques", key) is not None
    folder = settings.cache.make("techniques", key, build)
    if checkpoints is not None:
        shutil.rmtree(checkpoints, ignore_errors=True)
    effort = read_value(folder / _EFFORT, Effort)
    return Applied(
        step=step,
        model=open_captured(folder),
        seconds=effort.seconds,
        cached=cached,
        unlabelled=request.teacher is not None,
    )


def _request(
    model: CapturedModel,
    technique: Technique,
    samples: Samples | None,
    settings: Settings,
    task: Task | None,
    teacher: CapturedModel,
) -> TechniqueRequest:
    """Returns what a technique is to do; where its files go is not known yet."""
    trains = technique.needs == "training"
    training = task.training if task is not None and trains else None
    imitates = trains and training is None and samples is not None
    base = task.base if task is not None else Path()
    return TechniqueRequest(
        technique=technique.name,
        settings=technique.settings(),
        model=model,
        samples=samples if technique.needs in ("calibration", "training") else None,
        training=training,
        training_sha256=_training_hash(technique, training, base, settings) if training else None,
        teacher=teacher if imitates else None,
        imitated=_outputs_kind(task) if imitates else None,
        base=base,
        checkpoints=None,
        scratch=Path(),
        output=Path(),
    )


def _outputs_kind(task: Task | None) -> Outputs:
    """Returns what a model's outputs are, as its metric tells: class scores, or anything."""
    named = task is not None and isinstance(task.metric, str) and classifies(task.metric)
    return "logits" if named else "embeddings"


def _key(request: TechniqueRequest, technique: Technique) -> str:
    return APPLY.key(request, tools=tuple(technique.packages.values()))


def found_techniques(
    model: CapturedModel | EdgekitError, pipeline: str, samples: Samples | None, settings: Settings, task: Task
) -> CapturedModel | None:
    """Returns what a pipeline makes of a model, as an export did; None where it would have to train for it again.

    Args:
        model: The captured model.
        pipeline: As `pipeline_name` spells it, the form that artifacts carry.
        samples: Calibration samples.
        settings: How to run.
        task: Where its training data comes from.

    Raises:
        EdgekitError: a technique cannot be used on this model.
    """
    if isinstance(model, EdgekitError):
        raise model
    captured = model
    for text in split_pipeline(pipeline):
        name, given = split_step(text, "edgekit.techniques")
        technique = find_technique(name).from_settings(given, "edgekit.techniques")
        if technique.needs == "training":
            key = _key(_request(model, technique, samples, settings, task, captured), technique)
            if settings.cache.find("techniques", key) is None:
                return None
        model = apply_technique(model, technique.step(), samples, settings, task, captured).model
    return model


def training_settings(settings: Settings) -> Settings:
    """Returns the settings with the threads of a worker that trains, and its limit unless somebody set another one."""
    timeout_s = TRAINING_TIMEOUT_S if settings.timeout_s == DEFAULT_TIMEOUT_S else settings.timeout_s
    return replace(settings, timeout_s=timeout_s, worker_threads=TRAINING_THREADS)


def _training_hash(technique: Technique, training: Training, base: Path, settings: Settings) -> str:
    """Returns a hash of what a training result depends on beside model and settings: what the user's functions give."""
    references = tuple(value for value in technique.settings().values() if isinstance(value, str) and ":" in value)
    request = TrainingDataRequest(training=training, base=base, references=references)
    report = settings.stage(technique.name)
    return settings.run("reading of the training data", FINGERPRINT, request, report).value.sha256
