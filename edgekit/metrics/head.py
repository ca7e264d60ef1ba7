"""Which decoder reads a model's outputs: the one that the task names, or the one that fits shapes and data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.errors import DataError
from edgekit.heads.decoder import Decoder
from edgekit.heads.predictions import Detections
from edgekit.heads.suppression import overlaps
from edgekit.heads.table import find_decoder
from edgekit.metrics.metric_data import MetricData
from edgekit.registry import decoder_targets
from edgekit.task.references import Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_CHANNELS: Final = (1, 3, 4)
_TRIED: Final = 32
"""Items on which decoders that fit the shapes are tried."""

_CONFIDENT: Final = 0.25
"""Score from which a detection is a decision."""

_HIT: Final = 0.5
"""Overlap from which a box hits an object."""

_CLEAR: Final = 0.5
"""What the best decoder must reach to be believed, and the share of it that no other may."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """How outputs become detections.

    Attributes:
        metric: Who wants to know.
        decoder: Name of the decoder; "" looks for one.
        settings: Its settings.
    """

    metric: str
    decoder: str = ""
    settings: Mapping[str, Value] = field(default_factory=dict[str, Value])

    def __post_init__(self) -> None:
        """Makes the decoder once, so that wrong settings are found before any work."""
        if self.decoder:
            find_decoder(self.decoder, self.settings)

    def detections(self, outputs: tuple[NDArray[Any], ...], data: MetricData) -> list[Detections]:
        """Returns what these outputs, (rows, ...) each, say about each row.

        Raises:
            DataError: no such decoder, outputs that are none of its, or several decoders that read them.
        """
        size = picture_size(self.metric, data)
        decoder = self._decoder(data, size)
        return [decoder.decode(tuple(array[row] for array in outputs), size) for row in range(len(outputs[0]))]

    def _decoder(self, data: MetricData, size: tuple[int, int]) -> Decoder:
        if self.decoder:
            return find_decoder(self.decoder, self.settings)
        if self.settings:
            raise DataError(
                f"The metric {self.metric} has settings of a decoder ({', '.join(self.settings)}) and no decoder: name "
                'one, [head] decoder = "yolov8" in the task file.'
            )
        return found_by_data(self.metric, data, size)


def picture_size(metric: str, data: MetricData) -> tuple[int, int]:
    """Returns height and width of the model's picture.

    Raises:
        DataError: it takes no picture, or more than one.
    """
    pictures = [shape for shape in data.input_shapes if len(shape) == 4]
    if len(pictures) != 1:
        raise DataError(
            f"The metric {metric} needs a model with one picture as input, (1, C, H, W) or (1, H, W, C); the inputs "
            f"have the shapes {', '.join(map(str, data.input_shapes))}."
        )
    shape = pictures[0]
    return (shape[2], shape[3]) if shape[1] in _CHANNELS else (shape[1], shape[2])


def found_by_data(metric: str, data: MetricData, size: tuple[int, int]) -> Decoder:
    """Returns the one decoder that fits the shapes and finds the labels, or decides plausibly without labels.

    Raises:
        DataError: none does, or several do.
    """
    arrays = tuple(array[:_TRIED] for array in data.reference or data.outputs)
    shapes = tuple(array.shape[1:] for array in arrays)
    agreed: dict[str, float] = {}
    decoders: dict[str, Decoder] = {}
    seen: list[list[Detections]] = []
    for name in decoder_targets():
        decoder = find_decoder(name, {})
        if decoder.why_not(shapes, size) is not None:
            continue
        found = [decoder.decode(tuple(array[row] for array in arrays), size) for row in range(len(arrays[0]))]
        if any(_same(found, other) for other in seen):
            continue  # another name of one that is there, for these outputs
        seen.append(found)
        agreed[name], decoders[name] = _agreement(found, data, size), decoder
    ranked = sorted(agreed, key=lambda name: -agreed[name])
    listed = ", ".join(f"{name} {100 * agreed[name]:.0f} %" for name in ranked)
    if ranked and agreed[ranked[0]] >= _CLEAR:
        if len(ranked) == 1 or agreed[ranked[1]] < _CLEAR * agreed[ranked[0]]:
            return decoders[ranked[0]]
        reason = f"several decoders read them, and their boxes are right to {listed}"
    else:
        reason = f"their boxes are right to {listed}" if ranked else "no decoder's default settings fit them"
    advice = ranked[0] if ranked else "yolov8"
    raise DataError(
        f"The metric {metric} cannot tell which head the outputs {', '.join(map(str, shapes))} are of: {reason}. Say "
        f'it in the task file: [head] decoder = "{advice}", with its settings; the decoders: '
        f"{', '.join(decoder_targets())}."
    )


def _agreement(pictures: Sequence[Detections], data: MetricData, size: tuple[int, int]) -> float:
    """Returns the share of confident boxes that hit an object of their class, or without labels lie in the picture."""
    import numpy as np

    targets = data.targets
    labelled = targets is not None and targets.dtype.kind in "iuf" and targets.ndim == 3
    right: list[bool] = []
    for row, picture in enumerate(pictures):
        if picture.scores.size and float(picture.scores.max()) > 1 + 1e-6:
            return 0.0
        found = picture.above(_CONFIDENT)
        if targets is None or not labelled:
            right += _plausible(found.boxes, size).tolist()
            continue
        table = np.asarray(targets[row], np.float64)
        for box, kind in zip(found.boxes, found.classes, strict=True):
            same = table[(table[:, 4] == kind)]
            right.append(bool((overlaps(box, same[:, :4]) >= _HIT).any()))
    return float(np.mean(right)) if right else 0.0


def _same(first: Sequence[Detections], second: Sequence[Detections]) -> bool:
    """Returns whether two decoders find the same confident boxes."""
    import numpy as np

    pairs = [(a.above(_CONFIDENT), b.above(_CONFIDENT)) for a, b in zip(first, second, strict=True)]
    return all(np.array_equal(a.boxes, b.boxes) and np.array_equal(a.classes, b.classes) for a, b in pairs)


def _plausible(boxes: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Returns which boxes have a size of two pixels at least and lie in the picture, a tenth of a side apart."""
    import numpy as np

    limits = np.asarray([size[1], size[0]])
    inside = (boxes[:, :2] > -0.1 * limits).all(1) & (boxes[:, 2:] < 1.1 * limits).all(1)
    return np.asarray(inside & (boxes[:, 2:] - boxes[:, :2] > 2).all(1), np.bool_)
