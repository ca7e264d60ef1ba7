"""What worker processes do: simulate recipes, measure layers. Each result is saved the moment it is there.

Results lie as small JSON files in a folder that outlives the process: a run that was killed goes on where it stopped.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

from edgekit.metrics.drop import Drop
from edgekit.model import CapturedModel
from edgekit.quantization.ranges import Range
from edgekit.recipe import Precision, Recipe
from edgekit.samples import Samples
from edgekit.simulation.float_model import Calibrated, FloatModel
from edgekit.simulation.graph_run import Prepared
from edgekit.simulation.metric_of_layers import MetricOfLayers
from edgekit.simulation.placement import Placement, place
from edgekit.simulation.realisation import realisation_of
from edgekit.simulation.score import margins, score
from edgekit.simulation.sensitivity import LayerNoise, measure_layers, noise_share
from edgekit.workers.cache import content_key
from edgekit.workers.journal_parts import read_part, read_parts, write_part
from edgekit.workers.request_key import Place, key_facts
from edgekit.workers.worker import Job, Progress

LARGEST_DB: Final = 200.0
"""The ratio of equal outputs; JSON has no infinity."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationData:
    """What is simulated, on what: figures of one such pair share a folder.

    Attributes:
        model: Captured as `pt2`.
        samples: Calibration samples: ranges come from them.
        held_out: What outputs are compared on; None for the calibration samples themselves.
        reference: The float model before techniques, whose outputs are the right ones; None where `model` is that.
    """

    model: CapturedModel
    samples: Samples
    held_out: Samples | None = None
    reference: CapturedModel | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeTrial:
    """A recipe to simulate.

    Attributes:
        runtime: The format.
        recipe: Precision of each part.
        metric: The task's.
        metric_sha256: Hash of the file of a `metrics.py:function`, None for a built-in metric.
    """

    runtime: str
    recipe: Recipe
    metric: str
    metric_sha256: str | None

    @property
    def name(self) -> str:
        """Name of the result's file."""
        return content_key(key_facts(self))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationRequest:
    """Which recipes to simulate.

    Attributes:
        data: The model and its samples.
        journal: Folder of the results.
        base: Folder of a `metrics.py:function`.
        trials: One each recipe.
    """

    data: SimulationData
    journal: Place
    base: Place
    trials: tuple[RecipeTrial, ...]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedDrop:
    """What a recipe loses of a metric, in percentage points.

    Attributes:
        metric: The task's, or the one that stands in for it.
        value: The loss; NaN where outputs are not finite.
        low: Lower end of the 95 % interval.
        high: Upper end.
        count: Items that it is about.
    """

    metric: str
    value: float | None
    low: float | None
    high: float | None
    count: int


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedRecipe:
    """What came of simulating a recipe.

    Attributes:
        sqnr_db: Signal-to-noise ratio in dB of the outputs, against the float model's.
        drop: What it loses; None where the metric could not be taken.
        reason: Why it could not, "" where it could.
    """

    sqnr_db: float
    drop: SimulatedDrop | None
    reason: str = ""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationResult:
    """One result each trial, in their order."""

    results: tuple[SimulatedRecipe, ...]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SensitivityRequest:
    """Which layers' precisions to measure.

    Attributes:
        data: The model and its samples.
        runtime: The format.
        recipe: What all precisions have in common.
        precisions: Precisions, each of which every layer gets in turn.
        metric: The task's.
        metric_sha256: Hash of the file of a `metrics.py:function`, None for a built-in metric.
        base: Folder of a `metrics.py:function`.
        journal: Folder of the results.
    """

    data: SimulationData
    runtime: str
    recipe: Recipe
    precisions: tuple[Precision, ...]
    metric: str
    metric_sha256: str | None
    base: Place
    journal: Place


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """What each layer's precision adds to the error of the outputs.

    Attributes:
        layers: One each layer and precision.
        margins: See `score.margins`; None where the metric is not about the best score.
        metric: The metric that was taken of each layer, the task's or its stand-in; "" where none was.
    """

    layers: tuple[LayerNoise, ...]
    margins: tuple[float, ...] | None
    metric: str = ""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SavedCalibration:
    """`Calibrated` as a file.

    Attributes:
        ranges: Low and high, by node name.
        input_means: One value a channel, by node name.
    """

    ranges: Mapping[str, tuple[float, float]]
    input_means: Mapping[str, tuple[float, ...]]


def simulate(request: SimulationRequest, progress: Progress) -> SimulationResult:
    """Simulates recipes and scores them; what the journal holds already is taken from there."""
    found = [read_part(request.journal, trial.name, SimulatedRecipe, progress) for trial in request.trials]
    if all(item is not None for item in found):
        return SimulationResult(results=tuple(item for item in found if item is not None))
    model = _open(request.data)
    judged, right = _judged(request.data, model)
    reference = right.run(progress=lambda share: progress("running the float model", share))
    results: list[SimulatedRecipe] = []
    run: list[tuple[Placement, Any]] = []  # formats that round a model alike need one run
    for trial, known in zip(request.trials, found, strict=True):
        if known is not None:
            results.append(known)
            continue
        title = f"simulating {trial.runtime} {trial.recipe.name}"
        placement, calibrated = _placed(model, trial.recipe, trial.runtime, request.journal, progress)
        outputs = next((made for other, made in run if other == placement), None)
        if outputs is None:
            prepared = judged.runner.prepare(placement, calibrated.input_means)
            outputs = judged.run(prepared, progress=_reported(progress, title))
            run.append((placement, outputs))
        drop, metric = score(trial.metric, request.base, judged.samples, reference, outputs, request.data.model)
        result = SimulatedRecipe(
            sqnr_db=_decibels(reference, outputs),
            drop=_without_scores(drop, metric) if drop else None,
            reason="" if drop else metric,
        )
        write_part(request.journal, trial.name, result)
        results.append(result)
    return SimulationResult(results=tuple(results))


def measure(request: SensitivityRequest, progress: Progress) -> Sensitivity:
    """Measures what each layer's precision adds to the error of the outputs."""
    journal = request.journal
    model = _open(request.data)
    placements: dict[Precision, Placement] = {}
    means: Mapping[str, Any] = {}
    for precision in request.precisions:
        recipe = replace(request.recipe, default=precision, overrides=())
        placements[precision], calibrated = _placed(model, recipe, request.runtime, journal, progress)
        means = calibrated.input_means or means

    def prepare(placement: Placement) -> Prepared:
        return model.runner.prepare(placement, means)

    found = margins(request.metric, model.run()[0])
    with tempfile.TemporaryDirectory(prefix="edgekit-layers-") as folder:
        # Margins tell what noise does to the best score without the chance of a few samples.
        taken = MetricOfLayers(request.metric, request.base, model, Path(folder)) if found is None else None
        layers = _layers(request, model, placements, prepare, taken, progress)
    return Sensitivity(
        layers=layers,
        margins=None if found is None else tuple(found),
        metric=taken.metric if taken is not None else "",
    )


def _layers(
    request: SensitivityRequest,
    model: FloatModel,
    placements: Mapping[Precision, Placement],
    prepare: Callable[[Placement], Prepared],
    taken: MetricOfLayers | None,
    progress: Progress,
) -> tuple[LayerNoise, ...]:
    journal = request.journal
    return measure_layers(
        model,
        placements,
        prepare,
        lose=taken.lose if taken is not None else lambda _outputs: None,
        known=_known(journal, progress),
        save=lambda item: _save_layer(journal, item),
        progress=lambda module, share: progress(f"measuring {module}", share),
    )


SIMULATE: Final = Job(work=simulate, tools=("torch",))
MEASURE: Final = Job(work=measure, tools=("torch",))


def _without_scores(drop: Drop, metric: str) -> SimulatedDrop:
    return SimulatedDrop(metric=metric, value=drop.value, low=drop.low, high=drop.high, count=drop.count)


def _save_layer(journal: Path, item: LayerNoise) -> None:
    # Names that come from an ONNX file may hold what a file name may not.
    write_part(journal, f"layer-{content_key({'module': item.module, 'precision': item.precision})}", item)


def _known(journal: Path, progress: Progress) -> dict[tuple[str, Precision], LayerNoise]:
    items = read_parts(journal, "layer-", LayerNoise, progress)
    return {(item.module, item.precision): item for item in items}


def _open(data: SimulationData) -> FloatModel:
    return FloatModel(data.model, data.samples)


def _judged(data: SimulationData, model: FloatModel) -> tuple[FloatModel, FloatModel]:
    """Returns the model on the samples that outputs are compared on, and the one whose outputs are the right ones."""
    judged = model if data.held_out is None else FloatModel(data.model, data.held_out)
    return judged, judged if data.reference is None else FloatModel(data.reference, judged.samples)


def _placed(
    model: FloatModel, recipe: Recipe, runtime: str, journal: Path, progress: Progress
) -> tuple[Placement, Calibrated]:
    """Returns what a recipe rounds, with ranges from the calibration samples where it needs them."""
    calibrated = Calibrated(ranges={}, input_means={})
    if recipe.needs_calibration:
        calibrated = _calibrated(model, recipe, journal, progress)
    return place(model.runner.module, recipe, realisation_of(runtime), calibrated.ranges), calibrated


def _calibrated(model: FloatModel, recipe: Recipe, journal: Path, progress: Progress) -> Calibrated:
    import numpy as np

    name = f"calibrated-{recipe.ranges}"
    found = read_part(journal, name, SavedCalibration, progress)
    if found is None:
        made = model.calibrate(recipe.ranges, _reported(progress, "calibrating"))
        found = SavedCalibration(
            ranges={name: (item.low, item.high) for name, item in made.ranges.items()},
            input_means={name: tuple(item.tolist()) for name, item in made.input_means.items()},
        )
        write_part(journal, name, found)
    return Calibrated(
        ranges={name: Range(low=low, high=high) for name, (low, high) in found.ranges.items()},
        input_means={name: np.asarray(values) for name, values in found.input_means.items()},
    )


def _reported(progress: Progress, phrase: str) -> Any:
    return lambda share: progress(phrase, share)


def _decibels(reference: Any, outputs: Any) -> float:
    import torch

    share = noise_share([tuple(map(torch.from_numpy, reference))], [tuple(map(torch.from_numpy, outputs))])
    return min(LARGEST_DB, -10 * math.log10(share)) if share > 0 else LARGEST_DB
