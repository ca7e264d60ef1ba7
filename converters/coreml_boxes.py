"""Detectors as Vision takes them: what a head says becomes a confidence a class and coordinates, box by box.

The two come out beside the head's own outputs, and Core ML suppresses them (see `coreml_pipeline`): confidence (boxes,
classes) and coordinates (boxes, 4), centre and sides as shares of the picture. The arithmetic is that of the decoders
in `edgekit.heads`; a test holds the two against each other.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar, final

from edgekit.converters.coreml_pipeline import Suppression
from edgekit.heads import grids
from edgekit.heads.decoder import Decoder, Shapes
from edgekit.heads.detr import Detr
from edgekit.heads.retinanet import RetinaNet
from edgekit.heads.table import find_decoder
from edgekit.heads.yolov5 import YoloV5
from edgekit.heads.yolov8 import YoloV8
from edgekit.heads.yolox import YoloX
from edgekit.model import TensorSpec
from edgekit.quantization.pt2e_graph import FloatGraph, output_node, results_of
from edgekit.quantization.pt2e_quantization import QuantizedGraph
from edgekit.task.image_input import ImageInput

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

G = TypeVar("G", FloatGraph, QuantizedGraph)
Size = tuple[int, int]

_LOWEST: Final = 0.25
"""Score below which an app is shown no box, unless it sets `confidenceThreshold` itself."""

_LARGEST_STEP: Final = math.log(1000 / 16)
"""See `RetinaNet.predict`."""

_MODULE: Final = "edgekit_boxes"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Boxes:
    """How outputs become boxes.

    Attributes:
        classes: How many there are.
        decode: Outputs, constants as tensors -> confidence (boxes, classes), coordinates (boxes, 4).
        constants: Arrays that it needs, by name.
    """

    classes: int
    decode: Callable[[Sequence[Tensor], Mapping[str, Tensor]], tuple[Tensor, Tensor]]
    constants: Mapping[str, NDArray[Any]] = field(default_factory=dict[str, "NDArray[Any]"])


def append_boxes(graph: G, image: ImageInput, outputs: Sequence[TensorSpec]) -> Suppression | str:
    """Returns how Core ML suppresses, and lets the graph (changed in place) give confidence and coordinates at its end.

    Where Vision cannot be given such a detector the graph stays, and the reason comes back.

    Args:
        graph: Of the detector.
        image: Its input, with labels and head.
        outputs: Its outputs.
    """
    settings = dict(image.head)
    name = str(settings.pop("decoder", ""))
    if not name:
        return "[head] names no decoder"
    decoder, (width, height) = find_decoder(name, settings), image.size
    shapes = tuple(spec.shape[1:] for spec in outputs)
    if reason := decoder.why_not(shapes, (height, width)):
        return f"its outputs are no head of {decoder.title}: {reason}"
    made = _DECODERS[type(decoder)](decoder, shapes, (height, width)) if type(decoder) in _DECODERS else None
    if made is None:
        known = ", ".join(kind.title for kind in _DECODERS)
        return f"the head {name} is not decoded inside as it is here; those of {known} with boxes and scores are"
    if len(set(image.labels)) != made.classes or len(image.labels) != made.classes:
        return f"it has {made.classes} classes, and there are {len(set(image.labels))} labels"
    _append(graph, made)
    iou = decoder.iou if decoder.suppresses else 1.0
    return Suppression(labels=image.labels, iou=iou, score=max(decoder.score, _LOWEST))


def _append(graph: FloatGraph | QuantizedGraph, boxes: _Boxes) -> None:
    import torch
    from torch.fx.graph import CodeGen

    class Decoding(torch.nn.Module):  # type: ignore[misc]  # torch is Any here
        def __init__(self) -> None:
            super().__init__()
            for name, array in boxes.constants.items():
                self.register_buffer(name, torch.as_tensor(array, dtype=torch.float32))

        def forward(self, *outputs: Tensor) -> tuple[Tensor, Tensor]:
            return boxes.decode(outputs, dict(self.named_buffers()))

    graph.module.add_submodule(_MODULE, Decoding())
    end: Any = output_node(graph.module)
    results = results_of(graph.module)
    with end.graph.inserting_before(end):
        both = end.graph.call_module(_MODULE, tuple(results))
        more = [end.graph.call_function(operator.getitem, (both, place)) for place in range(2)]
    end.args = ((*results, *more),)
    # The captured model's own form of its results, with fewer of them, goes.
    end.graph.set_codegen(CodeGen())
    graph.module.recompile()


def _rows(outputs: Sequence[Tensor], shapes: Shapes, cells: int) -> Tensor:
    """Returns what all outputs say of these cells beside each other, (cells, channels): see `grids.joined`."""
    import torch

    found: list[Tensor] = []
    for values, shape in zip(outputs, shapes, strict=True):
        layout = grids.layout(shape, cells)
        if layout is not None:
            width, first = layout
            found.append(values.reshape(width, cells).transpose(0, 1) if first else values.reshape(cells, width))
    return torch.cat(found, 1) if len(found) > 1 else found[0]


def _shares(size: Size) -> NDArray[Any]:
    """Returns what makes a share of the picture of x, y, width and height in pixels."""
    import numpy as np

    return 1 / np.asarray([size[1], size[0]] * 2, np.float64)


def _yolov8(decoder: YoloV8, shapes: Shapes, size: Size) -> _Boxes | None:
    import numpy as np

    count = grids.cells(size, grids.numbers(decoder.strides, "strides"))
    width = grids.joined_width(shapes, count)
    if not width or decoder.keypoints or any(grids.layout(shape, count) is None for shape in shapes):
        return None

    def decode(outputs: Sequence[Tensor], known: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        rows = _rows(outputs, shapes, count)
        return rows[:, 4:], rows[:, :4] * known["share"]

    share = np.ones(4) if decoder.normalized else _shares(size)
    return _Boxes(classes=width - 4, decode=decode, constants={"share": share})


def _yolov5(decoder: YoloV5, shapes: Shapes, size: Size) -> _Boxes | None:
    import numpy as np

    strides = grids.numbers(decoder.strides, "strides")
    each = len(grids.numbers(decoder.anchors.replace(";", ","), "anchors")) // (2 * len(strides))
    count = each * grids.cells(size, strides)
    width = grids.joined_width(shapes, count)
    if not width:
        return None

    def decode(outputs: Sequence[Tensor], known: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        rows = _rows(outputs, shapes, count)
        return rows[:, 4:5] * rows[:, 5:], rows[:, :4] * known["share"]

    share = np.ones(4) if decoder.normalized else _shares(size)
    return _Boxes(classes=width - 5, decode=decode, constants={"share": share})


def _yolox(decoder: YoloX, shapes: Shapes, size: Size) -> _Boxes | None:
    import numpy as np

    points, strides = grids.centres(size, grids.numbers(decoder.strides, "strides"), 0.0)
    width = grids.joined_width(shapes, len(points))

    def decode(outputs: Sequence[Tensor], known: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        import torch

        rows = _rows(outputs, shapes, len(points))
        boxes = rows[:, :4] if decoder.decoded else torch.cat([rows[:, :2] + known["points"], rows[:, 2:4].exp()], 1)
        return rows[:, 4:5] * rows[:, 5:], boxes * known["share"]

    share = _shares(size) * (np.ones_like(strides) if decoder.decoded else strides)
    return _Boxes(classes=width - 5, decode=decode, constants={"share": share, "points": points})


def _retinanet(decoder: RetinaNet, shapes: Shapes, size: Size) -> _Boxes:
    anchors = decoder.anchors(size)
    corners = anchors * _shares(size)
    sides = corners[:, 2:] - corners[:, :2]
    place = max(i for i, shape in enumerate(shapes) if grids.channels(shape, len(anchors)) == 4)
    order = [1, 0, 3, 2] if decoder.rows_first else [0, 1, 2, 3]

    def decode(outputs: Sequence[Tensor], known: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        import torch

        offsets, scores = (_rows(outputs[i : i + 1], shapes[i : i + 1], len(anchors)) for i in (place, 1 - place))
        across, down, wide, high = (offsets[:, i : i + 1] for i in order)
        centre = known["centres"] + torch.cat([across, down], 1) * known["sides"]
        half = known["sides"] * torch.cat([wide, high], 1).clamp(max=_LARGEST_STEP).exp() / 2
        low, far = (centre - half).clamp(0, 1), (centre + half).clamp(0, 1)
        confidence = scores.sigmoid() if decoder.logits else scores
        return confidence, torch.cat([(low + far) / 2, far - low], 1)

    classes = grids.channels(shapes[1 - place], len(anchors)) or 0
    return _Boxes(classes=classes, decode=decode, constants={"centres": corners[:, :2] + sides / 2, "sides": sides})


def _detr(decoder: Detr, shapes: Shapes, size: Size) -> _Boxes:
    del size
    flat = [grids.without_ones(shape, 2) for shape in shapes]
    place = max(i for i, shape in enumerate(flat) if shape[1] == 4)
    softmax = decoder.scores == "softmax"

    def decode(outputs: Sequence[Tensor], known: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        del known
        boxes, logits = outputs[place].reshape(flat[place]), outputs[1 - place].reshape(flat[1 - place])
        if not softmax:
            return logits.sigmoid(), boxes
        chances = logits.softmax(1)[:, :-1]
        return chances * (chances >= chances.amax(1, keepdim=True)), boxes

    return _Boxes(classes=flat[1 - place][1] - softmax, decode=decode)


_DECODERS: Final[Mapping[type[Decoder], Callable[[Any, Shapes, Size], _Boxes | None]]] = {
    YoloV5: _yolov5,
    YoloV8: _yolov8,
    YoloX: _yolox,
    RetinaNet: _retinanet,
    Detr: _detr,
}
