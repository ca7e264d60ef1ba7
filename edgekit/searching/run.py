"""A search from end to end: the grid, what cannot fit, training by halving, measuring, the files of the front."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from edgekit.budget import Budget
from edgekit.errors import ConfigError, EdgekitError, ResourceError, UsageError
from edgekit.exporting.export import recorded_packages
from edgekit.exporting.inputs import Inputs, describe_data, read_inputs
from edgekit.exporting.report import describe_environment
from edgekit.metrics.table import against_float
from edgekit.model import CapturedModel
from edgekit.pipeline.analysis import analyze_model
from edgekit.pipeline.capture import capture_model
from edgekit.pipeline.convert import why_not_made
from edgekit.pipeline.settings import Settings
from edgekit.planner.candidates import with_predictions
from edgekit.planner.make import make_plan
from edgekit.profiles.profile import DeviceProfile
from edgekit.recipe import Candidate
from edgekit.searching.grid import spread, variants_of
from edgekit.searching.halving import Rung
from edgekit.searching.measuring import MeasuredVariant, SampleCache, check_same_items, check_targets, measure
from edgekit.searching.result import Fate, Row, SearchResult, artifact_name, write_search
from edgekit.searching.survey import Target, UntrainedVariant, costs_of, survey
from edgekit.searching.training_stage import Trial, train_variants
from edgekit.sources.table import classify
from edgekit.task.task import SearchSpace, Task, Training
from edgekit.training.schedule import Optimizer, Schedule
from edgekit.trials.float_heads import find_float_heads
from edgekit.workers.atomic_files import copy_atomically
from edgekit.workers.cache import versions


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """What is to be searched.

    Attributes:
        task: The task; its own model is the reference.
        profile: The device.
        budget: The limits in force.
        formats: Formats to choose from; empty for the profile's runtimes.
        precision: A preset that the user forces; None lets the planner choose.
        epochs: Epochs of the finalists; 0 for as many as the task names.
        trials: Variants that are trained at most.
        seed: Random seed of weights and batches.
        learning_rate: The highest one.
        optimizer: `sgd` or `adamw`.
    """

    task: Task
    profile: DeviceProfile
    budget: Budget
    formats: tuple[str, ...] = ()
    precision: str | None = None
    epochs: int = 0
    trials: int = 16
    seed: int = 0
    learning_rate: float = 0.1
    optimizer: Optimizer = "sgd"


def search(
    request: SearchRequest,
    folder: Path,
    settings: Settings,
    done: Callable[[str, str], None] = lambda _stage, _phrase: None,
) -> SearchResult:
    """Searches, and writes `search.json`, the models and the artifacts of the Pareto front into `folder`.

    Args:
        request: What is to be searched.
        folder: Where the results go; it can be written.
        settings: How to run.
        done: Callback that gets (stage, phrase) when a stage has ended.

    Raises:
        ConfigError: the task file lacks something that a search needs, or a parameter belongs to no function.
        UsageError: no format can hold the model.
        EdgekitError: the model or the data is wrong, or no variant could be trained.
        KeyboardInterrupt: after the running worker was ended; finished work is kept.
    """
    task = request.task
    space, training = _require(task)
    variants = variants_of(space)
    model = capture_model(task, settings)
    target = Target(profile=request.profile, budget=request.budget, choice=_choose(request, model, settings))
    untrained_variants, bindings = survey(task, space, training, variants, target, request.seed, settings)
    chosen, notes = _worth_training(untrained_variants, request.trials)
    if task.techniques:
        notes.append("the task's techniques are omitted: all networks are compared as they are")
    down = sum(bool(item.reason) for item in untrained_variants)
    done("variants", f"{len(variants)} variants, {down} rejected, {len(chosen)} to train")
    inputs = read_inputs(task, (target.choice.runtime,), settings, model=model)
    check_targets(inputs)
    # Before the hours of training: what does not convert or run here would not after them either.
    settings.progress("measuring", "your model", None)
    own = measure(inputs, target.choice, target, inputs, None, settings)
    sample_cache = SampleCache(inputs, settings)
    rungs, trials = _train(chosen, sample_cache, inputs, request, settings, done)
    if not chosen:
        done("training", "nothing to train")
    rows = _measure(untrained_variants, trials, sample_cache, inputs, own, target, settings)
    done("measuring", f"{sum(row.measured is not None for row in rows)} variants measured beside your model")
    result = SearchResult(
        device=request.profile.name,
        device_title=request.profile.title,
        runtime=target.choice.runtime,
        recipe=target.choice.recipe,
        metric=task.metric,
        limits=request.budget.limits,
        parameters=dict(space.parameters),
        bindings=bindings,
        epochs=request.epochs or training.epochs,
        seed=request.seed,
        rungs=rungs,
        reference=Row(
            name="",
            arguments={},
            fate="measured",
            model=model,
            predictions=target.choice.predictions,
            measured=own,
        ),
        rows=rows,
        notes=tuple(notes),
        environment=describe_environment(versions(recorded_packages())),
        data=describe_data(inputs),
    )
    _write(result, folder)
    return result


def _require(task: Task) -> tuple[SearchSpace, Training]:
    """Returns what a search needs of a task.

    Raises:
        ConfigError: something is missing, all at once, or the metric compares with the float model.
    """
    where = task.config or "The task"
    missing: list[str] = []
    if task.search is None:
        missing.append("[search], a table of parameters with their values, such as width = [8, 16]")
    if task.training is None:
        missing.append("[training] with batches and loss: every variant is trained")
    if task.evaluation is None:
        missing.append("[data] evaluation with targets: accuracy decides between variants")
    if against_float(task.metric):
        missing.append(
            f'another [data] metric than "{task.metric}", which compares a network with its own float model and says '
            'nothing between two networks: "top1", "spearman" or "metrics.py:function"'
        )
    if task.search is None or task.training is None or missing:
        lines = "\n".join(f"  {item}" for item in missing)
        raise ConfigError(f"{where}: edgekit search needs\n{lines}\nSee docs/commands/search.md.")
    source = task.search.factory or task.model
    if classify(source, task.base, "" if task.search.factory else task.model_from) != "torch":
        raise ConfigError(
            f"{where}: {source} is a file, and variants need a function that builds them. "
            'Name it: [search] factory = "model.py:build".'
        )
    return task.search, task.training


def _choose(request: SearchRequest, model: CapturedModel, settings: Settings) -> Candidate:
    """Returns the format and the recipe that the planner recommends for the task's own model, with its predictions.

    Raises:
        UsageError: no format can hold it.
    """
    analysis = analyze_model(model, settings)
    made = make_plan(
        model,
        analysis,
        request.profile,
        request.budget.without_profile_paths(),
        formats=request.formats,
        precision=request.precision,
        why_not=why_not_made(model, analysis),
        has_calibration=request.task.calibration is not None,
        heads=find_float_heads(request.task, model, analysis, settings),
    )
    if made.chosen is None:
        reasons = "\n".join(f"  {item.candidate}: {item.reason}" for item in made.rejected)
        raise UsageError(
            f"{model.source} cannot be exported for {request.profile.name}:\n{reasons}\n"
            "Name another format with --format, or another precision with --precision."
        )
    return with_predictions(
        Candidate(runtime=made.chosen.runtime, recipe=made.chosen.recipe), analysis, request.profile
    )


def _worth_training(
    untrained_variants: Sequence[UntrainedVariant], trials: int
) -> tuple[tuple[UntrainedVariant, ...], list[str]]:
    """Returns the prospects to train, and what to say about those that are left out."""
    fitting = [item for item in untrained_variants if not item.reason]
    if len(fitting) <= trials:
        return tuple(fitting), []
    name, costs = costs_of(fitting)
    chosen = tuple(fitting[index] for index in spread(costs, trials))
    return chosen, [f"{len(fitting)} variants fit and --trials {trials} are trained: those spread evenly over {name}"]


def _train(
    chosen: Sequence[UntrainedVariant],
    sample_cache: SampleCache,
    inputs: Inputs,
    request: SearchRequest,
    settings: Settings,
    done: Callable[[str, str], None],
) -> tuple[tuple[Rung, ...], dict[str, Trial]]:
    """Trains what is worth it; the evaluation data of all variants is looked at first, for that is quick."""
    training = request.task.training
    if not chosen or training is None or inputs.evaluation is None:
        return (), {}
    for item in chosen:
        if (
            item.model is not None
            and (samples := sample_cache.samples(item.task, item.model, "evaluation")) is not None
        ):
            check_same_items(inputs.evaluation, samples, item.variant.title)
    schedule = Schedule(
        epochs=request.epochs or training.epochs, learning_rate=request.learning_rate, optimizer=request.optimizer
    )
    halving = train_variants(chosen, schedule, request.seed, settings, lambda phrase: done("training", phrase))
    return halving.rungs, {trial.untrained.variant.name: trial for trial in halving.trials}


def _measure(
    untrained_variants: Sequence[UntrainedVariant],
    trials: dict[str, Trial],
    sample_cache: SampleCache,
    inputs: Inputs,
    own: MeasuredVariant,
    target: Target,
    settings: Settings,
) -> tuple[Row, ...]:
    """Returns the rows of all variants; the finalists are measured beside the task's own model."""
    rows: list[Row] = []
    for item in untrained_variants:
        row = _row(item, trials.get(item.variant.name))
        if row.fate == "measured" and row.model is not None and item.candidate is not None:
            settings.progress("measuring", item.variant.title, None)
            try:
                found = measure(
                    sample_cache.inputs(item.task, row.model), item.candidate, target, inputs, own.artifact, settings
                )
                row = replace(row, measured=found)
            except EdgekitError as error:
                row = replace(row, fate="failed", reason=f"could not be measured: {error.message}")
        rows.append(row)
    return tuple(rows)


def _row(item: UntrainedVariant, trial: Trial | None) -> Row:
    """Returns what is known about a variant before it is measured; `fate` is "measured" where it will be."""
    row = Row(
        name=item.variant.name,
        arguments=dict(item.variant.arguments),
        fate="turned down" if item.candidate is not None else "failed",
        reason=item.reason,
        model=item.model,
        predictions=item.candidate.predictions if item.candidate else (),
        references={str(role): text for role, text in item.references.items()},
    )
    if item.reason:
        return row
    if trial is None:
        return replace(row, fate="left out", reason="not trained: more variants fit than --trials")
    fate: Fate = "failed" if trial.is_failed else "measured" if trial.model is not None else "dropped"
    return replace(
        row,
        fate=fate,
        reason=trial.reason,
        model=trial.model or item.model,
        epochs=trial.epochs,
        held_out=trial.held_out,
        history=trial.history,
        seconds=trial.seconds,
    )


def _write(result: SearchResult, folder: Path) -> None:
    """Writes the models and artifacts that are kept, each whole or not at all, and `search.json` last.

    Raises:
        ResourceError: the folder cannot be written.
    """
    try:
        for row in result.kept:
            if row.model is not None and row.measured is not None:
                copy_atomically(row.model.path, folder / f"{row.name}.pt2")
                copy_atomically(row.measured.artifact.path, folder / artifact_name(row))
        write_search(result, folder)
    except OSError as error:
        raise ResourceError(f"{folder} cannot be written: {error.strerror}. Give another one with --output.") from error
