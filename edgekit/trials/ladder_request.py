"""A ladder from the request to the export of its best rung: what the command line and the Python API both call."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from edgekit.errors import UsageError
from edgekit.exporting.export import export
from edgekit.exporting.inputs import read_inputs
from edgekit.pipeline.analysis import analyze_model
from edgekit.pipeline.capture import capture_model
from edgekit.pipeline.settings import Settings
from edgekit.task.request import Request
from edgekit.trials.choice import plan_request, refuse_techniques
from edgekit.trials.export_request import Done, write_records
from edgekit.trials.ladder import ladder
from edgekit.trials.ladder_rungs import Ladder, LadderRequest
from edgekit.trials.planning import plan
from edgekit.workers.output_folder import output_folder

if TYPE_CHECKING:
    from edgekit.exporting.report import ExportReport
    from edgekit.model import CapturedModel


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LadderRun:
    """A ladder, and the export of the rung that it recommends; None without an output folder or such a rung."""

    ladder: Ladder
    exported: ExportReport | None

    def exit_code(self, *, strict: bool = False) -> int:
        """Returns the worse code of the two."""
        return max(self.ladder.exit_code, self.exported.exit_code(strict=strict) if self.exported is not None else 0)

    def to_json(self, *, strict: bool = False) -> dict[str, Any]:
        """Returns the JSON form that CI users rely on."""
        exported = self.exported.to_json(strict=strict) if self.exported is not None else None
        return {**self.ladder.to_json(), "export": exported}


def check_one_format(request: Request) -> None:
    """Checks that at most one format is requested.

    Raises:
        UsageError: several are.
    """
    if len(request.formats) > 1:
        raise UsageError(
            f"A ladder is about one format, and {', '.join(request.formats)} were named. Give one with --format."
        )


def run_ladder(request: Request, output: Path | None, settings: Settings, done: Done, *, strict: bool) -> LadderRun:
    """Returns the ladder, and what came of the export of its best rung where there was to be one.

    Args:
        request: Task, device, limits, one format at most.
        output: Folder for that export; None exports nothing.
        settings: How to run.
        done: Callback for a stage that has ended.
        strict: Inconclusive checks and warnings fail too.

    Raises:
        InputError: the model, the data, a technique or the format is wrong.
        MachineError: this machine cannot.
    """
    check_one_format(request)
    model = capture_model(request.task, settings)
    refuse_techniques(request, model)
    requested = LadderRequest(
        task=request.task,
        model=model,
        profile=request.profile,
        budget=request.budget,
        runtime=_runtime(request, model, settings),
        techniques=request.techniques,
        strict=strict,
    )
    with output_folder(output) if output is not None else nullcontext():
        made = ladder(requested, settings, done)
        report = _export(made, requested, output, settings, done) if output is not None else None
    return LadderRun(ladder=made, exported=report)


def _runtime(request: Request, model: CapturedModel, settings: Settings) -> str:
    """Returns the format that was requested, else the one that the planner would choose.

    Raises:
        UsageError: this model can become none.
    """
    if request.formats:
        return request.formats[0]
    made = plan(plan_request(request, model, "quick", settings), settings)
    if made.chosen is None:
        reasons = "\n".join(f"  {item.candidate}: {item.reason}" for item in made.rejected)
        raise UsageError(f"{model.source} cannot be exported for {request.profile.name}:\n{reasons}")
    return made.chosen.runtime


def _export(
    made: Ladder, requested: LadderRequest, output: Path, settings: Settings, done: Done
) -> ExportReport | None:
    """Exports the rung that is recommended, from the cache; None where no rung keeps the budget."""
    if made.chosen is None:
        return None
    candidate, profile = made.chosen.candidate, requested.profile
    inputs = read_inputs(
        requested.task, [candidate.runtime], settings, model=requested.model, as_torch=bool(candidate.techniques)
    )
    report = export(
        inputs,
        [candidate],
        device=profile.name,
        budget=requested.budget,
        folder=output,
        settings=settings,
        accelerators=profile.accelerators,
        done=done,
    )
    write_records(report, report, (), analyze_model(requested.model, settings), profile)
    return report
