"""Trains the variants of a search by successive halving, each in a worker process, each result kept."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, final

from edgekit.errors import EdgekitError
from edgekit.model import CapturedModel
from edgekit.pipeline.scratch import move_contents
from edgekit.pipeline.settings import Settings
from edgekit.pipeline.technique_stage import training_settings
from edgekit.searching.halving import Rung, ladder
from edgekit.searching.sorting import select
from edgekit.searching.survey import UntrainedVariant, costs_of
from edgekit.searching.worker_entry import TRAIN, TrainRequest, TrainResult
from edgekit.sources.captured_file import open_captured
from edgekit.training.schedule import Schedule
from edgekit.workers.structure import read_value, write_value

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
    for number, rung in enumerate(rungs):
        failed: list[EdgekitError] = []
        for place, name in enumerate(going):
            words = f"rung {number + 1} of {len(rungs)}, variant {place + 1} of {len(going)}"
            try:
                trials[name] = stage.train(trials[name], rung.epochs, words)
            except EdgekitError as error:
                failed.append(error)
                reason = f"could not be trained: {error.message}"
                trials[name] = replace(trials[name], reason=reason, is_failed=True)
            done(f"{words} ({trials[name].untrained.variant.title}): {_said(trials[name])}")
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
class _Stage:
    """Trains one variant for one rung."""

    def __init__(self, schedule: Schedule, seed: int, settings: Settings) -> None:
        self._schedule, self._seed = schedule, seed
        self._settings = training_settings(settings)
        self._journals: dict[str, Path] = {}

    def train(self, trial: Trial, until: int, words: str) -> Trial:
        """Returns the trial after `until` epochs: from the cache, from its checkpoint, or from the start.

        Raises:
            EdgekitError: it cannot be trained.
        """
        untrained, cache = trial.untrained, self._settings.cache
        request, epochs = self._request(untrained), self._schedule.epochs
        is_last = until == epochs
        report = self._settings.stage("training")

        def tell(phrase: str, share: float | None = None) -> None:
            report(f"{words} ({untrained.variant.title}): {phrase}", share)

        def build(place: Path) -> None:
            output = place / _CAPTURED
            placed = replace(
                request,
                until=until,
                checkpoint=self._journal(request.key) / "training.ckpt",
                output=output if is_last else None,
            )
            title = f"training of {untrained.variant.title}"
            result = self._settings.run(title, TRAIN, placed, tell)
            if is_last:
                move_contents(output, place)
                output.rmdir()
            write_value(place / _RECORD, TrainRecord(trained=result.value, seconds=trial.seconds + result.wall_s))

        # An earlier search may have trained it to the end, on a ladder with other rungs.
        folder = cache.find("trials", TRAIN.key(replace(request, until=epochs)))
        if folder is None:
            folder = cache.make("trials", TRAIN.key(replace(request, until=until)), build)
        if is_last:
            shutil.rmtree(self._journal(request.key), ignore_errors=True)
        record = read_value(folder / _RECORD, TrainRecord)
        history = record.trained.history[:until]
        return replace(
            trial,
            epochs=until,
            held_out=record.trained.best if is_last else _best(history),
            history=history,
            seconds=record.seconds,
            model=open_captured(folder) if is_last else None,
        )

    def _journal(self, key: str) -> Path:
        """Returns the folder of a variant's checkpoint. The cache is asked once: with --no-cache, asking empties it."""
        if key not in self._journals:
            self._journals[key] = self._settings.cache.journal("searches", key)
        return self._journals[key]

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
