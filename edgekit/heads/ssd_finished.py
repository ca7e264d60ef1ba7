"""The four outputs of TensorFlow's TFLite_Detection_PostProcess: boxes, classes, scores, and how many there are.

Boxes are y1, x1, y2, x2 as shares of the input. Source: TensorFlow, lite/kernels/detection_postprocess.cc.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from edgekit.heads.decoder import Arrays, Decoder, Shapes
from edgekit.heads.grids import without_ones
from edgekit.heads.predictions import Predictions
from edgekit.heads.yolo26 import one_hot


@final
@dataclass(frozen=True, kw_only=True)
class SsdFinished(Decoder):
    """SSD, decoded and suppressed inside the model."""

    title: ClassVar[str] = "SSD with TFLite's post-processing"
    suppresses: ClassVar[bool] = False

    def why_not(self, shapes: Shapes, size: tuple[int, int]) -> str | None:
        """Needs (n, 4), (n,), (n,) and one number."""
        del size
        found = [without_ones(shape, 2) for shape in shapes]
        sizes = [shape[0] if len(shape) == 2 else 0 for shape in found[:1]]
        if len(found) != 4 or found[0][1:] != (4,) or any(_count(shape) != sizes[0] for shape in shapes[1:3]):
            return f"they have the shapes {', '.join(map(str, shapes))}; expected (n, 4), (n,), (n,) and (1,)"
        return None

    def predict(self, outputs: Arrays, size: tuple[int, int]) -> Predictions:
        """Returns the boxes that count."""
        count = int(outputs[3].reshape(-1)[0])
        boxes = outputs[0].reshape(-1, 4)[:count][:, [1, 0, 3, 2]] * ([size[1], size[0]] * 2)
        return Predictions(boxes=boxes, scores=one_hot(outputs[2].reshape(-1)[:count], outputs[1].reshape(-1)[:count]))


def _count(shape: tuple[int, ...]) -> int:
    sizes = [size for size in shape if size != 1]
    return sizes[0] if len(sizes) == 1 else 1 if not sizes else 0
