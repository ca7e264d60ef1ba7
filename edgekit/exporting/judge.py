"""Runs an artifact in its own runtime and judges what came out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

from edgekit.analysis.graph import Analysis
from edgekit.artifact import Artifact
from edgekit.budget import Budget
from edgekit.checks import Check, complete
from edgekit.converters.base import IoType
from edgekit.errors import EdgekitError
from edgekit.exporting.inputs import FLOAT_RECIPE, Inputs
from edgekit.exporting.open_sizes import LARGEST, samples_at, worst_checks
from edgekit.exporting.soundness_rows import SoundnessRows, soundness_rows
from edgekit.formats.table import find_format
from edgekit.model import CapturedModel, OpenSizes
from edgekit.pipeline.analysis import analyze_model
from edgekit.pipeline.convert import convert
from edgekit.pipeline.samples import reference_outputs
from edgekit.pipeline.settings import Settings
from edgekit.pipeline.technique_stage import pipeline_name
from edgekit.recipe import Candidate, Prediction, Recipe
from edgekit.task.image_input import ImageInput, embedded_image_input
from edgekit.validators.accuracy import describe_accuracy
from edgekit.validators.artifact_operators import count_by_arithmetic
from edgekit.validators.base import Evidence, GivenModel
from edgekit.validators.base import validators as all_validators
from edgekit.validators.execution import collect_evidence
from edgekit.validators.host_timing import host_timing
from edgekit.validators.output_layout import OutputLayout, output_layouts
from edgekit.validators.output_pairing import pair_outputs, reorder
from edgekit.validators.requested import Requested, requested_settings
from edgekit.validators.runner_process import PIECES, MeasurementKind, RunnerTarget, RunSettings
from edgekit.validators.signed_activations import as_the_file_says
from edgekit.validators.slices import describe_slices
from edgekit.workers.process_folder import temporary_folder

_TIMED: Final = ("memory", "latency")
_NO_DATA: Final[Mapping[str, str]] = {
    "outputs": "There is no evaluation data. Give [data] evaluation in edgekit.toml.",
    "reference": "There is no evaluation data, so the float model ran on none.",
}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactRuns:
    """How artifacts are run to be judged.

    Attributes:
        pieces: What is measured.
        target: Runs the runner; None for a fresh process each time.
    """

    pieces: tuple[MeasurementKind, ...] = PIECES
    target: RunnerTarget | None = None


MEASURED_NOW: Final = ArtifactRuns()
"""Everything, in fresh processes."""


def what_was_requested(
    inputs: Inputs, candidate: Candidate, io: IoType, settings: Settings, changed: CapturedModel | None = None
) -> Requested:
    """Returns what a candidate's artifact must show, layer by layer: recurrent ones are asked for less than others.

    Args:
        inputs: The model and its data.
        candidate: What was made.
        io: Types of the artifact's inputs and outputs.
        settings: How to run.
        changed: What the candidate's techniques have made of the model; None where it has none.
    """
    analysis = analysis_of_layers(candidate.recipe, inputs, settings, changed)
    return requested_settings(
        candidate.recipe, io=io, techniques=pipeline_name(candidate.techniques), analysis=analysis
    )


def analysis_of_layers(
    recipe: Recipe, inputs: Inputs, settings: Settings, changed: CapturedModel | None = None
) -> Analysis:
    """Returns the analysis by which an artifact's layers are known: techniques may change their sizes."""
    return analyze_model(changed if changed is not None and recipe.tells_layers_apart else inputs.model, settings)


def judge_artifact(
    artifact: Artifact,
    inputs: Inputs,
    recipe: Recipe,
    budget: Budget,
    settings: Settings,
    *,
    device: str = "",
    predicted_latency: Prediction | None = None,
    requested: Requested | None = None,
    accelerator: str = "",
    converted: CapturedModel | EdgekitError | None = None,
    runs: ArtifactRuns = MEASURED_NOW,
) -> tuple[tuple[Check, ...], Mapping[str, object]]:
    """Runs an artifact in its own runtime and judges it.

    Args:
        artifact: The file.
        inputs: The model and its data.
        recipe: Precision of each part.
        budget: Limits.
        settings: How to run.
        device: Name of the profile.
        predicted_latency: What was predicted for that device: judged until the device itself is timed.
        requested: What was requested of the artifact, None where nobody knows.
        accelerator: Name of the rules about the device's accelerator, "" where it has none for this format.
        converted: What techniques have made of the float model before it was converted, or why that is not known; None
            where nothing has changed it.
        runs: What is measured, and how the artifact is run.

    Returns:
        The checks, and what was measured on this host beside them (timings, runtime, operators).

    Raises:
        EdgekitError: the artifact cannot be loaded or run at all.
    """
    timed = "latency" in runs.pieces
    image = embedded_image_input(artifact.metadata)
    baseline = _float_baseline(artifact.runtime, inputs, recipe, settings, image) if timed else None
    if settings.cancelled.is_set():
        raise KeyboardInterrupt

    def measured(inputs: Inputs, pieces: Sequence[MeasurementKind], folder: Path) -> Evidence:
        wanted: list[MeasurementKind] = [piece for piece in pieces if piece in runs.pieces]
        evidence = _collected(artifact, inputs, baseline, wanted, folder, settings, runs.target)
        evidence = replace(
            evidence, device=device, predicted_latency=predicted_latency, requested=requested, accelerator=accelerator
        )
        return with_float_model(evidence, inputs, converted, settings)

    with temporary_folder("outputs") as folder:
        sizes: dict[str, object] = {}
        if inputs.model.open_sizes is None:
            there = None if inputs.evaluation else soundness_rows(inputs, recipe, image, folder / "rows", settings)
            evidence = measured(inputs, PIECES, folder) if there is None else _without_labels(there, measured, folder)
            checks = judge_evidence(evidence, budget)
        else:
            opened = inputs.model.open_sizes
            evidence, checks, shown = _judged_at_sizes(inputs, opened, measured, budget, folder, settings)
            sizes = {"sizes": shown}
        settings.progress(artifact.runtime, "measured and judged", 1.0)
        return checks, {**describe_host(evidence), **sizes}


def _without_labels(
    there: SoundnessRows, measured: Callable[[Inputs, Sequence[MeasurementKind], Path], Evidence], folder: Path
) -> Evidence:
    """Returns evidence that compares outputs and says nothing about accuracy."""
    found = measured(there.inputs, PIECES, folder)
    missing = found.missing if found.outputs is None else {**found.missing, "outputs": _NO_DATA["outputs"]}
    return replace(found, evaluation=None, rows_of=there.words, missing=missing)


def _collected(
    artifact: Artifact,
    inputs: Inputs,
    baseline: Path | None,
    pieces: Sequence[MeasurementKind],
    folder: Path,
    settings: Settings,
    target: RunnerTarget | None,
) -> Evidence:
    return collect_evidence(
        artifact,
        run=target,
        folder=folder,
        evaluation=inputs.evaluation,
        reference=inputs.reference,
        baseline=baseline,
        metric=inputs.task.metric,
        metric_base=inputs.task.base,
        pieces=pieces,
        settings=RunSettings(
            timeout_s=settings.timeout_s,
            memory_limit_bytes=settings.memory_limit_bytes,
            threads=settings.threads,
            signature=settings.signature if artifact.signature else "",
        ),
        progress=settings.stage(artifact.runtime),
        cache=settings.cache,
    )


def _judged_at_sizes(
    inputs: Inputs,
    opened: OpenSizes,
    measured: Callable[[Inputs, Sequence[MeasurementKind], Path], Evidence],
    budget: Budget,
    folder: Path,
    settings: Settings,
) -> tuple[Evidence, tuple[Check, ...], list[dict[str, Any]]]:
    """Judges an artifact with open sizes: the user's data, then rows at the smallest, typical and largest size.

    Returns:
        The evidence, whose memory and timings are those at the largest size; the checks; the figures at each size.
    """
    found: dict[str, Evidence] = {}
    for word, sizes in opened.sizes().items():
        rows = samples_at(inputs.model, inputs.evaluation or inputs.calibration, sizes, folder / f"rows-{word}")
        reference = reference_outputs(inputs.model, rows, settings)
        there = replace(inputs, evaluation=rows, reference=reference)
        pieces: Sequence[MeasurementKind] = PIECES if word == LARGEST else ("outputs",)
        found[word] = measured(there, pieces, folder / word)
    at_largest = found[LARGEST]
    if inputs.evaluation is None:
        evidence = replace(at_largest, evaluation=None, reference=None, outputs=None, missing=_NO_DATA)
    else:
        own = measured(inputs, ("outputs",), folder / "data")
        missing = {key: why for key, why in own.missing.items() if key not in _TIMED}
        evidence = replace(
            at_largest,
            evaluation=own.evaluation,
            reference=own.reference,
            converted_reference=own.converted_reference,
            outputs=own.outputs,
            pairing=own.pairing,
            missing={**{key: why for key, why in at_largest.missing.items() if key in _TIMED}, **missing},
        )
    by_size = {word: judge_evidence(at, budget) for word, at in found.items()}
    checks, shown = worst_checks(judge_evidence(evidence, budget), by_size, opened)
    return evidence, checks, shown


def with_float_model(
    evidence: Evidence, inputs: Inputs, converted: CapturedModel | EdgekitError | None, settings: Settings
) -> Evidence:
    """Returns the evidence with what the float model says about it.

    Its digests, how its outputs are made up, which of the artifact's is which, and what it gives after techniques.
    """
    digests = dict.fromkeys([inputs.model.digest, getattr(inputs.torch_model, "digest", inputs.model.digest)])
    evidence = replace(evidence, model=GivenModel(name=inputs.model.source, digests=tuple(digests)))
    if evidence.reference is None or evidence.outputs is None or inputs.evaluation is None:
        return evidence
    pairing = pair_outputs(evidence.reference, evidence.outputs)
    if pairing.sentence:
        outputs = reorder(evidence.outputs, pairing.order)
        evidence = replace(evidence, outputs=outputs, pairing=pairing.sentence)
    evidence = replace(evidence, layouts=_layouts(inputs.model, settings))
    if converted is None:
        return evidence
    try:
        if isinstance(converted, EdgekitError):
            raise converted
        reference = reference_outputs(converted, inputs.evaluation, settings)
    except EdgekitError as error:
        return replace(evidence, missing={**evidence.missing, "converted_reference": error.message})
    return replace(evidence, converted_reference=reference)


def _layouts(model: CapturedModel, settings: Settings) -> tuple[OutputLayout, ...]:
    """Returns how the model's outputs are made up; nothing where its graph cannot be read, which the plan has said."""
    try:
        return output_layouts(analyze_model(model, settings))
    except EdgekitError:
        return ()


def judge_evidence(evidence: Evidence, budget: Budget) -> tuple[Check, ...]:
    """Returns the checks of all validators, ours and third parties', in the order of reports."""
    budget = budget.for_format(evidence.artifact.runtime)
    evidence = as_the_file_says(evidence)
    checks = [check for validator in all_validators() for check in validator.run(evidence, budget)]
    return complete(checks, budget, evidence.artifact.runtime)


def describe_host(evidence: Evidence) -> dict[str, object]:
    """Returns what was measured on this host and is shown, but is no device's figure."""
    timing = host_timing(evidence)
    outputs = evidence.outputs if evidence.rows_of else None
    return {
        "runtime": evidence.runtime,
        "operators": count_by_arithmetic(evidence.operators),
        "accuracy": describe_accuracy(evidence),
        "slices": describe_slices(evidence),
        **({"pairing": evidence.pairing} if evidence.pairing else {}),
        **({"compared_on": f"{outputs.count} rows of {evidence.rows_of}"} if outputs is not None else {}),
        **(timing.to_json() if timing else {"host": evidence.host, "not_run": evidence.why_missing("latency")}),
    }


def _float_baseline(
    runtime: str, inputs: Inputs, recipe: Recipe, settings: Settings, image: ImageInput | None
) -> Path | None:
    """Returns the float artifact of the same runtime, to be timed in turn; None where timings mean nothing.

    A float artifact that cannot be made costs only the ratio, so its failure is not the export's.
    """
    if recipe == FLOAT_RECIPE or find_format(runtime).runtime.stand_in:
        return None
    settings.progress(runtime, "converting the float artifact to compare with", None)
    try:
        return convert(inputs.model_for(runtime), runtime, FLOAT_RECIPE, None, settings, image=image).artifact.path
    except EdgekitError as error:
        settings.progress(runtime, f"no float artifact to compare with: {error.message.splitlines()[0]}", None)
        return None
