"""Trials of candidates before the choice: simulated on calibration data, layer by layer, or exported and run.

Each result is kept in the cache as soon as it is there: a run that was killed goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from edgekit.budget import Budget
from edgekit.checks import Check
from edgekit.exporting.inputs import Inputs, artifact_metadata
from edgekit.exporting.judge import judge_artifact
from edgekit.metrics.metric_function import MetricFunction
from edgekit.model import CapturedModel
from edgekit.pipeline.convert import convert
from edgekit.pipeline.settings import Settings
from edgekit.planner.mixed_search import expected_points
from edgekit.planner.plan import LayerLoss
from edgekit.recipe import Candidate, Precision, Prediction, Recipe
from edgekit.samples import Samples
from edgekit.simulation.jobs import MEASURE, SIMULATE, read_entry
from edgekit.task.task import Task
from edgekit.task.user_code import split_reference
from edgekit.workers.atomic_files import write_text
from edgekit.workers.cache import code_fingerprint, content_key, versions

PARITY_ERROR_DB: Final = 2.5
"""Half width of the band of a simulated ratio: what the tests allow between simulated and converted."""


def simulate_candidates(
    candidates: Sequence[Candidate], task: Task, model: CapturedModel, samples: Samples, settings: Settings
) -> tuple[Mapping[str, Any], ...]:
    """Returns what simulating each candidate's recipe gave: see `simulation.jobs.simulate`.

    Args:
        candidates: Without techniques before the quantization.
        task: For its metric.
        model: Captured as `pt2`.
        samples: Calibration samples.
        settings: How to run.
    """
    metric = {"metric": task.metric, "base": str(task.base), "file": _metric_digest(task)}
    requests: list[dict[str, Any]] = [
        {
            "key": content_key({**metric, "runtime": item.runtime, "recipe": item.recipe.to_json()}),
            "runtime": item.runtime,
            "recipe": item.recipe.to_json(),
        }
        for item in candidates
    ]
    journal = _journal(model, samples, settings, {})
    found = {item["key"]: read_entry(journal, item["key"]) for item in requests}
    if any(entry is None for entry in found.values()):
        payload = {**_payload(task, model, samples, journal), "requests": requests}
        done = settings.run("simulation of the recipes", SIMULATE, payload, settings.stage("simulate"))
        found = dict(done.record["results"])
    return tuple(found[item["key"]] or {} for item in requests)


def simulated_predictions(result: Mapping[str, Any], task: Task, samples: Samples) -> tuple[Prediction, ...]:
    """Returns the predictions that a simulation makes: of the accuracy where the metric could be taken, of parity."""
    ratio = result["sqnr_db"]
    basis = f"simulated on {samples.items} calibration samples"
    made = [
        Prediction(
            name="parity", value=ratio, low=ratio - PARITY_ERROR_DB, high=ratio + PARITY_ERROR_DB, unit="dB",
            basis=basis, evidence="simulated",
        )
    ]  # fmt: skip
    drop = result["drop"]
    if drop is None:
        reason = f"not run: {result['reason']}"
        return (*made, Prediction(name="accuracy_drop", value=None, low=None, high=None, unit="pp", basis=reason))
    value, low = drop["value"], drop["low"]
    if result["metric"] != task.metric:
        basis += f" as {result['metric']}, for they have no targets"
    if (task.metric, result["metric"]) == ("top1", "agreement"):
        # A changed decision is a loss only where float was right, and some changes are gains: between none and all.
        value, low = value / 2, 0.0
        basis += "; half of the changed decisions count"
    made.append(
        Prediction(
            name="accuracy_drop", value=value, low=low, high=drop["high"], unit="pp", basis=basis, evidence="simulated"
        )
    )
    return tuple(made)


def measure_layers(
    base: Candidate,
    precisions: Sequence[Precision],
    task: Task,
    model: CapturedModel,
    samples: Samples,
    settings: Settings,
) -> tuple[LayerLoss, ...]:
    """Returns what each module loses in each of the integer `precisions`, all others in float."""
    return measure_noise(base, precisions, task, model, samples, settings).layers


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LayerNoises:
    """What was measured about layers by simulation on calibration data.

    Attributes:
        layers: What each module loses in each precision.
        margins: Distance of the best two scores of each sample; None where the metric is not about the best score.
    """

    layers: tuple[LayerLoss, ...]
    margins: tuple[float, ...] | None


def measure_noise(
    base: Candidate,
    precisions: Sequence[Precision],
    task: Task,
    model: CapturedModel,
    samples: Samples,
    settings: Settings,
) -> LayerNoises:
    """Returns what `measure_layers` does, with the margins that tell how noise becomes changed decisions."""
    common = Recipe(per_channel=base.recipe.per_channel, ranges=base.recipe.ranges, group_size=base.recipe.group_size)
    facts = {"runtime": base.runtime, "recipe": common.to_json(), "precisions": list(precisions), "metric": task.metric}
    journal = _journal(model, samples, settings, facts)
    record = read_entry(journal, "result")
    if record is None:
        payload = {**_payload(task, model, samples, journal), **facts}
        done = settings.run("measuring of the layers", MEASURE, payload, settings.stage("layers"))
        record = dict(done.record)
        write_text(journal / "result.json", json.dumps(record))
    margins = record["margins"]
    layers = tuple(LayerLoss(**item, points=expected_points(item["noise"], margins)) for item in record["layers"])
    return LayerNoises(layers=layers, margins=None if margins is None else tuple(margins))


def export_candidate(
    candidate: Candidate, inputs: Inputs, settings: Settings, changed: CapturedModel | None = None
) -> tuple[Check, ...]:
    """Returns the checks of the candidate's artifact, made and run like an export's, or found in the cache.

    Args:
        candidate: What to make.
        inputs: The model and its data.
        settings: How to run.
        changed: What the candidate's techniques have made of the model; None where it has none.

    Raises:
        EdgekitError: it cannot be made or run.
    """
    converted = convert(
        changed or inputs.model_for(candidate.runtime),
        candidate.runtime,
        candidate.recipe,
        inputs.calibration,
        settings,
        metadata=artifact_metadata(inputs, candidate.techniques, candidate.recipe),
    )
    if isinstance(inputs.task.metric, MetricFunction):
        # A function in memory has no digest that says what its verdict depends on.
        return judge_artifact(converted.artifact, inputs, candidate.recipe, Budget(), settings)[0]
    facts = {
        "code": code_fingerprint(),
        "artifact": converted.artifact.sha256,
        "evaluation": inputs.evaluation.sha256 if inputs.evaluation else None,
        "metric": [inputs.task.metric, _metric_digest(inputs.task)],
    }

    def build(place: Path) -> None:
        # Without limits: what was measured is kept, and held against the limits of each plan.
        checks, _ = judge_artifact(converted.artifact, inputs, candidate.recipe, Budget(), settings)
        (place / "checks.json").write_text(json.dumps([check.to_json() for check in checks]))

    folder = settings.cache.make("validations", content_key(facts), build)
    return tuple(Check.from_json(item) for item in json.loads((folder / "checks.json").read_text()))


def measured_predictions(checks: Sequence[Check], names: Sequence[str]) -> tuple[Prediction, ...]:
    """Returns what was measured as predictions of the costs `names`; a later export will measure the same."""
    return tuple(
        Prediction(
            name=check.name,
            value=check.value,
            low=check.low,
            high=check.high,
            unit=check.unit,
            basis=f"measured on {check.measured_on}",
            evidence="measured",
        )
        for check in checks
        if check.name in names and check.value is not None
    )


def _payload(task: Task, model: CapturedModel, samples: Samples, journal: Path) -> dict[str, Any]:
    return {
        "model": model.to_json(),
        "folder": str(model.path.parent),
        "samples": str(samples.folder),
        "journal": str(journal),
        "metric": task.metric,
        "base": str(task.base),
    }


def _journal(model: CapturedModel, samples: Samples, settings: Settings, facts: Mapping[str, Any]) -> Path:
    shared = {"code": code_fingerprint(), "model": model.digest, "samples": samples.sha256}
    return settings.cache.journal("simulations", content_key({**shared, **facts, "versions": versions(("torch",))}))


def _metric_digest(task: Task) -> str | None:
    """Returns the hash of the file of a `metrics.py:function`, None for a built-in metric."""
    path = task.base / (split_reference(task.metric, "[data] metric")[0] if ":" in task.metric else "")
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
