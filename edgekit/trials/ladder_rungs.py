"""What the precision ladder is made of: rungs, the cliff, and the rule by which a climb ends. Arithmetic only."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from edgekit.budget import Budget, Limit
from edgekit.checks import Check, passed
from edgekit.errors import EdgekitError
from edgekit.exporting.report import SCHEMA_VERSION, model_json
from edgekit.model import CapturedModel
from edgekit.planner.cliff import LayerShare, worst_layers
from edgekit.profiles.profile import DeviceProfile
from edgekit.recipe import Candidate, Precision, Step
from edgekit.task.task import Task

RUNGS: Final = ("fp16", "int8", "int4")
"""Presets, from the top of the ladder down."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LadderRequest:
    """What ladder to climb.

    Attributes:
        task: With evaluation data.
        model: The captured model.
        profile: The device.
        budget: The limits in force.
        runtime: The format.
        techniques: What is done to the float model first.
        strict: An inconclusive verdict on the drop breaks its limit.
    """

    task: Task
    model: CapturedModel
    profile: DeviceProfile
    budget: Budget
    runtime: str
    techniques: tuple[Step, ...] = ()
    strict: bool = False


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One precision, exported and measured, or why not.

    Attributes:
        name: `int8`, or `int4, 3 layers at int8`.
        candidate: What was made of it.
        checks: Its measurements held against the budget; the latency is predicted for the device.
        skipped: Why it was not made; a clause.
        error: Why it could not be made or run.
    """

    name: str
    candidate: Candidate
    checks: tuple[Check, ...] = ()
    skipped: str = ""
    error: EdgekitError | None = None

    @property
    def measured(self) -> bool:
        """True if it was exported and run."""
        return bool(self.checks)

    def check(self, name: str) -> Check | None:
        """Returns the check of that name, or None."""
        return next((check for check in self.checks if check.name == name), None)

    def falls(self, *, strict: bool = False) -> bool:
        """Returns True if its drop breaks the limit or could not be measured; an inconclusive one counts if strict.

        The same rule as a gate's: `inconclusive` is shown and passes, `not_run` does not.
        """
        drop = self.check("accuracy_drop")
        if not self.measured:
            return False
        return drop is None or drop.verdict in ("fail", "not_run") or (strict and drop.verdict != "pass")

    def keeps(self, *, strict: bool = False) -> bool:
        """Returns True if it was measured and keeps the budget."""
        return self.measured and not self.falls(strict=strict) and passed(self.checks, strict=strict)

    @property
    def is_inside(self) -> bool:
        """True if the drop's value keeps its limit, whatever its band does."""
        drop = self.check("accuracy_drop")
        return drop is not None and drop.value is not None and drop.limit is not None and drop.value <= drop.limit

    def to_json(self, *, strict: bool = False) -> dict[str, Any]:
        """Returns the JSON form."""
        return {
            "name": self.name,
            "runtime": self.candidate.runtime,
            "precision": self.candidate.recipe.name,
            "recipe": self.candidate.recipe.to_json(),
            "steps": [step.to_json() for step in self.candidate.steps],
            "measured": self.measured,
            "passed": self.keeps(strict=strict),
            "skipped": self.skipped,
            "error": self.error.message if self.error else None,
            "checks": [check.to_json() for check in self.checks],
        }


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Cliff:
    """The rung at which the ladder ended, and its layers.

    Attributes:
        rung: Its name.
        precision: Precision of its layers.
        layers: Each layer's simulated share of the error, the worst first; empty where nothing was simulated.
        kept: Layers that keep the precision of the rung above in the last mixture; empty without one.
        kept_precision: That precision.
        reason: Why there is no mixture or none that keeps the limit, or why layers were not simulated; a clause.
    """

    rung: str
    precision: Precision
    layers: tuple[LayerShare, ...] = ()
    kept: tuple[str, ...] = ()
    kept_precision: Precision | None = None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form."""
        return {
            "rung": self.rung,
            "precision": self.precision,
            "basis": "simulated on calibration data, each layer alone",
            "layers": [{"module": x.module, "noise": x.noise, "share": x.share} for x in self.layers],
            "worst": [item.module for item in worst_layers(self.layers)],
            "kept": list(self.kept),
            "kept_precision": self.kept_precision,
            "reason": self.reason,
        }


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """What came of the climb.

    Attributes:
        request: What was requested.
        limit: Limit of the drop.
        rungs: Those that were visited, the mixtures last.
        left: Rungs below the cliff, which were not visited.
        cliff: None where no rung fell.
    """

    request: LadderRequest
    limit: Limit
    rungs: tuple[Rung, ...]
    left: tuple[str, ...] = ()
    cliff: Cliff | None = None

    @property
    def chosen(self) -> Rung | None:
        """The smallest rung that keeps the budget, of equals the higher one; None where none does.

        One whose drop is inconclusive and lies beyond the limit comes behind all others, as it does in a plan.
        """
        keeping = [rung for rung in self.rungs if rung.keeps(strict=self.request.strict)]
        return min(keeping, key=lambda rung: (not rung.is_inside, _figure(rung, "size")), default=None)

    @property
    def smaller_but_inconclusive(self) -> tuple[Rung, ...]:
        """Rungs that are smaller than the chosen one and come behind it because their drop is inconclusive."""
        chosen = self.chosen
        keeping = (rung for rung in self.rungs if rung.keeps(strict=self.request.strict))
        return tuple(x for x in keeping if chosen is not None and _figure(x, "size") < _figure(chosen, "size"))

    @property
    def exit_code(self) -> int:
        """0 if a rung keeps the budget, 1 if none does, an error's code where nothing could be measured at all."""
        if self.chosen is not None:
            return 0
        errors = [rung.error.exit_code for rung in self.rungs if rung.error is not None]
        return max(errors) if errors and not any(rung.measured for rung in self.rungs) else 1

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form that CI users rely on."""
        request, chosen = self.request, self.chosen
        return {
            "schema_version": SCHEMA_VERSION,
            "command": "ladder",
            "device": request.profile.name,
            "runtime": request.runtime,
            "feasible": chosen is not None,
            "passed": chosen is not None,
            "model": model_json(request.model),
            "techniques": [step.to_json() for step in request.techniques],
            "limit": {"name": self.limit.name, "value": self.limit.value, "unit": "pp", "source": self.limit.source},
            "rungs": [rung.to_json(strict=request.strict) for rung in self.rungs],
            "not_tried": list(self.left),
            "cliff": self.cliff.to_json() if self.cliff else None,
            "chosen": chosen.name if chosen else None,
        }


def climb(names: Sequence[str], visit: Callable[[str], Rung], *, strict: bool = False) -> tuple[Rung, ...]:
    """Returns the rungs from the top down to the first that falls, that one included."""
    rungs: list[Rung] = []
    for name in names:
        rungs.append(visit(name))
        if rungs[-1].falls(strict=strict):
            break
    return tuple(rungs)


def _figure(rung: Rung, name: str) -> float:
    check = rung.check(name)
    return check.value if check is not None and check.value is not None else math.inf
