"""What worker processes do: simulate recipes, measure layers. Each result is saved the moment it is there.

Results lie as small JSON files in a folder that outlives the process: a run that was killed goes on where it stopped.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from edgekit.model import CapturedModel
from edgekit.quantization.ranges import Range
from edgekit.recipe import Precision, Recipe
from edgekit.samples import Samples
from edgekit.simulation.float_model import Calibrated, FloatModel
from edgekit.simulation.graph_run import Prepared
from edgekit.simulation.placement import Placement, place
from edgekit.simulation.realisation import realisation_of
from edgekit.simulation.score import margins, score
from edgekit.simulation.sensitivity import LayerNoise, measure_layers, noise_share
from edgekit.workers.atomic_files import write_text
from edgekit.workers.cache import content_key
from edgekit.workers.worker import Progress

SIMULATE: Final = "edgekit.simulation.jobs:simulate"
MEASURE: Final = "edgekit.simulation.jobs:measure"
"""What a `worker.Job` names."""

LARGEST_DB: Final = 200.0
"""The ratio of equal outputs; JSON has no infinity."""


def simulate(payload: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Simulates recipes and scores them.

    Args:
        payload: `model` and `folder` (the captured model), `samples` and `journal` (folders), `metric`, `base`, and
            `requests`: objects with `key`, `runtime` and `recipe`.
        progress: Told how far it is.

    Returns:
        `results`: key to an object with `sqnr_db`, `metric`, `reason`, and `drop`.
    """
    journal = Path(payload["journal"])
    results = {item["key"]: read_entry(journal, item["key"]) for item in payload["requests"]}
    if all(found is not None for found in results.values()):
        return {"results": results}
    model = _open(payload)
    reference = model.run(progress=lambda share: progress("running the float model", share))
    for item in payload["requests"]:
        if results[item["key"]] is not None:
            continue
        recipe = Recipe.from_json(item["recipe"])
        title = f"simulating {item['runtime']} {recipe.name}"
        placement, calibrated = _placed(model, recipe, item["runtime"], journal, progress)
        prepared = model.runner.prepare(placement, calibrated.input_means)
        outputs = model.run(prepared, progress=_told(progress, title))
        drop, metric = score(payload["metric"], Path(payload["base"]), model.samples, reference, outputs)
        results[item["key"]] = _save(journal, item["key"], {
            "sqnr_db": _decibels(reference, outputs),
            "metric": metric if drop else None,
            "reason": "" if drop else metric,
            "drop": asdict(replace(drop, scores=None)) if drop else None,
        })  # fmt: skip
    return {"results": results}


def measure(payload: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Measures what each layer's precision adds to the error of the outputs.

    Args:
        payload: `model`, `folder`, `samples`, `journal`, `metric` as for `simulate`; `runtime`; `recipe`: what all
            precisions have in common; `precisions`.
        progress: Told how far it is.

    Returns:
        `layers`: objects with `module`, `precision`, `noise`; `margins`: see `score.margins`.
    """
    journal = Path(payload["journal"])
    model = _open(payload)
    placements: dict[Precision, Placement] = {}
    means: Mapping[str, Any] = {}
    for precision in payload["precisions"]:
        recipe = Recipe.from_json({**payload["recipe"], "default": precision, "overrides": ()})
        placements[precision], calibrated = _placed(model, recipe, payload["runtime"], journal, progress)
        means = calibrated.input_means or means

    def prepare(placement: Placement) -> Prepared:
        return model.runner.prepare(placement, means)

    layers = measure_layers(
        model,
        placements,
        prepare,
        known=_known(journal),
        save=lambda item: _save_layer(journal, item),
        progress=lambda module, share: progress(f"measuring {module}", share),
    )
    reference = model.run()
    return {"layers": [asdict(item) for item in layers], "margins": margins(payload["metric"], reference[0])}


def read_entry(journal: Path, key: str) -> dict[str, Any] | None:
    """Returns a result that was saved, or None."""
    try:
        found: dict[str, Any] = json.loads((journal / f"{key}.json").read_text())
    except FileNotFoundError:
        return None
    return found


def _save(journal: Path, key: str, data: dict[str, Any]) -> dict[str, Any]:
    """Saves a result whole or not at all, and returns it."""
    write_text(journal / f"{key}.json", json.dumps(data))
    return data


def _save_layer(journal: Path, item: LayerNoise) -> None:
    # Names that come from an ONNX file may hold what a file name may not.
    _save(journal, f"layer-{content_key({'module': item.module, 'precision': item.precision})}", asdict(item))


def _known(journal: Path) -> dict[tuple[str, Precision], LayerNoise]:
    items = [LayerNoise(**json.loads(path.read_text())) for path in journal.glob("layer-*.json")]
    return {(item.module, item.precision): item for item in items}


def _open(payload: Mapping[str, Any]) -> FloatModel:
    captured = CapturedModel.from_json(payload["model"], Path(payload["folder"]))
    return FloatModel(captured, Samples.open(Path(payload["samples"])))


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

    key = f"calibrated-{recipe.ranges}"
    found = read_entry(journal, key)
    if found is None:
        made = model.calibrate(recipe.ranges, _told(progress, "calibrating"))
        found = _save(journal, key, {
            "ranges": {name: [item.low, item.high] for name, item in made.ranges.items()},
            "input_means": {name: item.tolist() for name, item in made.input_means.items()},
        })  # fmt: skip
    return Calibrated(
        ranges={name: Range(low=low, high=high) for name, (low, high) in found["ranges"].items()},
        input_means={name: np.asarray(values) for name, values in found["input_means"].items()},
    )


def _told(progress: Progress, phrase: str) -> Any:
    return lambda share: progress(phrase, share)


def _decibels(reference: Any, outputs: Any) -> float:
    import torch

    share = noise_share([tuple(map(torch.from_numpy, reference))], [tuple(map(torch.from_numpy, outputs))])
    return min(LARGEST_DB, -10 * math.log10(share)) if share > 0 else LARGEST_DB
