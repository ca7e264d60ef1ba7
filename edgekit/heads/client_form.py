"""Heads that clients decode by themselves: what MediaPipe's ObjectDetector must be told about one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from edgekit.heads.decoder import Decoder
from edgekit.heads.retinanet import RetinaNet
from edgekit.heads.ssd_finished import SsdFinished

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@final
@dataclass(frozen=True, kw_only=True)
class RawForm:
    """Offsets (1, anchors, 4) in the order y, x, height, width and scores (1, anchors, classes).

    Attributes:
        anchors: Centre x and y, width and height of each anchor as shares of the input, (anchors, 4).
        logits: Scores are logits, not probabilities.
    """

    anchors: NDArray[np.float64]
    logits: bool


@final
@dataclass(frozen=True, kw_only=True)
class FinishedForm:
    """Boxes, classes, scores and their number, as TFLite_Detection_PostProcess gives them."""


def client_form(decoder: Decoder, size: tuple[int, int]) -> RawForm | FinishedForm | None:
    """Returns the form in which clients decode a head, None for a head that they cannot decode.

    Args:
        decoder: Of the head.
        size: Height and width of the model's input.
    """
    import numpy as np

    if isinstance(decoder, SsdFinished):
        return FinishedForm()
    if not isinstance(decoder, RetinaNet) or not decoder.rows_first:
        return None
    corners = decoder.anchors(size) / ([size[1], size[0]] * 2)
    centres, sides = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
    return RawForm(anchors=np.concatenate([centres, sides], 1), logits=decoder.logits)
