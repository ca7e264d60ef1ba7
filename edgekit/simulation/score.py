"""What a simulated recipe loses of the task's metric on the calibration samples, paired with the float model."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import DataError
from edgekit.metrics.drop import Drop
from edgekit.metrics.measure_drop import measure_drop
from edgekit.metrics.table import classifies, stand_in
from edgekit.model import CapturedModel
from edgekit.samples import Samples, write_samples

if TYPE_CHECKING:
    from numpy.typing import NDArray


def score(
    metric: str,
    base: Path,
    samples: Samples,
    reference: Sequence[NDArray[Any]],
    outputs: Sequence[NDArray[Any]],
    model: CapturedModel | None = None,
) -> tuple[Drop | None, str]:
    """Returns the drop and the metric that was used, or None and the reason why there is none.

    Args:
        metric: The task's.
        base: Folder of a `metrics.py:function`.
        samples: What both ran on.
        reference: The float model's outputs, one array (rows, ...) each.
        outputs: The simulated recipe's.
        model: The float model, for the names of its outputs and which of them were split; None where none was.
    """
    try:
        other = stand_in(metric, base)
    except DataError as error:
        return None, error.message
    with tempfile.TemporaryDirectory(prefix="edgekit-simulated-") as name:
        specs = () if model is None else model.outputs
        names = [spec.name for spec in specs] or [f"output_{i}" for i in range(len(reference))]
        expected = _write(Path(name) / "float", reference, names)
        found = _write(Path(name) / "simulated", outputs, names)
        reason = ""
        for tried in dict.fromkeys((metric, other)):
            try:
                return measure_drop(tried, found, expected, samples, base, joined=model.joined if model else ()), tried
            except DataError as error:
                reason = error.message
    return None, reason


def margins(metric: str, reference: NDArray[Any]) -> list[float] | None:
    """Returns how far the best score of each row is above the second best, over the root mean square of all scores.

    None where the metric is not about the best score, or the output is no (rows, classes).
    """
    import numpy as np

    scores = np.asarray(reference, np.float64).reshape(len(reference), -1)
    wide = [size for size in reference.shape[1:] if size != 1]
    if not classifies(metric) or len(wide) != 1 or wide[0] < 2:
        return None
    best = np.sort(scores, axis=1)[:, -2:]
    root = math.sqrt(float(np.mean(scores**2))) or 1.0
    return [float(value) for value in (best[:, 1] - best[:, 0]) / root]


def _write(folder: Path, arrays: Sequence[NDArray[Any]], names: Sequence[str]) -> Samples:
    rows = (tuple(array[i : i + 1] for array in arrays) for i in range(len(arrays[0])))
    return write_samples(folder, names, rows)
