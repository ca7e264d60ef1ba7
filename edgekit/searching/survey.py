"""Before anything is trained: every variant captured, its costs predicted, and those rejected that cannot fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

from edgekit.analysis.graph import Analysis
from edgekit.budget import Budget
from edgekit.errors import ConfigError
from edgekit.model import CapturedModel
from edgekit.pipeline.analysis import analyze_model
from edgekit.pipeline.convert import why_not_made
from edgekit.pipeline.settings import Settings
from edgekit.planner.candidates import with_predictions
from edgekit.planner.choice import check_candidate, excess_words
from edgekit.profiles.profile import DeviceProfile
from edgekit.recipe import Candidate
from edgekit.searching.binding import Bindings, Role, bind, references_of, task_of
from edgekit.searching.grid import Variant
from edgekit.searching.worker_entry import LOOK, VariantsRequest
from edgekit.sources.captured_file import open_captured
from edgekit.task.task import SearchSpace, Task, Training

JUDGED: Final = ("size", "download", "memory", "latency", "latency_p95")
"""Costs that follow from the graph: a variant whose whole band breaks one of these limits is not trained."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class UntrainedVariant:
    """A variant before it is trained.

    Attributes:
        variant: Its parameters.
        task: The task with the parameters handed to its functions.
        references: Those functions by role.
        model: As it was captured, untrained; None where it cannot be built.
        candidate: What its artifact is predicted to cost; None where it cannot be built.
        training: Hash of its training data.
        reason: Why it is rejected, "" where it is not.
    """

    variant: Variant
    task: Task
    references: Mapping[Role, str]
    model: CapturedModel | None
    candidate: Candidate | None
    training: str
    reason: str

    @property
    def trained_on(self) -> Training:
        """The task's training data.

        Raises:
            ConfigError: the task has none.
        """
        if self.task.training is None:
            raise ConfigError("A search trains every variant, and the task has no [training] batches and loss.")
        return self.task.training


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What all variants are made into, and what they are held against.

    Attributes:
        profile: The device.
        budget: The limits in force.
        choice: Format and recipe.
    """

    profile: DeviceProfile
    budget: Budget
    choice: Candidate


def survey(
    task: Task, space: SearchSpace, training: Training, variants: Sequence[Variant], target: Target, seed: int,
    settings: Settings,
) -> tuple[tuple[UntrainedVariant, ...], Bindings]:  # fmt: skip
    """Returns every variant with what it is predicted to cost, and which function takes which parameter.

    Raises:
        ConfigError: a reference is wrong, a parameter belongs to no function, or no variant can be built.
    """
    references = references_of(task, space)
    with settings.cache.scratch() as folder:
        request = VariantsRequest(
            references=references,
            variants=tuple(variants),
            base=task.base,
            training=training,
            calibration=task.calibration,
            metadata={key: value for key, value in task.metadata.items() if key != "name"},
            seed=seed,
            folder=folder,
        )
        looked = settings.run("capture of the variants", LOOK, request, settings.stage("variants")).value
        bindings: Bindings = looked.bindings
        made: list[UntrainedVariant] = []
        for item in variants:
            bound = bind(references, dict(item.arguments), bindings)
            facts = looked.variants[item.name]
            model, candidate, reason = None, None, f"cannot be built: {facts.error}"
            if not facts.error:
                model = open_captured(folder / item.name)
                candidate, reason = _predict(model, analyze_model(model, settings), target)
            made.append(
                UntrainedVariant(
                    variant=item,
                    task=task_of(task, item, bound),
                    references=bound,
                    model=model,
                    candidate=candidate,
                    training=facts.training_sha256,
                    reason=reason,
                )
            )
    if all(item.model is None for item in made):
        raise ConfigError(f"[search]: no variant can be built. {made[0].variant.title} {made[0].reason}")
    return tuple(made), bindings


def _predict(model: CapturedModel, analysis: Analysis, target: Target) -> tuple[Candidate, str]:
    """Returns what a variant's artifact will cost, and why that is too much, "" where it is not."""
    choice = Candidate(runtime=target.choice.runtime, recipe=target.choice.recipe)
    candidate = with_predictions(choice, analysis, target.profile)
    if refused := why_not_made(model, analysis)(choice.runtime, choice.recipe):
        return candidate, refused
    broken = [
        excess_words(check, limit)
        for check in check_candidate(candidate, target.budget)
        if check.name in JUDGED
        and check.verdict == "fail"
        and check.level == "error"
        and (limit := target.budget.get(check.name)) is not None
    ]
    return candidate, f"predicted {'; '.join(broken)}" if broken else ""


def costs_of(untrained_variants: Sequence[UntrainedVariant]) -> tuple[str, tuple[float, ...]]:
    """Returns (the cost's name, one value a prospect) to compare them by before they run.

    Predicted latency on the device; where some have no prediction, multiply-accumulates, which order networks of one
    kind alike.
    """
    latencies = [item.candidate.prediction("latency") if item.candidate else None for item in untrained_variants]
    values = [item.value for item in latencies if item is not None and item.value is not None]
    if len(values) == len(untrained_variants):
        return "predicted latency", tuple(values)
    return "multiply-accumulates", tuple(
        float(item.model.macs or 0) if item.model else 0.0 for item in untrained_variants
    )
