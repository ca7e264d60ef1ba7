"""The table by stage: what each technique, and then the conversion, did to the model's size and quality.

The float model, what each technique has left of it, and the artifact, all held against the original float model on the
evaluation data. A technique's result is run in float, once; the artifact has been judged already.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, final

from edgekit.errors import DataError, EdgekitError
from edgekit.metrics.drop import Drop
from edgekit.metrics.measure_drop import measure_drop
from edgekit.model import CapturedModel
from edgekit.pipeline.analysis import analyze_model
from edgekit.pipeline.samples import reference_outputs
from edgekit.pipeline.settings import Settings
from edgekit.pipeline.technique_stage import Applied
from edgekit.planner.technique_order import order_warning
from edgekit.predict.size import predict_size
from edgekit.recipe import Recipe
from edgekit.samples import Samples
from edgekit.validators.parity import sqnr_by_output

if TYPE_CHECKING:
    from edgekit.exporting.format_result import FormatResult

StageKind = Literal["float", "technique", "artifact"]

_FLOAT: Final = Recipe(default="fp32")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class StageRow:
    """The model at one point of the pipeline.

    Attributes:
        name: `float model`, a technique with its settings, or `tflite int8-static`.
        kind: What it is.
        parameters: Number of weights.
        macs: Multiply-accumulates of one inference.
        size_bytes: Size in bytes of the artifact, measured; before it, predicted for a float32 file.
        download_bytes: The same, deflated.
        size_basis: `measured`, or `predicted as float32 tflite`.
        value: The task's metric; None where it has none.
        drop: The original float model's value minus this one, in percentage points.
        low: Lower end of its 95 % interval.
        high: Upper end.
        parity_db: SQNR of the worst output against the original float model.
        seconds: Wall-clock seconds that the stage took; None for the float model.
        cached: It was found in the cache, and `seconds` are those of the first time.
        reason: Why there is no drop; empty where there is one.
    """

    name: str
    kind: StageKind
    parameters: int
    macs: int
    size_bytes: int | None = None
    download_bytes: int | None = None
    size_basis: str = ""
    value: float | None = None
    drop: float | None = None
    low: float | None = None
    high: float | None = None
    parity_db: float | None = None
    seconds: float | None = None
    cached: bool = False
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form. Non-finite values are null: JSON has no NaN."""
        found = {name: getattr(self, name) for name in StageRow.__dataclass_fields__}
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in found.items()
        }


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class StageTable:
    """The stages of one pipeline of techniques.

    Attributes:
        techniques: The pipeline, as `export.pipeline_name` spells it.
        metric: The task's.
        stages: In order: the float model, the techniques, the artifacts that were made of their result.
        warning: Why another order would be wiser, "" where none is known.
    """

    techniques: str
    metric: str
    stages: tuple[StageRow, ...]
    warning: str = ""

    @property
    def costliest(self) -> tuple[StageRow, float] | None:
        """The stage after which the drop grew most, and by how many points; None where that is not known."""
        steps = [
            (stage, stage.drop - before.drop)
            for stage, before in self._steps()
            if stage.drop is not None and before.drop is not None
        ]
        known = [(stage, cost) for stage, cost in steps if math.isfinite(cost)]
        return max(known, key=lambda item: item[1], default=None) if len(known) == len(self.stages) - 1 else None

    @property
    def sentence(self) -> str:
        """Which stage cost the most accuracy, in one sentence."""
        found = self.costliest
        if found is None:
            reason = next((stage.reason for stage in self.stages if stage.reason), "outputs are not finite")
            return f"Which stage cost the most accuracy is not known: {reason}"
        stage, cost = found
        if cost <= 0:
            return f"No stage cost accuracy ({self.metric})."
        before = next(earlier for later, earlier in self._steps() if later is stage)
        within = stage.low is not None and before.drop is not None and stage.low <= before.drop
        doubt = "; its interval reaches back to the stage before, so that may be chance" if within else ""
        # Without its settings, which would hide the sentence.
        return f"{stage.name.partition(':')[0]} cost the most accuracy: {cost:.2f} pp of {self.metric}{doubt}."

    def _steps(self) -> list[tuple[StageRow, StageRow]]:
        """Returns each stage but the first with the one that it was made from: artifacts share theirs."""
        floats = [stage for stage in self.stages if stage.kind != "artifact"]
        artifacts = [stage for stage in self.stages if stage.kind == "artifact"]
        return [*zip(floats[1:], floats, strict=False), *((stage, floats[-1]) for stage in artifacts)]

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form: an entry of `stages` in report.json."""
        found = self.costliest
        return {
            "techniques": self.techniques,
            "metric": self.metric,
            "stages": [stage.to_json() for stage in self.stages],
            "costliest": found[0].name if found is not None and found[1] > 0 else None,
            "sentence": self.sentence,
            "warning": self.warning,
        }


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationReference:
    """What stages are held against.

    Attributes:
        evaluation: None where the task names no evaluation data.
        reference: The original float model's outputs on it.
        metric: The task's.
        base: Folder that a metric of the user's starts from.
    """

    evaluation: Samples | None
    reference: Samples | None
    metric: str
    base: Path


def stage_table(
    name: str,
    original: CapturedModel,
    applied: Sequence[Applied],
    results: Sequence[FormatResult],
    evaluated_on: EvaluationReference,
    settings: Settings,
) -> StageTable:
    """Returns the table of one pipeline.

    Args:
        name: The pipeline, as `export.pipeline_name` spells it.
        original: The float model, before any technique.
        applied: What each technique has made.
        results: What came of the formats that were made of the last one's model; at least one.
        evaluated_on: Data, metric and the original's outputs.
        settings: How to run.

    Raises:
        EdgekitError: a stage's model cannot be analysed or run.
    """
    runtime = results[0].runtime
    models = [("float model", original, None), *((_title(item), item.model, item) for item in applied)]
    stages = [_float_stage(title, model, item, runtime, evaluated_on, settings) for title, model, item in models]
    stages += [_artifact_stage(result, stages[-1]) for result in results if result.artifact is not None]
    return StageTable(
        techniques=name,
        metric=evaluated_on.metric,
        stages=tuple(stages),
        warning=order_warning([item.step.technique for item in applied]),
    )


def _title(applied: Applied) -> str:
    return f"{applied.step}{' (without labels)' if applied.unlabelled else ''}"


def _float_stage(
    title: str,
    model: CapturedModel,
    applied: Applied | None,
    runtime: str,
    evaluated_on: EvaluationReference,
    settings: Settings,
) -> StageRow:
    analysis = analyze_model(model, settings)
    size, download = predict_size(analysis, _FLOAT, runtime)
    drop, parity, reason = _quality(model, evaluated_on, settings)
    return StageRow(
        name=title,
        kind="technique" if applied else "float",
        parameters=analysis.parameters,
        macs=analysis.macs,
        size_bytes=None if size.value is None else round(size.value),
        download_bytes=None if download.value is None else round(download.value),
        size_basis=f"predicted as float32 {runtime}",
        value=drop.artifact_value if drop else None,
        drop=drop.value if drop else None,
        low=drop.low if drop else None,
        high=drop.high if drop else None,
        parity_db=parity,
        seconds=applied.seconds if applied else None,
        cached=applied.cached if applied else False,
        reason=reason,
    )


def _quality(
    model: CapturedModel, evaluated_on: EvaluationReference, settings: Settings
) -> tuple[Drop | None, float | None, str]:
    """Returns what a float model loses against the original, its worst output's SQNR, and why there is no drop."""
    evaluation, reference = evaluated_on.evaluation, evaluated_on.reference
    if evaluation is None or reference is None:
        return None, None, "the task names no evaluation data."
    try:
        outputs = reference_outputs(model, evaluation, settings)
    except EdgekitError as error:
        # The artifact is what was requested: a stage that cannot be run in float costs only its row's figures.
        return None, None, error.message.splitlines()[0]
    ratios = sqnr_by_output(reference, outputs)
    parity = None if isinstance(ratios, str) else min(ratios.values(), default=None)
    try:
        drop = measure_drop(evaluated_on.metric, outputs, reference, evaluation, evaluated_on.base)
    except DataError as error:
        return None, parity, error.message
    return drop, parity, ""


def _artifact_stage(result: FormatResult, before: StageRow) -> StageRow:
    """Returns the last stage, from what the export has measured."""
    drop, parity = result.check("accuracy_drop"), result.check("parity")
    accuracy = result.host.get("accuracy") or {}
    artifact = result.artifact
    return StageRow(
        name=f"{result.runtime} {result.precision}",
        kind="artifact",
        parameters=before.parameters,
        macs=before.macs,
        size_bytes=artifact.size_bytes if artifact else None,
        download_bytes=artifact.download_bytes if artifact else None,
        size_basis="measured",
        value=accuracy.get("value"),
        drop=drop.value if drop else None,
        low=drop.low if drop else None,
        high=drop.high if drop else None,
        parity_db=parity.value if parity else None,
        seconds=result.seconds,
        cached=result.cached,
        reason="" if drop and drop.value is not None else (drop.detail if drop else "it was not validated."),
    )
