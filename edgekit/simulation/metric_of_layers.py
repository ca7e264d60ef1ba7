"""What single layers in low precision lose of the task's metric, on the samples that their noise is measured on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from edgekit.samples import row_shape, write_samples
from edgekit.simulation.float_model import FloatModel
from edgekit.simulation.graph_run import FLOAT
from edgekit.simulation.score import score
from edgekit.simulation.sensitivity import sample_count

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


@final
class MetricOfLayers:
    """A metric against the float model, on the samples of a sensitivity run.

    These have no targets of their own: the metric is taken against the float model's decisions where it needs any.

    Args:
        metric: The task's.
        base: Folder of a `metrics.py:function`.
        model: The float model.
        folder: For the samples and outputs that are compared; the caller removes it.

    Attributes:
        metric: The metric that is taken: the task's or its stand-in. "" where neither can be.
    """

    def __init__(self, metric: str, base: Path, model: FloatModel, folder: Path) -> None:
        import torch

        count = sample_count(model)
        batches = list(model.batches(count))
        with torch.inference_mode():
            outputs = [model.runner.results(model.runner.advance(model.runner.start(rows), FLOAT)) for rows in batches]
        self._base = base
        self._batch = model.batch
        self._model = model.captured
        self._reference = self._rows(outputs)
        rows = (tuple(tensor[i : i + 1].numpy() for tensor in batch) for batch in batches for i in range(len(batch[0])))
        self._samples = write_samples(folder / "rows", model.samples.names, rows)
        self.metric = ""
        drop, found = score(metric, base, self._samples, self._reference, self._reference, model.captured)
        if drop is not None:
            self.metric = found

    def lose(self, outputs: Sequence[tuple[Tensor, ...]]) -> float | None:
        """Returns what `outputs`, one tuple a batch, lose in percentage points; None where nothing can be said."""
        if not self.metric:
            return None
        drop, _ = score(self.metric, self._base, self._samples, self._reference, self._rows(outputs), self._model)
        found = drop.value if drop is not None else None
        return found if found is not None and math.isfinite(found) else None

    def _rows(self, outputs: Sequence[tuple[Tensor, ...]]) -> tuple[NDArray[Any], ...]:
        """Returns one array (rows, ...) an output."""
        import numpy as np

        parts = [tuple(value.numpy() for value in batch) for batch in outputs]
        if self._batch == 1:
            parts = [tuple(array.reshape(1, *row_shape(array.shape)) for array in batch) for batch in parts]
        return tuple(np.concatenate(items) for items in zip(*parts, strict=True))
