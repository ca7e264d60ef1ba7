"""A plan: what to do, what it is predicted to cost, and why everything else was rejected; to JSON and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, final

from edgekit.budget import Budget, Limit
from edgekit.checks import Check
from edgekit.errors import UsageError
from edgekit.model import Family
from edgekit.planner.float_heads import KeptHead
from edgekit.recipe import Candidate, Precision, Prediction, Recipe, Rejection, Step
from edgekit.workers.structure import unstructure

ValueT = TypeVar("ValueT")

SCHEMA_VERSION: Final = 1


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerUp:
    """A candidate that keeps the known budgets too, and why another is preferred."""

    candidate: Candidate
    reason: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LayerLoss:
    """What one module in one precision costs in accuracy, measured with all others in float.

    Attributes:
        module: Dotted name.
        precision: Precision of this module.
        noise: Noise power at the outputs over their signal power.
        points: What that is expected to lose of the task's metric, in percentage points; None where it has no estimate.
        metric: The metric that `points` were measured by; "" where they follow from the noise.
    """

    module: str
    precision: Precision
    noise: float
    points: float | None = None
    metric: str = ""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FormatObstacle:
    """A format that the model cannot become at any precision, and why."""

    runtime: str
    reason: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What a plan says about its model (see `CapturedModel` for the fields)."""

    name: str
    source: str
    digest: str
    parameters: int
    macs: int | None
    family: Family
    family_evidence: str
    embedded_default: bool


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do for one device.

    Attributes:
        model: Facts about the model.
        device: Name of the profile.
        device_title: Its title.
        limits: The budgets in force, each with who set it.
        feasible: True if the chosen candidate keeps every budget that can be predicted.
        chosen: The candidate to export; where nothing fits, the nearest one; None where there is no candidate at all.
        reasons: Why it was chosen, sentences.
        checks: The chosen candidate's predictions held against the limits.
        baseline: What the float model costs in the same runtime: the "today" of a table.
        runners_up: Candidates that keep the known budgets too, best first.
        rejected: Candidates that were rejected.
        misses: Where nothing fits: by what the nearest candidate misses, sentences.
        remedies: Where nothing fits: what would make it fit, smallest change first, sentences.
        warnings: What a person should know.
        effort: quick, default or thorough: what was run for it.
        prefer: balanced, accuracy, size or speed: what decided among those that fit.
        sensitivity: What each layer costs in accuracy, where it was measured.
        considered: All candidates that were judged, best first, with what each is predicted to cost.
        heads: Heads that the chosen recipe keeps in float, and what that costs.
    """

    model: ModelFacts
    device: str
    device_title: str
    limits: tuple[Limit, ...]
    feasible: bool
    chosen: Candidate | None
    reasons: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    baseline: tuple[Prediction, ...] = ()
    runners_up: tuple[RunnerUp, ...] = ()
    rejected: tuple[Rejection, ...] = ()
    misses: tuple[str, ...] = ()
    remedies: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    effort: str = "quick"
    prefer: str = "balanced"
    sensitivity: tuple[LayerLoss, ...] = ()
    considered: tuple[Candidate, ...] = ()
    heads: tuple[KeptHead, ...] = ()

    @property
    def budget(self) -> Budget:
        """The limits as a budget."""
        return Budget(limits=self.limits)

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON that CI users rely on (`plan --json`) and that `export --plan` carries out."""
        model, chosen = self.model, self.chosen
        return {
            "schema_version": SCHEMA_VERSION,
            "command": "plan",
            "device": self.device,
            "device_title": self.device_title,
            "runtime": chosen.runtime if chosen else None,
            "feasible": self.feasible,
            "passed": self.feasible,
            "effort": self.effort,
            "prefer": self.prefer,
            "model": {name: getattr(model, name) for name in ModelFacts.__dataclass_fields__},
            "steps": [step.to_json() for step in chosen.steps] if chosen else [],
            "recipe": chosen.recipe.to_json() if chosen else None,
            "checks": [check.to_json() for check in self.checks],
            "predictions": [item.to_json() for item in chosen.predictions] if chosen else [],
            "baseline": [item.to_json() for item in self.baseline],
            "reasons": list(self.reasons),
            "runners_up": [{**_candidate_to_json(r.candidate), "reason": r.reason} for r in self.runners_up],
            "rejected": [item.to_json() for item in self.rejected],
            "misses": list(self.misses),
            "remedies": list(self.remedies),
            "limits": [_limit_to_json(limit) for limit in self.limits],
            "warnings": list(self.warnings),
            "sensitivity": [
                {name: getattr(item, name) for name in LayerLoss.__dataclass_fields__} for item in self.sensitivity
            ],
            "considered": [_candidate_to_json(candidate) for candidate in self.considered],
            "heads": [unstructure(item) for item in self.heads],
            "artifacts": [],
        }

    @staticmethod
    def from_json(data: Mapping[str, Any], source: str = "plan") -> Plan:
        """Returns the plan that `to_json` wrote.

        Args:
            data: The JSON object.
            source: The file it came from, for messages.

        Raises:
            UsageError: not a plan, of a schema that this edgekit does not read, or its faults (all at once).
            InputError: a precision that edgekit does not know.
        """
        version = data.get("schema_version")
        if data.get("command") != "plan" or version != SCHEMA_VERSION:
            raise UsageError(
                f'{source}: not a plan of schema {SCHEMA_VERSION}: "command" is {data.get("command")!r}, '
                f'"schema_version" is {version!r}. '
                "Write one with: edgekit plan --device NAME -o plan.json"
            )
        from edgekit.measurements.figure_schema import check_record
        from edgekit.planner.plan_schema import PlanFileSchema

        advice = "Write it anew with: edgekit plan --device NAME -o plan.json"
        return _from_json(check_record(Path(source), data, PlanFileSchema, UsageError, advice))


def _from_json(data: Mapping[str, Any]) -> Plan:
    chosen = {key: data[key] for key in ("runtime", "recipe", "steps", "predictions")}
    return Plan(
        model=_known(ModelFacts, data["model"]),
        device=data["device"],
        device_title=data["device_title"],
        limits=tuple(_known(Limit, limit) for limit in data["limits"]),
        feasible=data["feasible"],
        chosen=_candidate_from_json(chosen) if data["recipe"] is not None else None,
        reasons=tuple(data["reasons"]),
        checks=tuple(Check.from_json(check) for check in data["checks"]),
        baseline=tuple(_known(Prediction, item) for item in data["baseline"]),
        runners_up=tuple(RunnerUp(candidate=_candidate_from_json(r), reason=r["reason"]) for r in data["runners_up"]),
        rejected=tuple(_known(Rejection, item) for item in data["rejected"]),
        misses=tuple(data["misses"]),
        remedies=tuple(data["remedies"]),
        warnings=tuple(data["warnings"]),
        effort=data.get("effort", "quick"),
        prefer=data.get("prefer", "balanced"),
        sensitivity=tuple(_known(LayerLoss, item) for item in data.get("sensitivity", ())),
        considered=tuple(_candidate_from_json(item) for item in data.get("considered", ())),
        heads=tuple(_known(KeptHead, {**item, "layers": tuple(item["layers"])}) for item in data.get("heads", ())),
    )


def _known(kind: type[ValueT], data: Mapping[str, Any]) -> ValueT:
    """Returns a dataclass of the keys that it has: a later edgekit may have written more."""
    names = getattr(kind, "__dataclass_fields__", {})
    return kind(**{name: data[name] for name in names if name in data})


def _limit_to_json(limit: Limit) -> dict[str, Any]:
    return {"name": limit.name, "value": limit.value, "source": limit.source, "level": limit.level}


def _candidate_to_json(candidate: Candidate) -> dict[str, Any]:
    return {
        "candidate": candidate.title,
        "runtime": candidate.runtime,
        "recipe": candidate.recipe.to_json(),
        "steps": [step.to_json() for step in candidate.steps],
        "predictions": [item.to_json() for item in candidate.predictions],
    }


def _candidate_from_json(data: Mapping[str, Any]) -> Candidate:
    return Candidate(
        runtime=data["runtime"],
        recipe=Recipe.from_json(data["recipe"]),
        steps=tuple(Step(technique=item["technique"], settings=item["settings"]) for item in data["steps"]),
        predictions=tuple(_known(Prediction, item) for item in data["predictions"]),
    )
