"""mask_map: mean average precision of instances' masks over overlaps 0.5 to 0.95, as COCO has it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

from edgekit.errors import DataError
from edgekit.metrics.average_precision import Ranking
from edgekit.metrics.coco_matching import match
from edgekit.metrics.head import Head, picture_size
from edgekit.metrics.item_metric import ItemMetric, Statistic, targets_of
from edgekit.metrics.libraries import coco_library
from edgekit.metrics.metric_data import MetricData
from edgekit.task.instance_masks import encode_instances
from edgekit.task.references import Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekit.heads.predictions import Detections


@final
class MaskMap(ItemMetric):
    """Mean average precision of instance segmentation.

    Args:
        decoder: Which head the outputs are of; "" looks for one that fits.
        decided: Score from which a mask is a decision, where the float model's take the place of labels.
        settings: Settings of the decoder.
    """

    name: str = "mask_map"
    targets: ClassVar[Literal["row", "pair", "table"]] = "table"

    def __init__(self, *, decoder: str = "", decided: float = 0.25, **settings: Value) -> None:
        self._head = Head(metric=self.name, decoder=decoder, settings=settings)
        self._decided = decided

    def statistic(self, outputs: tuple[NDArray[Any], ...], data: MetricData) -> Statistic:
        """Decodes the outputs; keeps which masks of each item match an instance."""
        size = picture_size(self.name, data)
        wanted = [self._instances(str(text)) for text in self._texts(data)]
        found = [self._annotations(item) for item in self._head.detections(outputs, data)]
        return Statistic(figure=Ranking(match(self.name, "segm", wanted, found, size=size)).figure, centred=True)

    def decisions(self, outputs: tuple[NDArray[Any], ...], data: MetricData) -> NDArray[Any]:
        """Returns the masks that score high enough, as texts."""
        import numpy as np

        kept = [item.above(self._decided) for item in self._head.detections(outputs, data)]
        return np.asarray([encode_instances(list(self._masks(item)), item.classes.tolist()) for item in kept])

    def _texts(self, data: MetricData) -> NDArray[Any]:
        wanted = "encode_instances(masks, classes) of edgekit.task.instance_masks"
        targets = targets_of(self.name, data, wanted)
        if targets.dtype.kind != "U":
            raise DataError(
                f"The metric {self.name} needs the masks of each item as text; the targets are {targets.dtype} of "
                f"shape {(1, *targets.shape[1:])}. Yield (inputs, {wanted})."
            )
        return targets.reshape(-1)

    def _instances(self, text: str) -> list[dict[str, Any]]:
        """Returns one target in COCO's form."""
        library = coco_library(self.name, "mask")
        made: list[dict[str, Any]] = []
        for item in json.loads(text):
            runs = {"size": item["size"], "counts": item["counts"].encode()}
            area = float(library.area(runs))
            made.append({"category_id": item["class"], "segmentation": runs, "area": area, "iscrowd": item["crowd"]})
        return made

    def _annotations(self, found: Detections) -> list[dict[str, Any]]:
        """Returns detections in COCO's form."""
        import numpy as np

        library = coco_library(self.name, "mask")
        made: list[dict[str, Any]] = []
        for mask, score, number in zip(self._masks(found), found.scores, found.classes, strict=True):
            runs = library.encode(np.asfortranarray(mask, np.uint8))
            made.append(
                {
                    "category_id": int(number),
                    "segmentation": runs,
                    "area": float(library.area(runs)),
                    "score": float(score),
                }
            )
        return made

    def _masks(self, found: Detections) -> NDArray[np.bool_]:
        if found.masks is None:
            raise DataError(
                f"The metric {self.name} needs masks, and the decoder finds none in these outputs. Give the model's "
                "mask prototypes as an output, or use the metric map."
            )
        return found.masks
