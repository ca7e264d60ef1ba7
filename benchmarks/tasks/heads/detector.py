"""A small detector that learns in about a minute to find drawn discs, squares and triangles, with three joined heads.

Boxes are given in pixels of the 640 pixels wide picture that the network's input was scaled from, scores from 0 to 1,
both in one output (1, 4 + classes, cells), as YOLOv8 and YOLO11 export it.

plain   sigmoid and exponential, as YOLOX decodes
bins    an expectation over a softmax (DFL), as YOLOv8 decodes
points  as `plain`, with the box's centre as a keypoint behind the scores: three kinds of values in one output
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, l1_loss, softmax

SIDE = 96
SCALE = 640 / SIDE
CLASSES = 3
STRIDES = (8, 16)
BINS = 8
STEPS = 400
BATCH = 16
WEIGHTS = Path(__file__).with_name("weights")

Objects = list[tuple[float, float, float, float, int]]
"""Centre x and y, width and height in pixels of the input, class."""


def draw(seed: int) -> tuple[NDArray[np.float32], Objects]:
    """Returns a picture (3, SIDE, SIDE), 0 to 1, and the one to three objects on it."""
    random = np.random.default_rng(seed)
    picture = random.uniform(0.2, 0.8, (3, 1, 1)) + random.normal(0, 0.06, (3, SIDE, SIDE))
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] + 0.5
    objects: Objects = []
    taken = np.zeros((SIDE, SIDE), bool)
    for _ in range(int(random.integers(1, 4))):
        width, height = random.uniform(14, 44, 2)
        x, y = random.uniform(width / 2, SIDE - width / 2), random.uniform(height / 2, SIDE - height / 2)
        kind = int(random.integers(CLASSES))
        across, down = (columns - x) / width * 2, (rows - y) / height * 2
        inside = np.maximum(abs(across), abs(down)) < 1
        if kind == 0:
            inside &= across**2 + down**2 < 1
        elif kind == 2:
            inside &= abs(across) < (down + 1) / 2
        if taken[inside].any():
            continue
        taken |= inside
        picture[:, inside] = random.uniform(0, 1, (3, 1)) + random.normal(0, 0.04, (3, int(inside.sum())))
        objects.append((x, y, width, height, kind))
    return np.clip(picture, 0, 1).astype(np.float32), objects


def _block(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.SiLU())


class Detector(nn.Module):
    """Two levels, each with a branch for boxes and one for scores."""

    def __init__(self, head: str) -> None:
        super().__init__()
        self.head = head
        self.stem = nn.Sequential(_block(3, 16, 2), _block(16, 32, 2), _block(32, 48, 2), _block(48, 48))
        self.deep = nn.Sequential(_block(48, 64, 2), _block(64, 64))
        numbers = 4 * BINS if head == "bins" else 4
        self.boxes = nn.ModuleList([nn.Sequential(_block(size, 32), nn.Conv2d(32, numbers, 1)) for size in (48, 64)])
        self.scores = nn.ModuleList([nn.Sequential(_block(size, 32), nn.Conv2d(32, CLASSES, 1)) for size in (48, 64)])
        self.expectation = nn.Conv2d(BINS, 1, 1, bias=False)
        self.expectation.weight.data[:] = torch.arange(BINS, dtype=torch.float32).reshape(1, BINS, 1, 1)
        self.expectation.requires_grad_(requires_grad=False)
        places, strides = [], []
        for stride in STRIDES:
            cells = torch.arange(SIDE // stride) + 0.5
            down, across = torch.meshgrid(cells, cells, indexing="ij")
            places.append(torch.stack([across.flatten(), down.flatten()]))
            strides.append(torch.full((1, down.numel()), float(stride)))
        self.places: Tensor
        self.strides: Tensor
        self.register_buffer("places", torch.cat(places, 1)[None])
        self.register_buffer("strides", torch.cat(strides, 1)[None])
        for branch in self.scores:
            nn.init.constant_(branch[-1].bias, -math.log(50))

    def raw(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Returns box numbers (N, 4 or 4 * BINS, cells) and logits (N, CLASSES, cells), joined over the levels."""
        shallow = self.stem(image)
        levels = (shallow, self.deep(shallow))
        joined = [
            torch.cat([boxes(level), scores(level)], 1).flatten(2)
            for boxes, scores, level in zip(self.boxes, self.scores, levels, strict=True)
        ]
        values = torch.cat(joined, 2)
        return values[:, :-CLASSES], values[:, -CLASSES:]

    def decoded(self, numbers: Tensor) -> Tensor:
        """Returns centre x and y, width and height (N, 4, cells) in pixels of the large picture."""
        if self.head == "bins":
            count = numbers.shape[-1]
            shares = softmax(numbers.reshape(-1, 4, BINS, count).transpose(1, 2), 1)
            low, high = self.expectation(shares).reshape(-1, 4, count).chunk(2, 1)
            first, last = self.places - low, self.places + high
            boxes = torch.cat([(first + last) / 2, last - first], 1)
        else:
            centre, size = numbers.chunk(2, 1)
            boxes = torch.cat([self.places + centre, torch.exp(size)], 1)
        return boxes * self.strides * SCALE

    def forward(self, image: Tensor) -> Tensor:
        """Returns (N, 4 + CLASSES, cells), with two coordinates of a point and its score more for `points`."""
        numbers, logits = self.raw(image)
        boxes, scores = self.decoded(numbers), logits.sigmoid()
        if self.head != "points":
            return torch.cat([boxes, scores], 1)
        return torch.cat([boxes, scores, boxes[:, :2], scores.amax(1, keepdim=True)], 1)


def _targets(batch: list[Objects], model: Detector) -> tuple[Tensor, Tensor, Tensor]:
    """Returns which cells have an object (N, cells), their boxes (N, 4, cells) and classes (N, CLASSES, cells)."""
    cells = model.places.shape[-1]
    chosen = torch.zeros(len(batch), cells, dtype=torch.bool)
    boxes, classes = torch.ones(len(batch), 4, cells), torch.zeros(len(batch), CLASSES, cells)
    centres, strides = (model.places * model.strides)[0], model.strides[0, 0]
    for row, objects in enumerate(batch):
        for x, y, width, height, kind in objects:
            level = STRIDES[0] if max(width, height) < 28 else STRIDES[1]
            distance = (centres - torch.tensor([[x], [y]])).abs().amax(0) / level + 1e3 * (strides != level)
            cell = int(distance.argmin())
            chosen[row, cell] = True
            boxes[row, :, cell] = torch.tensor([x, y, width, height]) * SCALE
            classes[row, kind, cell] = 1
    return chosen, boxes, classes


def trained(head: str) -> Detector:
    """Returns the detector with its weights, trained where that has not been done."""
    torch.manual_seed(0)
    model = Detector(head)
    path = WEIGHTS / f"{head}.pt"
    if not path.is_file():
        _train(model)
        path.parent.mkdir(exist_ok=True)
        torch.save(model.state_dict(), path)
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()


def _train(model: Detector) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=STEPS)
    model.train()
    for step in range(STEPS):
        drawn = [draw(10_000 + step * BATCH + i) for i in range(BATCH)]
        images = torch.from_numpy(np.stack([picture for picture, _ in drawn]))
        chosen, boxes, classes = _targets([objects for _, objects in drawn], model)
        numbers, logits = model.raw(images)
        loss = binary_cross_entropy_with_logits(logits, classes, reduction="sum") / chosen.sum()
        here = chosen[:, None].expand_as(boxes)
        loss = loss + l1_loss(model.decoded(numbers)[here], boxes[here]) / 40
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's stubs
        optimizer.step()
        schedule.step()


def plain() -> nn.Module:
    """Returns the detector that decodes as YOLOX."""
    return trained("plain")


def bins() -> nn.Module:
    """Returns the detector that decodes as YOLOv8."""
    return trained("bins")


def points() -> nn.Module:
    """Returns the detector with a keypoint."""
    return trained("points")


def example_inputs() -> tuple[Tensor, ...]:
    """Returns one picture."""
    return (torch.zeros(1, 3, SIDE, SIDE),)


def calibration() -> Iterator[tuple[NDArray[np.float32], ...]]:
    """Yields pictures that were not trained on."""
    for seed in range(100):
        yield (draw(seed)[0][None],)


def evaluation() -> Iterator[tuple[tuple[NDArray[np.float32], ...], Any]]:
    """Yields other pictures that were not trained on, without targets: the float model says what is right."""
    for seed in range(1000, 1300):
        yield (draw(seed)[0][None],), None
