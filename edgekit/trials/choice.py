"""What an export makes: the planner's choice, or a plan from a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, final

from edgekit.budget import PATHS
from edgekit.errors import ResourceError, UsageError
from edgekit.files.bounded_reading import read_json
from edgekit.task.request import Request

if TYPE_CHECKING:
    from edgekit.analysis.graph import Analysis
    from edgekit.converters.base import IoType
    from edgekit.exporting.artifact_data import ArtifactData
    from edgekit.exporting.report import ExportReport
    from edgekit.model import CapturedModel
    from edgekit.pipeline.settings import Settings
    from edgekit.planner.plan import Plan
    from edgekit.recipe import Candidate, Effort, Rejection
    from edgekit.trials.planning import PlanRequest


def parse_io(text: str) -> IoType:
    """Returns the type of inputs and outputs that `--io` names.

    Raises:
        UsageError: no such type.
    """
    if text not in ("float", "int8"):
        raise UsageError(f'--io "{text}" is not known: accepted are float, int8.')
    return "int8" if text == "int8" else "float"


def refuse_techniques(request: Request, model: CapturedModel) -> None:
    """Checks before any work that the techniques that were requested can be used.

    Raises:
        TechniqueError: the first one that cannot, with its reason.
    """
    from edgekit.errors import TechniqueError
    from edgekit.techniques.base import technique as find_technique

    for step in request.techniques:
        technique = find_technique(step.technique).from_settings(step.settings, "--technique")
        if reason := technique.why_not_usable(model, request.task, request.profile):
            raise TechniqueError(f"{step.technique} cannot be used on {model.source}: {reason}.")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What to make, and the plans that say why."""

    candidates: Sequence[Candidate]
    rejected: Sequence[Rejection]
    plans: Sequence[Plan]


def choose(request: Request, model: CapturedModel, effort: Effort, settings: Settings) -> Choice:
    """Returns one candidate for each format that was requested, or the planner's one choice.

    A format that was requested by name is made even where no precision keeps the budgets: the verdict says so then.
    """
    from edgekit.planner.recipes import resolve_precision, steps_of
    from edgekit.recipe import Candidate, Rejection
    from edgekit.trials.planning import plan as make_plan

    requested = plan_request(request, model, effort, settings)
    candidates: list[Candidate] = []
    device = request.profile.name
    rejected = [
        Rejection(candidate=name, reason=f"{device} does not run it; --format {name} makes it all the same")
        for name in request.omitted
    ]
    plans: list[Plan] = []
    wanted: list[tuple[str, ...]] = [(name,) for name in request.formats]
    for i, formats in enumerate(wanted or [()]):
        made = make_plan(replace(requested, formats=formats, siblings=tuple(request.formats[i + 1 :])), settings)
        rejected += made.rejected
        plans.append(made)
        if made.chosen is not None:
            candidates.append(made.chosen)
        elif formats:
            # Nothing can be made: the converter itself says why, in the table and with the right exit code.
            options = request.profile.options.get(formats[0])
            analysis = requested.analysis
            dense = analysis.has_dense_outputs
            recipe = resolve_precision(
                request.precision or "int8", analysis.family, formats[0], options, dense_outputs=dense
            )
            candidates.append(Candidate(runtime=formats[0], recipe=recipe, steps=steps_of(recipe)))
    if not candidates:
        reasons = "\n".join(f"  {item.candidate}: {item.reason}" for item in rejected)
        raise UsageError(
            f"{model.source} cannot be exported for {request.profile.name}:\n{reasons}\n"
            "Name another format with --format, or another precision with --precision."
        )
    return Choice(candidates=candidates, rejected=rejected, plans=plans)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFile:
    """A plan that `plan -o` wrote, and where it lies."""

    path: Path
    plan: Plan

    def restrict(self, request: Request) -> Request:
        """Returns the request with the plan's limits; those of flags that were given now come first.

        Raises:
            UsageError: it asks for another device than the plan is for.
        """
        if request.profile.name != self.plan.device:
            raise UsageError(
                f"{self.path} was made for {self.plan.device}, and --device names {request.profile.name}. "
                "Leave --device away, or plan for that device."
            )
        flags = [limit for limit in request.budget.limits if limit.source.startswith("--")]
        paths = [limit for limit in request.budget.limits if limit.name in PATHS]
        budget = self.plan.budget.overridden_by([*paths, *flags])
        return replace(request, budget=replace(budget, waived=request.budget.waived, runtimes=request.budget.runtimes))

    def choice_for(self, model: CapturedModel) -> Choice:
        """Returns what the plan chose and what it rejected.

        Raises:
            UsageError: it was made for another model, it chose nothing, or it has a step that this edgekit cannot do.
        """
        from edgekit import registry
        from edgekit.planner.recipes import steps_of

        made = self.plan
        if made.model.digest != model.digest:
            raise UsageError(
                f"{self.path} was made for {made.model.source} with digest {made.model.digest[:12]}; the model is now "
                f"{model.source} with digest {model.digest[:12]}. Plan again, or give the model that the plan is for."
            )
        if made.chosen is None:
            raise UsageError(
                f"{self.path} chose nothing: no format can hold this model. Plan again with other formats."
            )
        known = {*registry.technique_names(), *(step.technique for step in steps_of(made.chosen.recipe))}
        unknown = [step.technique for step in made.chosen.steps if step.technique not in known]
        if unknown:
            raise UsageError(
                f"{self.path} asks for {', '.join(unknown)}, which this edgekit cannot do. "
                f"Write the plan anew with: edgekit plan --device {made.device} -o {self.path}"
            )
        return Choice(candidates=(made.chosen,), rejected=made.rejected, plans=(made,))


def check_undecided(*, decided: bool) -> None:
    """Checks that nothing else says what a plan has decided.

    Raises:
        UsageError: something does.
    """
    if decided:
        raise UsageError("--plan has decided what --format, --precision and --effort are about: omit them.")


def read_plan_file(path: Path, *, decided: bool) -> PlanFile:
    """Returns the plan in a file.

    Args:
        path: The file.
        decided: Flags were given that say what the plan has decided.

    Raises:
        UsageError: no such file, no plan, or such flags.
    """
    from edgekit.planner.plan import Plan

    check_undecided(decided=decided)
    try:
        data = read_json(path, UsageError)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file. Write a plan with: edgekit plan --device NAME -o {path}") from None
    except UsageError as error:
        raise UsageError(f"{error.message} Write it anew with: edgekit plan --device NAME -o {path}") from None
    if not isinstance(data, dict):
        raise UsageError(f"{path}: not a plan. Write one with: edgekit plan --device NAME -o {path}")
    return PlanFile(path=path, plan=Plan.from_json(data, str(path)))


def plan_request(
    request: Request,
    captured: CapturedModel,
    effort: Effort,
    settings: Settings,
    *,
    trial: bool = False,
    data_to_come: bool = False,
) -> PlanRequest:
    """Returns what is to be planned: the model analysed, from the cache where nothing changed."""
    from edgekit.pipeline.analysis import analyze_model
    from edgekit.trials.planning import PlanRequest

    return PlanRequest(
        task=request.task,
        model=captured,
        analysis=analyze_model(captured, settings),
        profile=request.profile,
        # No plan can tell which path an operator will take: the profile's limits on that are for artifacts.
        budget=request.budget.without_profile_paths(),
        formats=request.formats,
        precision=request.precision,
        effort=effort,
        prefer=request.prefer,
        data_to_come=data_to_come,
        trial=trial,
        techniques=request.techniques,
    )


def plan_model(request: Request, effort: Effort, settings: Settings, *, trial: bool = False) -> tuple[Plan, Analysis]:
    """Returns the plan for a request, and the costed graph that it was made from.

    With `trial`, the float model is converted to every format first: only that finds what a converter cannot hold.
    """
    from edgekit.pipeline.capture import capture_model
    from edgekit.trials.planning import plan

    captured = capture_model(request.task, settings)
    requested = plan_request(request, captured, effort, settings, trial=trial, data_to_come=True)
    return plan(requested, settings), requested.analysis


def finished_model(request: Request, *, decided: bool) -> Path | None:
    """Returns the model that was requested where it is a finished file: there is nothing left to plan about it.

    Raises:
        UsageError: it is one, and flags were given that ask for a file to be made.
    """
    from edgekit.exporting.fit import is_finished

    task = request.task
    path = task.base / task.model
    if not is_finished(path):
        return None
    if decided:
        raise UsageError(
            f"{task.model} is a finished file: its format and precision are what they are. Leave --format, "
            "--precision and --output out, or give the float model that it was made from."
        )
    return path


def fit_finished(path: Path, request: Request, data: ArtifactData, settings: Settings) -> ExportReport:
    """Returns whether a finished file fits the device."""
    from edgekit.exporting.fit import fit

    return fit(path, data, request.profile, request.budget, settings)


def write_plan(path: Path, plan: Plan) -> None:
    """Writes a plan as JSON, whole or not at all, for a later export.

    Raises:
        ResourceError: the file cannot be written.
    """
    from edgekit.workers.atomic_files import write_text

    try:
        write_text(path, json.dumps(plan.to_json(), indent=1) + "\n")
    except OSError as error:
        raise ResourceError(
            f"{path}: the plan cannot be written: {error.strerror}. "
            "Name a file in a folder that exists and is writable."
        ) from error
