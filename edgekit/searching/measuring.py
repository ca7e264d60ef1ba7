"""Measures finalists: each artifact in its own runtime, held against the budget and against the task's own model.

Accuracy is a variant's own, on its own inputs, and its drop is counted from the float outputs of the task's own model
on the same items: pairs of answers, so that the band is as narrow as the data allows. Parity stays what it is
elsewhere, the artifact against the float model that it was made from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, final

from edgekit.artifact import Artifact
from edgekit.checks import Check
from edgekit.errors import DataError
from edgekit.exporting.inputs import Inputs, artifact_metadata
from edgekit.exporting.judge import judge_evidence, what_was_requested, with_float_model
from edgekit.metrics.measure_drop import check_metric
from edgekit.model import CapturedModel
from edgekit.pipeline.convert import convert
from edgekit.pipeline.samples import prepare_samples, reference_outputs
from edgekit.pipeline.settings import Settings
from edgekit.recipe import Candidate
from edgekit.samples import Samples
from edgekit.searching.survey import Target
from edgekit.task.data import Purpose
from edgekit.task.task import Task
from edgekit.validators.accuracy import describe_accuracy
from edgekit.validators.base import Evidence
from edgekit.validators.execution import collect_evidence
from edgekit.validators.host_timing import host_timing
from edgekit.validators.runner_process import MeasurementKind, RunSettings
from edgekit.workers.process_folder import temporary_folder

_AGAINST_REFERENCE: Final = ("accuracy_drop", "slice_drop")
"""Checks that compare with the task's own model; all others are about the artifact and its own float model."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredVariant:
    """What was measured of one artifact.

    Attributes:
        artifact: The file, in the cache.
        checks: Held against the budget.
        accuracy: `metric`, `artifact` and `float` (values in percentage points, of the artifact and of the float model
            that it was made from), `count` of items.
        host: Timing on this machine: `ratio_to_reference` is that of this artifact's latency to the reference's, both
            timed in turn. No device's figure.
    """

    artifact: Artifact
    checks: tuple[Check, ...]
    accuracy: Mapping[str, Any] = field(default_factory=dict[str, Any])
    host: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def check(self, name: str) -> Check | None:
        """Returns the check of that name, or None."""
        return next((check for check in self.checks if check.name == name), None)


@final
class SampleCache:
    """The data of all variants, each set prepared once: variants of one input size share it."""

    def __init__(self, reference: Inputs, settings: Settings) -> None:
        """Starts with the data of the task's own model."""
        self._settings = settings
        self._samples: dict[tuple[object, ...], Samples | None] = {
            _key(reference.task, reference.model, "calibration"): reference.calibration,
            _key(reference.task, reference.model, "evaluation"): reference.evaluation,
        }

    def inputs(self, task: Task, model: CapturedModel) -> Inputs:
        """Returns a model with its data and the float model's outputs on the evaluation data.

        Raises:
            DataError: the data is wrong.
        """
        evaluation = self.samples(task, model, "evaluation")
        return Inputs(
            task=task,
            model=model,
            torch_model=model,
            calibration=self.samples(task, model, "calibration"),
            evaluation=evaluation,
            reference=reference_outputs(model, evaluation, self._settings) if evaluation else None,
        )

    def samples(self, task: Task, model: CapturedModel, purpose: Purpose) -> Samples | None:
        """Returns the task's calibration or evaluation data for a model, or None where it names none."""
        key = _key(task, model, purpose)
        if key not in self._samples:
            self._samples[key] = prepare_samples(task, model, purpose, self._settings)
        return self._samples[key]


def _key(task: Task, model: CapturedModel, purpose: str) -> tuple[object, ...]:
    return purpose, task.calibration if purpose == "calibration" else task.evaluation, model.inputs


def check_targets(reference: Inputs) -> None:
    """Checks that absolute accuracy can be told: there are targets, and they fit the metric and the model.

    Raises:
        DataError: they do not.
    """
    task, evaluation = reference.task, reference.evaluation
    if evaluation is None or reference.reference is None or evaluation.targets() is None:
        raise DataError(
            f"{task.evaluation} yields no targets. A search compares networks by how often they are right: yield "
            "(inputs, target) from [data] evaluation."
        )
    check_metric(task.metric, reference.reference, evaluation, task.base)


def check_same_items(reference: Samples, variant: Samples, title: str) -> None:
    """Checks that a variant is judged on the items of the task's own model.

    Raises:
        DataError: other targets, another number or another order of items.
    """
    import numpy as np

    mine, theirs = variant.targets(), reference.targets()
    if mine is None or theirs is None or not np.array_equal(mine, theirs) or variant.count != reference.count:
        raise DataError(
            f"The evaluation data of {title} has {variant.items} items and other targets than the {reference.items} of "
            "the task's own model. Accuracy is compared item by item: yield the same items in the same order, whatever "
            "the parameters are."
        )


def measure(
    inputs: Inputs, candidate: Candidate, target: Target, reference: Inputs, baseline: Artifact | None,
    settings: Settings,
) -> MeasuredVariant:  # fmt: skip
    """Makes an artifact, runs it in its own runtime, and holds it against the budget.

    Args:
        inputs: The model and its data.
        candidate: Format, recipe and predictions.
        target: The device and the limits.
        reference: The task's own model and its data.
        baseline: The reference's artifact, to be timed in turn with this one; None for the reference itself.
        settings: How to run.

    Raises:
        EdgekitError: it cannot be converted or run.
    """
    made = convert(
        inputs.model_for(candidate.runtime),
        candidate.runtime,
        candidate.recipe,
        inputs.calibration,
        settings,
        metadata=artifact_metadata(inputs, recipe=candidate.recipe),
        image=inputs.image_for(candidate.runtime),
    )
    with temporary_folder("outputs") as folder:
        evidence = _collect(made.artifact, inputs, baseline, folder, settings)
        evidence = replace(
            evidence,
            device=target.profile.name,
            predicted_latency=candidate.prediction("latency"),
            requested=what_was_requested(inputs, candidate, "float", settings),
            accelerator=target.profile.accelerators.get(candidate.runtime, ""),
        )
        evidence = with_float_model(evidence, inputs, None, settings)
        # Validators take the other timings for the float artifact's: here they are the reference's.
        judged = replace(evidence, float_latencies_ms=())
        own = judge_evidence(judged, target.budget)
        against = {
            check.name: check
            for check in judge_evidence(replace(judged, reference=reference.reference), target.budget)
            if check.name in _AGAINST_REFERENCE
        }
        return MeasuredVariant(
            artifact=made.artifact,
            checks=tuple(against.get(check.name, check) for check in own),
            accuracy=_accuracy(evidence, inputs),
            host=_host(evidence),
        )


def _collect(
    artifact: Artifact, inputs: Inputs, baseline: Artifact | None, folder: Path, settings: Settings
) -> Evidence:
    """Returns the evidence; an artifact whose inputs are not the baseline's is timed on made-up inputs, as both are."""
    run_settings = RunSettings(
        timeout_s=settings.timeout_s, memory_limit_bytes=settings.memory_limit_bytes, threads=settings.threads
    )
    if settings.cancelled.is_set():
        raise KeyboardInterrupt
    is_alike = baseline is None or [x.shape for x in baseline.inputs] == [x.shape for x in artifact.inputs]
    pieces: tuple[MeasurementKind, ...] = ("memory", "outputs", "latency") if is_alike else ("memory", "outputs")
    report = settings.stage("measuring")
    evidence = collect_evidence(
        artifact,
        folder=folder,
        evaluation=inputs.evaluation,
        reference=inputs.reference,
        baseline=baseline.path if baseline is not None and is_alike else None,
        metric=inputs.task.metric,
        metric_base=inputs.task.base,
        pieces=pieces,
        settings=run_settings,
        progress=report,
        cache=settings.cache,
    )
    if baseline is None or is_alike:
        return evidence
    timed = collect_evidence(
        artifact,
        folder=folder / "timing",
        baseline=baseline.path,
        pieces=("latency",),
        settings=run_settings,
        progress=report,
    )
    missing = {name: words for name, words in evidence.missing.items() if name != "latency"}
    late = {name: words for name, words in timed.missing.items() if name == "latency"}
    return replace(
        evidence,
        latencies_ms=timed.latencies_ms,
        float_latencies_ms=timed.float_latencies_ms,
        missing={**missing, **late},
    )


def _accuracy(evidence: Evidence, inputs: Inputs) -> dict[str, Any]:
    own = describe_accuracy(evidence) or {}
    floating = describe_accuracy(replace(evidence, outputs=inputs.reference)) or {}
    return {
        "metric": inputs.task.metric,
        "artifact": own.get("value"),
        "float": floating.get("value"),
        "count": own.get("count"),
    }


def _host(evidence: Evidence) -> dict[str, Any]:
    timing = host_timing(evidence)
    if timing is None:
        return {"measured_on": evidence.host, "not_run": evidence.why_missing("latency")}
    return {
        "measured_on": timing.host,
        "threads": timing.threads,
        "runs": timing.runs,
        "median_ms": timing.median_ms,
        "reference_median_ms": timing.float_median_ms,
        "ratio_to_reference": timing.ratio,
        "ratio_low": timing.ratio_low,
        "ratio_high": timing.ratio_high,
    }
