"""The finalists of a thorough plan: each made, run and judged, as jobs of an engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, final

from edgekit.checks import Check
from edgekit.engines.batch import run_all
from edgekit.engines.engine import JOB_TIMEOUT_S, Work
from edgekit.engines.memory import making_bytes
from edgekit.errors import EdgekitError
from edgekit.exporting.inputs import Inputs
from edgekit.exporting.stored_inputs import CapturedInputs
from edgekit.metrics.metric_function import MetricFunction
from edgekit.model import CapturedModel
from edgekit.pipeline.settings import LOCAL, Settings, StageLimits
from edgekit.pipeline.technique_stage import apply_techniques
from edgekit.recipe import Candidate
from edgekit.task.task import Task
from edgekit.trials.candidates import Judged, export_candidate
from edgekit.workers.worker import Job, JobOptions, Progress


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FinalistRequest:
    """A candidate to export and judge.

    Attributes:
        candidate: What to make.
        task: The task.
        inputs: The model and its data.
        limits: How its stages run.
    """

    candidate: Candidate
    task: Task
    inputs: CapturedInputs
    limits: StageLimits


def judge_in_worker(request: FinalistRequest, progress: Progress) -> Judged:
    """Exports a candidate and judges it, without limits."""
    inputs = request.inputs.inputs(request.task)
    return Judged(checks=_judge(request.candidate, inputs, request.limits.settings(progress)))


JUDGE_FINALIST: Final = Job(work=judge_in_worker)


def export_finalists(
    candidates: Sequence[Candidate], inputs: Inputs, settings: Settings
) -> list[tuple[Check, ...] | EdgekitError]:
    """Returns the checks of each candidate's artifact, or why it could not be made or run.

    Raises:
        MachineError: the engine's machines cannot be used.
        KeyboardInterrupt: after every job was ended.
    """

    def here(candidate: Candidate) -> Judged:
        return Judged(checks=_judge(candidate, inputs, settings))

    def work(candidate: Candidate) -> Work:
        stored = CapturedInputs.of(inputs)
        request = FinalistRequest(candidate=candidate, task=inputs.task, inputs=stored, limits=settings.limits())
        return Work(
            name=candidate.title,
            job=JUDGE_FINALIST,
            request=request,
            options=JobOptions(title=f"export of {candidate.title}", timeout_s=JOB_TIMEOUT_S),
            memory_bytes=making_bytes(inputs.model),
            progress=settings.stage(candidate.title),
        )

    # A function in memory does not travel.
    alone = replace(settings, jobs=1, engine=LOCAL) if isinstance(inputs.task.metric, MetricFunction) else settings
    found = run_all(candidates, alone, here=here, work=work)
    return [one if isinstance(one, EdgekitError) else one.checks for one in found]


def _judge(candidate: Candidate, inputs: Inputs, settings: Settings) -> tuple[Check, ...]:
    return export_candidate(candidate, inputs, settings, _changed(candidate, inputs, settings))


def _changed(candidate: Candidate, inputs: Inputs, settings: Settings) -> CapturedModel | None:
    """Returns what a candidate's techniques make of the model, None where it has none.

    Raises:
        EdgekitError: a technique cannot be used on it.
    """
    if not candidate.techniques:
        return None
    if isinstance(inputs.torch_model, EdgekitError):
        raise inputs.torch_model
    return apply_techniques(inputs.torch_model, candidate.techniques, inputs.calibration, settings, inputs.task)[
        -1
    ].model
