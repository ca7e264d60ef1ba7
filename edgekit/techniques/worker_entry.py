"""Applies a technique: the worker process's side of `pipeline.apply_technique`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

from edgekit.model import CapturedModel
from edgekit.samples import Samples
from edgekit.task.references import Value
from edgekit.task.task import Training
from edgekit.techniques.base import DEFAULT_SEED, Context
from edgekit.techniques.base import technique as find_technique
from edgekit.training.imitation import Outputs
from edgekit.training.training_data import TrainingData, fingerprint, open_training
from edgekit.workers.request_key import Place, TechniqueName
from edgekit.workers.worker import Job, Progress


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TechniqueRequest:
    """Which technique to apply to what.

    Attributes:
        technique: Its name.
        settings: All of its settings.
        model: The captured model.
        samples: Calibration samples; None where it needs none.
        training: What to train on; None where it does not train.
        training_sha256: Hash of the training data and its code.
        teacher: Whom a technique that trains imitates on the calibration samples, where the task has no training data.
        imitated: What the outputs are that it imitates.
        base: Folder that references start from.
        checkpoints: Folder that outlives an interrupted run; None keeps nothing.
        scratch: Folder for intermediate files.
        output: Where the changed model goes.
    """

    technique: TechniqueName
    settings: Mapping[str, Value]
    model: CapturedModel
    samples: Samples | None
    training: Training | None
    training_sha256: str | None
    teacher: CapturedModel | None
    imitated: Outputs | None
    base: Place
    checkpoints: Place | None
    scratch: Place
    output: Place


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingDataRequest:
    """Which training data to look at.

    Attributes:
        training: The task's table.
        base: Folder that references start from.
        references: Functions that a technique's settings name beside it.
    """

    training: Training
    base: Place
    references: tuple[str, ...]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingDataHash:
    """Digest of what is trained on."""

    sha256: str


def run(request: TechniqueRequest, progress: Progress) -> CapturedModel:
    """Applies a technique and returns the changed model."""
    technique = find_technique(request.technique).from_settings(request.settings, "plan")
    request.scratch.mkdir(parents=True)
    context = Context(
        samples=request.samples,
        scratch=request.scratch,
        progress=progress,
        training=_training(request),
        checkpoints=request.checkpoints,
        base=request.base,
    )
    return technique.run(request.model, context, request.output)


def _training(request: TechniqueRequest) -> TrainingData | None:
    """Returns what a technique that trains learns from: the user's batches, else the float model's outputs."""
    from edgekit.techniques.unlabelled import imitation_data

    if request.training is not None:
        return open_training(request.training, request.base)
    if request.teacher is None or request.samples is None or request.imitated is None:
        return None
    return imitation_data(request.samples, request.teacher, request.imitated)


def fingerprint_training(request: TrainingDataRequest, progress: Progress) -> TrainingDataHash:
    """Returns a hash of the training data and of what a setting names beside it, for the cache."""
    progress("looking at the training data", None)
    return TrainingDataHash(sha256=fingerprint(request.training, request.base, DEFAULT_SEED, request.references))


APPLY: Final = Job(work=run)
FINGERPRINT: Final = Job(work=fingerprint_training)
