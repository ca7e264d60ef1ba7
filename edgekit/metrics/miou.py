"""miou: the mean over classes of intersection over union of the pixels of all items; classes nowhere do not count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, final

from edgekit.errors import DataError
from edgekit.metrics.item_metric import ItemMetric, Statistic, targets_of
from edgekit.metrics.metric import is_integer
from edgekit.metrics.metric_data import MetricData

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_WANTED: Final = "mask of class numbers, (H, W)"


@final
class MeanIou(ItemMetric):
    """The mean intersection over union of semantic segmentation.

    The output holds class scores, (C, H, W) or (H, W, C), one channel of logits or probabilities of class 1, or class
    numbers. A mask of another size than the output's is read at the output's pixels, the nearest each.

    Args:
        ignore: Class number of pixels that do not count.
        threshold: Where a single channel becomes class 1.
    """

    name: str = "miou"

    def __init__(self, *, ignore: int = 255, threshold: float = 0.5) -> None:
        self._ignore = ignore
        self._threshold = threshold

    def statistic(self, outputs: tuple[NDArray[Any], ...], data: MetricData) -> Statistic:
        """Reads the first output; keeps each item's pixels in common, of the output and of the target, by class."""
        import numpy as np

        targets = targets_of(self.name, data, _WANTED)
        masks = targets.reshape(len(targets), *[size for size in targets.shape[1:] if size != 1])
        if masks.ndim != 3 or targets.dtype.kind not in "iub":
            raise DataError(
                f"The metric {self.name} needs a mask of class numbers (H, W) with each item; the targets are "
                f"{targets.dtype} of shape {(1, *targets.shape[1:])}."
            )
        kept = masks != self._ignore
        classes = int(np.max(masks, where=kept, initial=0)) + 1
        counts: list[NDArray[np.int64]] = []
        for row, mask, wanted in zip(outputs[0], masks, kept, strict=True):
            counts.append(self._counts(self._classes(np.asarray(row), data.names[0]), mask, wanted, classes))
        width = max(count.shape[1] for count in counts)
        table = np.stack([np.pad(count, ((0, 0), (0, width - count.shape[1]))) for count in counts])

        def figure(chosen: NDArray[np.int64]) -> float:
            common, said, real = table[chosen].sum(0)
            union = said + real - common
            there = union > 0
            return float(np.mean(common[there] / union[there])) if there.any() else float(np.nan)

        return Statistic(figure=figure)

    def decisions(self, outputs: tuple[NDArray[Any], ...], data: MetricData) -> NDArray[Any]:
        """Returns the class of each pixel, (items, H, W)."""
        import numpy as np

        return np.stack([self._classes(np.asarray(row), data.names[0]) for row in outputs[0]])

    def _classes(self, row: NDArray[Any], name: str) -> NDArray[np.int64]:
        """Returns the class numbers (H, W) of one row."""
        import numpy as np

        squeezed: NDArray[Any] = row.reshape([size for size in row.shape if size != 1])
        sizes: tuple[int, ...] = squeezed.shape
        if squeezed.ndim == 2:
            if is_integer(squeezed):
                return squeezed.astype(np.int64)
            return np.asarray(squeezed > self._threshold, np.int64)
        if squeezed.ndim != 3:
            raise DataError(
                f"The metric {self.name} needs class scores (1, C, H, W) or (1, H, W, C), or class numbers (1, H, W); "
                f'output "{name}" has shape {(1, *row.shape)}.'
            )
        # Classes are fewer than pixels a side, or equal to neither side.
        axis = 0 if sizes[0] < sizes[2] or sizes[1] == sizes[2] else 2
        return np.asarray(squeezed.argmax(axis), np.int64)

    @staticmethod
    def _counts(
        said: NDArray[np.int64], mask: NDArray[Any], kept: NDArray[np.bool_], classes: int
    ) -> NDArray[np.int64]:
        """Returns pixels (3, classes): in common, of the output, of the target."""
        import numpy as np

        if mask.shape != said.shape:
            rows = (np.arange(said.shape[0]) + 0.5) * mask.shape[0] / said.shape[0]
            columns = (np.arange(said.shape[1]) + 0.5) * mask.shape[1] / said.shape[1]
            places = np.ix_(rows.astype(np.int64), columns.astype(np.int64))
            mask, kept = mask[places], kept[places]
        found, real = said[kept], mask[kept].astype(np.int64)
        size = max(classes, int(found.max(initial=0)) + 1)
        return np.stack([np.bincount(values, minlength=size) for values in (real[found == real], found, real)])
