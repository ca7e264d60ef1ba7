"""Sorting, selection of the largest, and non-maximum suppression."""

from __future__ import annotations

import torch
from torch import Tensor

from edgekit.validators.coreml_evaluator.operators.call import Call, Kernel

FIRST_BOXES_LAST_OPSET = 7
"""From iOS 17 on boxes run along the last dimension, and there is no score threshold and no count."""


def _argsort(call: Call) -> Tensor:
    descending = not call.flag("ascending", default=False)
    return torch.sort(call.tensor("x"), dim=call.integer("axis", -1), descending=descending, stable=True).indices


def _topk(call: Call) -> Tensor | list[Tensor]:
    x, axis, count = call.tensor("x"), call.integer("axis", -1), call.integer("k", 1)
    descending = not call.flag("ascending", default=False)
    values, indices = torch.sort(x, dim=axis, descending=descending, stable=True)
    count = x.shape[axis] if count == -1 else count
    values = values.narrow(axis, 0, count)
    if not call.flag("return_indices", default=True):
        return values
    return [values, indices.narrow(axis, 0, count)]


def _non_maximum_suppression(call: Call) -> list[Tensor]:
    """Greedy suppression in descending order of the best class score.

    Unused places hold zeros, and -1 as index. Where no box survives, the best one is kept: so does Core ML, as the
    reference implementation in coremltools' own tests shows.
    """
    boxes, scores = call.tensor("boxes"), call.tensor("scores")
    boxes_last = call.machine.opset >= FIRST_BOXES_LAST_OPSET
    if boxes_last:
        boxes, scores = boxes.transpose(1, 2), scores.transpose(1, 2)
    limit = call.integer("max_boxes", 1)
    batch, _, classes = scores.shape
    kept_boxes, kept_scores = torch.zeros(batch, limit, 4), torch.zeros(batch, limit, classes)
    indices, counts = torch.full((batch, limit), -1), torch.zeros(batch, dtype=torch.int64)
    for item in range(batch):
        kept = _surviving(call, boxes[item], scores[item])[:limit]
        count = len(kept)
        kept_boxes[item, :count], kept_scores[item, :count] = boxes[item, kept], scores[item, kept]
        indices[item, :count], counts[item] = torch.tensor(kept), count
    if boxes_last:
        return [kept_boxes.transpose(1, 2), kept_scores.transpose(1, 2), indices]
    return [kept_boxes, kept_scores, indices, counts]


def _surviving(call: Call, boxes: Tensor, scores: Tensor) -> list[int]:
    """Returns the surviving boxes of one image, best first.

    Args:
        call: The operator, for its thresholds.
        boxes: Shape `(boxes, 4)`: centre x, centre y, width, height.
        scores: Shape `(boxes, classes)`.
    """
    best, label = scores.max(1)
    order: list[int] = torch.sort(best, descending=True, stable=True).indices.tolist()
    threshold = call.number("score_threshold", float("-inf"))
    per_class, limit = call.flag("per_class_suppression", default=False), call.number("iou_threshold", 0.5)
    overlap = _intersection_over_union(boxes)
    kept: list[int] = []
    for box in order:
        if best[box] < threshold:
            break
        rivals = [other for other in kept if not per_class or label[other] == label[box]]
        if not any(overlap[box, other] > limit for other in rivals):
            kept.append(box)
    return kept or order[:1]


def _intersection_over_union(boxes: Tensor) -> Tensor:
    low, high = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    sides = torch.minimum(high[:, None], high[None]) - torch.maximum(low[:, None], low[None])
    shared = sides.clamp(min=0).prod(-1)
    area = boxes[:, 2:].prod(-1)
    union = area[:, None] + area[None] - shared
    return torch.where(union > 0, shared / union, torch.zeros(()))


OPERATORS: dict[str, Kernel] = {
    "argsort": _argsort,
    "non_maximum_suppression": _non_maximum_suppression,
    "topk": _topk,
}
"""By operator type."""
