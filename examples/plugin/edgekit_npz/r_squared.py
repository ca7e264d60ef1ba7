"""r_squared: how much of the targets' variance the first output explains; interval: bootstrap."""

from __future__ import annotations

from typing import Any, final

import numpy as np

from edgekit.errors import DataError
from edgekit.metrics.metric import FigureMetric


@final
class RSquared(FigureMetric):
    """1 - sum((target - output)^2) / sum((target - mean target)^2)."""

    name: str = "r_squared"

    def figure(self, outputs: tuple[Any, ...], targets: Any | None) -> float:
        """Returns the coefficient of determination, 1 for a perfect model."""
        if targets is None:
            raise DataError(
                "The metric r_squared needs targets and the evaluation data has none. "
                "Yield (inputs, value) from [data] evaluation."
            )
        found = np.asarray(outputs[0], np.float64).reshape(len(outputs[0]), -1)
        wanted = np.asarray(targets, np.float64).reshape(len(targets), -1)
        if found.shape != wanted.shape:
            raise DataError(
                f"The metric r_squared compares outputs and targets value by value; the output has shape {found.shape} "
                f"and the targets {wanted.shape}. Yield a target of the output's shape."
            )
        spread = float(((wanted - wanted.mean(0)) ** 2).sum())
        return 1 - float(((wanted - found) ** 2).sum()) / spread if spread else 0.0
