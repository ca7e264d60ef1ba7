"""Two small detectors for drawn scenes.

dfl      without anchors: probabilities and boxes in pixels joined in one output (1, 4 + classes, cells), as YOLOv8 and
         YOLO11 export it; distances are expectations over 16 bins (DFL); SiLU
anchors  with anchors: offsets (1, anchors, 4) in the order y, x, height, width, and logits (1, anchors, classes), as
         the raw outputs of TensorFlow's SSDs and EfficientDets are; ReLU6

Both learn from scenes that are drawn as they train. Cells of `dfl` are matched as in Feng et al. 2021 (TOOD), anchors
by overlap.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from backbone import Backbone, Pyramid, block
from scenes import CLASSES, SIDE, Scene, calibration, judged_boxes, learned
from torch import Tensor, nn
from torch.nn import functional
from training import fit, restored

__all__ = ["anchors", "calibration", "dfl", "example_inputs", "judged_boxes"]

STRIDES = (8, 16, 32)
BINS = 16
WIDTH = 64
BATCH = 16
STEPS = 1500
ANCHOR_SIZES = (0.75, 1.05)
"""Sides of an anchor in units of four strides."""
ANCHOR_RATIOS = (0.5, 1.0, 2.0)


def _branch(outputs: int, activation: Any) -> nn.Sequential:
    return nn.Sequential(
        block(WIDTH, WIDTH, 3, 1, WIDTH, activation),
        block(WIDTH, WIDTH, activation=activation),
        nn.Conv2d(WIDTH, outputs, 1),
    )


class Dfl(nn.Module):
    """The detector without anchors."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.pyramid = Backbone(nn.SiLU), Pyramid(WIDTH, nn.SiLU)
        self.distances = nn.ModuleList([_branch(4 * BINS, nn.SiLU) for _ in STRIDES])
        self.scores = nn.ModuleList([_branch(len(CLASSES), nn.SiLU) for _ in STRIDES])
        for branch in self.scores:
            nn.init.constant_(branch[-1].bias, -math.log(100))
        points, strides = [], []
        for stride in STRIDES:
            cells = torch.arange(SIDE // stride) + 0.5
            down, across = torch.meshgrid(cells, cells, indexing="ij")
            points.append(torch.stack([across.flatten(), down.flatten()]))
            strides.append(torch.full((1, down.numel()), float(stride)))
        self.points: Tensor
        self.strides: Tensor
        self.bins: Tensor
        self.register_buffer("points", torch.cat(points, 1)[None])
        self.register_buffer("strides", torch.cat(strides, 1)[None])
        self.register_buffer("bins", torch.arange(BINS, dtype=torch.float32).reshape(1, 1, BINS, 1))

    def raw(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Returns logits of distances (N, 4, BINS, cells) and of classes (N, classes, cells)."""
        levels = self.pyramid(self.backbone(image)[1:])
        joined = [
            torch.cat([distances(level), scores(level)], 1).flatten(2)
            for distances, scores, level in zip(self.distances, self.scores, levels, strict=True)
        ]
        values = torch.cat(joined, 2)
        distances, scores = values.split([4 * BINS, len(CLASSES)], 1)
        return distances.reshape(-1, 4, BINS, distances.shape[-1]), scores

    def corners(self, distances: Tensor) -> Tensor:
        """Returns x1, y1, x2, y2 (N, 4, cells) in pixels."""
        near, far = (distances.softmax(2) * self.bins).sum(2).chunk(2, 1)
        return torch.cat([self.points - near, self.points + far], 1) * self.strides

    def forward(self, image: Tensor) -> Tensor:
        """Returns centre, sides and probabilities, (N, 4 + classes, cells)."""
        distances, scores = self.raw(image)
        first, last = self.corners(distances).chunk(2, 1)
        return torch.cat([(first + last) / 2, last - first, scores.sigmoid()], 1)


class Anchors(nn.Module):
    """The detector with anchors."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.pyramid = Backbone(nn.ReLU6), Pyramid(WIDTH, nn.ReLU6)
        count = len(ANCHOR_SIZES) * len(ANCHOR_RATIOS)
        self.offsets = nn.ModuleList([_branch(4 * count, nn.ReLU6) for _ in STRIDES])
        self.scores = nn.ModuleList([_branch(len(CLASSES) * count, nn.ReLU6) for _ in STRIDES])
        for branch in self.scores:
            nn.init.constant_(branch[-1].bias, -math.log(100))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Returns offsets (N, anchors, 4) and logits (N, anchors, classes)."""
        levels = self.pyramid(self.backbone(image)[1:])

        def rows(branches: nn.ModuleList, width: int) -> Tensor:
            found = [branch(level) for branch, level in zip(branches, levels, strict=True)]
            return torch.cat([part.permute(0, 2, 3, 1).reshape(len(image), -1, width) for part in found], 1)

        return rows(self.offsets, 4), rows(self.scores, len(CLASSES))


def anchor_boxes() -> Tensor:
    """Returns x1, y1, x2, y2 of every anchor (anchors, 4) as edgekit's own decoder has them."""
    from edgekit.heads.retinanet import RetinaNet

    names = {"strides": STRIDES, "sizes": ANCHOR_SIZES, "ratios": ANCHOR_RATIOS}
    decoder = RetinaNet(**{name: ",".join(map(str, values)) for name, values in names.items()})
    return torch.from_numpy(decoder.anchors((SIDE, SIDE)).astype(np.float32))


def _overlap(first: Tensor, second: Tensor, *, generalized: bool = False) -> Tensor:
    """Returns the overlap of boxes whose last axis is x1, y1, x2, y2, as IoU or GIoU (Rezatofighi et al. 2019)."""
    low, high = torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:])
    common = (high - low).clamp(0).prod(-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).clamp(0).prod(-1) for boxes in (first, second)]
    union = areas[0] + areas[1] - common + 1e-7
    overlap = common / union
    if not generalized:
        return overlap
    around = (torch.maximum(first[..., 2:], second[..., 2:]) - torch.minimum(first[..., :2], second[..., :2])).prod(-1)
    return overlap - (around - union) / (around + 1e-7)


def _matched(scores: Tensor, corners: Tensor, objects: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the object of each cell (cells,), -1 for none, and how well the cell fits, 0 to 1 (cells,)."""
    boxes, kinds = objects[:, None, :4], objects[:, 4].long()
    inside = ((centres > boxes[..., :2]) & (centres < boxes[..., 2:])).all(-1)
    overlap = _overlap(boxes, corners) * inside
    fit_of = scores.T[kinds].sqrt() * overlap**6 * inside + 1e-12 * inside
    best = fit_of.topk(10, 1)
    chosen = torch.zeros_like(fit_of).scatter(1, best.indices, 1.0).bool() & inside
    share = (fit_of / (fit_of.amax(1, keepdim=True) + 1e-12)) * (overlap * chosen).amax(1, keepdim=True)
    share = torch.where(chosen, share, torch.zeros_like(share))
    value, owner = torch.where(chosen, overlap, torch.full_like(overlap, -1)).max(0)
    return torch.where(value >= 0, owner, -1), share.gather(0, owner[None])[0]


def _dfl_loss(model: Dfl, scenes: list[Scene]) -> Tensor:
    distances, logits = model.raw(_images(scenes))
    corners = model.corners(distances).transpose(1, 2)
    centres = (model.points * model.strides)[0].T
    wanted = torch.zeros_like(logits)
    boxes, weights, places = [], [], []
    with torch.no_grad():
        for row, scene in enumerate(scenes):
            objects = torch.from_numpy(scene.boxes)
            owner, share = _matched(logits[row].sigmoid().T, corners[row], objects, centres)
            cells = owner.ge(0).nonzero()[:, 0]
            wanted[row, objects[owner[cells], 4].long(), cells] = share[cells]
            boxes.append(objects[owner[cells], :4])
            weights.append(share[cells])
            places.append(torch.stack([torch.full_like(cells, row), cells]))
    rows, cells = torch.cat(places, 1)
    box, weight = torch.cat(boxes), torch.cat(weights)
    total = weight.sum().clamp(1)
    scored = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="sum") / total
    placed = ((1 - _overlap(corners[rows, cells], box, generalized=True)) * weight).sum() / total
    around = torch.cat([centres[cells] - box[:, :2], box[:, 2:] - centres[cells]], 1) / model.strides[0, 0, cells, None]
    around = around.clamp(0, BINS - 1.01)
    low = around.floor().long()
    chances = distances[rows, :, :, cells].log_softmax(2)
    near, far = (-chances.gather(2, (low + step)[..., None])[..., 0] for step in (0, 1))
    binned = ((near * (low + 1 - around) + far * (around - low)).mean(1) * weight).sum() / total
    return 0.5 * scored + 7.5 / 4 * placed + 1.5 / 4 * binned


def _anchors_loss(model: Anchors, scenes: list[Scene], known: Tensor) -> Tensor:
    offsets, logits = model(_images(scenes))
    middles, sides = (known[:, :2] + known[:, 2:]) / 2, known[:, 2:] - known[:, :2]
    losses, count = torch.zeros(()), 0
    for row, scene in enumerate(scenes):
        objects = torch.from_numpy(scene.boxes)
        overlap = _overlap(objects[:, None, :4], known)
        value, owner = overlap.max(0)
        best = overlap.argmax(1)
        value[best], owner[best] = 1.0, torch.arange(len(objects))
        cells = value.ge(0.5).nonzero()[:, 0]
        box = objects[owner[cells], :4]
        wanted = torch.zeros_like(logits[row])
        wanted[cells, objects[owner[cells], 4].long()] = 1
        counted = value.ge(0.5) | value.lt(0.4)
        chance = logits[row].sigmoid()
        hard = torch.where(wanted > 0, 0.25 * (1 - chance) ** 2, 0.75 * chance**2)
        crossed = functional.binary_cross_entropy_with_logits(logits[row], wanted, reduction="none")
        losses = losses + (hard * crossed)[counted].sum()
        centre = ((box[:, :2] + box[:, 2:]) / 2 - middles[cells]) / sides[cells]
        moved = torch.cat([centre.flip(1), ((box[:, 2:] - box[:, :2]) / sides[cells]).log().flip(1)], 1)
        losses = losses + functional.smooth_l1_loss(offsets[row, cells], moved, reduction="sum", beta=0.1)
        count += len(cells)
    return losses / max(1, count)


def _images(scenes: list[Scene]) -> Tensor:
    return torch.from_numpy(np.stack([scene.values for scene in scenes])).contiguous(memory_format=torch.channels_last)


def train(name: str) -> Any:
    """Returns the training of a detector, which says how it goes."""
    torch.manual_seed(0)
    if name == "dfl":
        first = Dfl()
        return fit(name, first, lambda step: learned(step, BATCH), lambda scenes: _dfl_loss(first, scenes),
                   steps=STEPS, rate=4e-3)  # fmt: skip
    second, known = Anchors(), anchor_boxes()
    return fit(name, second, lambda step: learned(step, BATCH), lambda scenes: _anchors_loss(second, scenes, known),
               steps=STEPS, rate=4e-3)  # fmt: skip


def dfl() -> nn.Module:
    """Returns the trained detector without anchors."""
    return restored("dfl", Dfl())


def anchors() -> nn.Module:
    """Returns the trained detector with anchors."""
    return restored("anchors", Anchors())


def example_inputs() -> tuple[Tensor, ...]:
    """Returns one picture."""
    return (torch.zeros(1, 3, SIDE, SIDE),)
