"""Trains the variants of a search by successive halving, those of a rung as jobs of an engine, each result kept."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, final

from edgekit.engines.batch import run_all
from edgekit.engines.engine import JOB_TIMEOUT_S, Work
from edgekit.engines.memory import CAPTURE_BYTES
from edgekit.errors import EdgekitError, MachineError
from edgekit.model import CapturedModel
from edgekit.pipeline.scratch import move_contents
from edgekit.pipeline.settings import Settings, StageLimits
from edgekit.pipeline.technique_stage import training_settings
from edgekit.searching.halving import Rung, ladder
from edgekit.searching.sorting import select
from edgekit.searching.survey import UntrainedVariant, costs_of
from edgekit.searching.worker_entry import TRAIN, TrainRequest, TrainResult
from edgekit.sources.captured_file import open_captured
from edgekit.training.schedule import Schedule
from edgekit.workers.structure import read_value, write_value
from edgekit.workers.worker import Job, JobOptions, Progress

_RECORD: Final = "trained.json"
_CAPTURED: Final = "captured"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A variant that was trained, or that failed while it was.

    Attributes:
        untrained: What it is.
        epochs: That it was trained for.
        held_out: `loss`, `accuracy` (None where the task is no classification) and `score` of its best epoch.
        history: The same after each epoch.
        seconds: Wall-clock, of all its rungs.
        model: Captured after the last epoch; None where it did not get there.
        reason: Why it went no further, "" where it did.
        is_failed: It could not be trained.
    """

    untrained: UntrainedVariant
    epochs: int = 0
    held_out: Mapping[str, float | None] = field(default_factory=dict[str, "float | None"])
    history: tuple[Mapping[str, float | None], ...] = ()
    seconds: float = 0.0
    model: CapturedModel | None = None
    reason: str = ""
    is_failed: bool = False


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Halving:
    """What came of successive halving.

    Attributes:
        rungs: As they were planned.
        trials: In the order of the prospects.
    """

    rungs: tuple[Rung, ...]
    trials: tuple[Trial, ...]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRecord:
    """What lies in the cache for a rung of a variant.

    Attributes:
        trained: What the held-out batches said.
        seconds: Wall-clock of this rung and those before it.
    """

    trained: TrainResult
    seconds: float


def train_variants(
    untrained_variants: Sequence[UntrainedVariant],
    schedule: Schedule,
    seed: int,
    settings: Settings,
    done: Callable[[str], None] = lambda _phrase: None,
) -> Halving:
    """Trains variants, the better half of each rung on, and returns all of them; the finalists are captured.

    The better half is that of a nondominated sort of (held-out score, predicted cost). A variant that fails is no
    failure of the search, unless all do.

    Args:
        untrained_variants: What is worth training, at least one.
        schedule: Schedule of all epochs: each rung trains a part of it.
        seed: Random seed of weights and batches.
        settings: How to run.
        done: Callback that gets what the held-out batches said, each time a variant has ended a rung.

    Raises:
        EdgekitError: no variant could be trained; the last one's error.
    """
    stage = _Stage(schedule, seed, settings)
    trials = {item.variant.name: Trial(untrained=item) for item in untrained_variants}
    costs = dict(zip(trials, costs_of(untrained_variants)[1], strict=True))
    rungs = ladder(len(untrained_variants), schedule.epochs)
    going = list(trials)
    failed: list[EdgekitError] = []
    for number, rung in enumerate(rungs):

        def over(request: TrialRequest, found: TrialResult | EdgekitError) -> None:
            trial = trials[request.train.name]
            if isinstance(found, EdgekitError):
                failed.append(found)
                trial = replace(trial, reason=f"could not be trained: {found.message}", is_failed=True)
            else:
                trial = stage.trained(trial, request, found)
            trials[request.train.name] = trial
            done(f"{request.place} ({request.title}): {_said(trial)}")

        stage.run([trials[name] for name in going], rung.epochs, f"rung {number + 1} of {len(rungs)}", over)
        sound = [name for name in going if not trials[name].reason]
        if not sound:
            raise failed[-1]
        if number + 1 < len(rungs):
            going = _better(sound, trials, costs, rungs[number + 1].trials)
        for name in set(sound) - set(going):
            reason = f"behind others in held-out score and predicted cost after {_epoch_words(rung.epochs)}"
            trials[name] = replace(trials[name], reason=reason)
    return Halving(rungs=rungs, trials=tuple(trials.values()))


def _better(names: Sequence[str], trials: dict[str, Trial], costs: dict[str, float], count: int) -> list[str]:
    scores = [trials[name].held_out["score"] or 0.0 for name in names]  # a best epoch without a number was refused
    points = [(-score, costs[name]) for name, score in zip(names, scores, strict=True)]
    return [names[index] for index in select(points, count)]


def _said(trial: Trial) -> str:
    accuracy, loss = trial.held_out.get("accuracy"), trial.held_out.get("loss")
    if trial.is_failed:
        return trial.reason.splitlines()[0]
    return f"held-out accuracy {100 * accuracy:.1f} %" if accuracy is not None else f"held-out loss {loss:.3f}"


def _epoch_words(epochs: int) -> str:
    return "1 epoch" if epochs == 1 else f"{epochs} epochs"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRequest:
    """A rung of a variant to train.

    Attributes:
        train: The variant, with its key.
        until: Epochs that it will have had.
        is_first: No earlier rung of this search has trained it.
        seconds: That earlier rungs took.
        title: The variant, for messages.
        place: Which rung and which of its variants, for messages.
        limits: How its stages run.
    """

    train: TrainRequest
    until: int
    is_first: bool
    seconds: float
    title: str
    place: str
    limits: StageLimits

    @property
    def is_last(self) -> bool:
        """Whether it is trained to the end, and captured."""
        return self.until == self.train.schedule.epochs


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResult:
    """A variant that was trained: what the held-out batches said, and the key of its entry in the cache."""

    record: TrainRecord
    key: str


def train_in_worker(request: TrialRequest, progress: Progress) -> TrialResult:
    """Trains a variant for one rung: from the cache, from its checkpoint, or from the start."""
    return train_trial(request, request.limits.settings(progress), progress)


TRAIN_TRIAL: Final = Job(work=train_in_worker)


def train_trial(request: TrialRequest, settings: Settings, progress: Progress) -> TrialResult:
    """Trains a variant for one rung: from the cache, from its checkpoint, or from the start.

    Raises:
        EdgekitError: it cannot be trained.
    """
    train, cache = request.train, settings.cache
    # With --no-cache, the checkpoint of a search's own earlier rung is not one that was left from before.
    journal = replace(cache, reuse=cache.reuse or not request.is_first).journal("searches", train.key)

    def build(place: Path) -> None:
        output = place / _CAPTURED
        placed = replace(
            train,
            until=request.until,
            checkpoint=journal / "training.ckpt",
            output=output if request.is_last else None,
        )
        result = settings.run(f"training of {request.title}", TRAIN, placed, progress)
        if request.is_last:
            move_contents(output, place)
            output.rmdir()
        record = TrainRecord(trained=result.value, seconds=request.seconds + result.wall_s)
        write_value(place / _RECORD, record)

    # An earlier search may have trained it to the end, on a ladder with other rungs.
    key = TRAIN.key(replace(train, until=train.schedule.epochs))
    folder = cache.find("trials", key)
    if folder is None:
        key = TRAIN.key(replace(train, until=request.until))
        folder = cache.make("trials", key, build)
    if request.is_last:
        shutil.rmtree(journal, ignore_errors=True)
    return TrialResult(record=read_value(folder / _RECORD, TrainRecord), key=key)


@final
class _Stage:
    """Trains the variants of a rung."""

    def __init__(self, schedule: Schedule, seed: int, settings: Settings) -> None:
        self._schedule, self._seed = schedule, seed
        self._settings = training_settings(settings)

    def run(
        self,
        trials: Sequence[Trial],
        until: int,
        rung: str,
        over: Callable[[TrialRequest, TrialResult | EdgekitError], None],
    ) -> None:
        """Trains variants until they have had so many epochs; `over` is called for each as soon as it has ended."""
        requests = [
            self._trial_request(trial, until, f"{rung}, variant {index + 1} of {len(trials)}")
            for index, trial in enumerate(trials)
        ]
        run_all(requests, self._settings, here=self._here, work=self._work, over=over)

    def trained(self, trial: Trial, request: TrialRequest, found: TrialResult) -> Trial:
        """Returns the trial as it is after a rung.

        Raises:
            MachineError: another machine has trained it, and this one has no way to what it made.
        """
        history = found.record.trained.history[: request.until]
        return replace(
            trial,
            epochs=request.until,
            held_out=found.record.trained.best if request.is_last else _best(history),
            history=history,
            seconds=found.record.seconds,
            model=open_captured(self._entry(found.key)) if request.is_last else None,
        )

    def _entry(self, key: str) -> Path:
        folder = replace(self._settings.cache, reuse=True).find("trials", key)
        if folder is None:
            raise MachineError(
                f"What another machine has trained (trials {key[:8]}) is not on this one. Give every machine the same "
                "EDGEKIT_CACHE_DIR in a shared folder, or --cache URL --cache-write."
            )
        return folder

    def _here(self, request: TrialRequest) -> TrialResult:
        return train_trial(request, self._settings, self._tell(request))

    def _work(self, request: TrialRequest) -> Work:
        return Work(
            name=f"{request.place}: {request.train.key}",
            job=TRAIN_TRIAL,
            request=request,
            options=JobOptions(title=f"training of {request.title}", timeout_s=JOB_TIMEOUT_S),
            memory_bytes=CAPTURE_BYTES,
            progress=self._tell(request),
        )

    def _tell(self, request: TrialRequest) -> Progress:
        report = self._settings.stage("training")

        def tell(phrase: str, share: float | None = None) -> None:
            report(f"{request.place} ({request.title}): {phrase}", share)

        return tell

    def _trial_request(self, trial: Trial, until: int, place: str) -> TrialRequest:
        return TrialRequest(
            train=self._request(trial.untrained),
            until=until,
            is_first=not trial.epochs,
            seconds=trial.seconds,
            title=trial.untrained.variant.title,
            place=place,
            limits=self._settings.limits(),
        )

    def _request(self, untrained: UntrainedVariant) -> TrainRequest:
        """Returns all that the weights depend on: the untrained network, the data, the schedule, the seed."""
        task = untrained.task
        request = TrainRequest(
            name=untrained.variant.name,
            references=untrained.references,
            base=task.base,
            training=untrained.trained_on,
            training_sha256=untrained.training,
            untrained=untrained.model,
            calibration=task.calibration,
            metadata={name: value for name, value in task.metadata.items() if name != "name"},
            schedule=self._schedule,
            seed=self._seed,
        )
        return replace(request, key=TRAIN.key(request))


def _best(history: Sequence[Mapping[str, float | None]]) -> Mapping[str, float | None]:
    """Returns the epoch of the highest score; of equals the last one, as training keeps it."""
    return max(reversed(history), key=lambda epoch: -math.inf if epoch["score"] is None else epoch["score"])
