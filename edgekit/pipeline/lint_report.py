"""The calibration lint of a task, with what the float model says about the classes; kept in the cache."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.errors import EdgekitError
from edgekit.metrics.table import classifies
from edgekit.model import CapturedModel
from edgekit.pipeline.lint import describe_inputs, lint
from edgekit.pipeline.samples import reference_outputs
from edgekit.pipeline.settings import Settings
from edgekit.samples import Samples
from edgekit.workers.request_key import request_key

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FILE: Final = "lint.json"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LintRequest:
    """What the lint depends on; see `calibration_report`."""

    model: CapturedModel
    calibration: Samples
    evaluation: Samples | None
    reference: Samples | None
    metric: str


def calibration_report(
    model: CapturedModel,
    calibration: Samples | None,
    evaluation: Samples | None,
    reference: Samples | None,
    metric: str,
    settings: Settings,
) -> dict[str, Any] | None:
    """Returns what a report says about the calibration data, or None where there is none.

    Args:
        model: The float model.
        calibration: Its calibration samples.
        evaluation: Its evaluation samples.
        reference: Its outputs on `evaluation`.
        metric: The task's.
        settings: How to run.
    """
    if calibration is None:
        return None
    request = LintRequest(
        model=model, calibration=calibration, evaluation=evaluation, reference=reference, metric=metric
    )

    def build(place: Path) -> None:
        settings.stage("data")("comparing calibration with evaluation data", None)
        classes = _classes(model, calibration, reference, metric, settings)
        made = {
            "samples": calibration.count,
            "sha256": calibration.sha256,
            "findings": [finding.to_json() for finding in lint(calibration, evaluation, model.inputs, classes)],
            "inputs": describe_inputs(calibration, evaluation, model.inputs),
            "classes_compared": classes is not None,
        }
        (place / _FILE).write_text(json.dumps(made))

    folder = settings.cache.make("lint", request_key(request, code=(__name__,)), build)
    found: dict[str, Any] = json.loads((folder / _FILE).read_text())
    return found


def _classes(
    model: CapturedModel, calibration: Samples, reference: Samples | None, metric: str, settings: Settings
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Returns the float model's class for each row of calibration and evaluation, None where it is no classifier."""
    if reference is None or not classifies(metric):
        return None
    try:
        own = reference_outputs(model, calibration, settings)
    except EdgekitError:
        return None  # a float model that runs on one set and not on the other: its export will say so
    scores = [samples.arrays()[0] for samples in (own, reference)]
    if any(sum(size != 1 for size in array.shape[1:]) != 1 for array in scores):
        return None
    first, second = (array.reshape(len(array), -1).argmax(1) for array in scores)
    return first, second
