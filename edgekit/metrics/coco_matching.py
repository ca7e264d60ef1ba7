"""Matches of detections with objects, picture by picture, by pycocotools: boxes, masks or keypoints."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from edgekit.metrics.average_precision import Matches
from edgekit.metrics.libraries import coco_library

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Kind = Literal["bbox", "segm", "keypoints"]

MOST: Final[Mapping[Kind, int]] = {"bbox": 100, "segm": 100, "keypoints": 20}
"""Detections of a class and picture that count, as COCO has it."""

_ALL_AREAS: Final = [0.0, 1e10]


def match(
    metric: str,
    kind: Kind,
    objects: Sequence[Sequence[Mapping[str, Any]]],
    detections: Sequence[Sequence[Mapping[str, Any]]],
    *,
    size: tuple[int, int],
    sigmas: NDArray[np.float64] | None = None,
    overlaps: NDArray[np.float64] | None = None,
) -> Matches:
    """Returns the matches of all pictures.

    Args:
        metric: Who needs them.
        kind: What is compared.
        objects: For each picture, COCO annotations without numbers: category_id, bbox, area, iscrowd and so on.
        detections: The same with a score.
        size: Height and width of the pictures.
        sigmas: Fall-off of each keypoint.
        overlaps: Overlaps at which a detection has found an object; 0.5, 0.55, ..., 0.95 by default.

    Raises:
        MissingDependencyError: pycocotools is not installed.
    """
    evaluation = coco_library(metric, "cocoeval")
    pairs = sorted(
        {
            (picture, int(item["category_id"]))
            for pictures in (objects, detections)
            for picture, rows in enumerate(pictures)
            for item in rows
        }
    )
    # The library prints what it does.
    with contextlib.redirect_stdout(io.StringIO()):
        made = evaluation.COCOeval(_dataset(metric, objects, size), _dataset(metric, detections, size), kind)
        made.params.imgIds = list(range(len(objects)))
        made.params.catIds = sorted({number for _, number in pairs})
        made.params.maxDets = [MOST[kind]]
        if overlaps is not None:
            made.params.iouThrs = overlaps
        if sigmas is not None:
            made.params.kpt_oks_sigmas = sigmas
        # What `evaluate` does, for the pairs of picture and class that have anything: 14,000 of 160,000 in COCO's case.
        made._prepare()  # noqa: SLF001  (it has no public form)
        compare = made.computeOks if kind == "keypoints" else made.computeIoU
        made.ious = {pair: compare(*pair) for pair in pairs}
        found = [(pair, made.evaluateImg(*pair, _ALL_AREAS, MOST[kind])) for pair in pairs]
    return _collected(found, len(objects), made.params.catIds, len(made.params.iouThrs))


def _dataset(metric: str, pictures: Sequence[Sequence[Mapping[str, Any]]], size: tuple[int, int]) -> Any:
    """Returns the library's form of annotations."""
    dataset = coco_library(metric, "coco").COCO()
    # The library takes a match with number 0 for none: numbers start at 1.
    listed = [(picture, item) for picture, rows in enumerate(pictures) for item in rows]
    dataset.dataset = {
        "images": [{"id": i, "height": size[0], "width": size[1]} for i in range(len(pictures))],
        "categories": [{"id": number} for number in sorted({int(item["category_id"]) for _, item in listed})],
        "annotations": [
            {"iscrowd": 0, **item, "id": number, "image_id": picture}
            for number, (picture, item) in enumerate(listed, start=1)
        ],
    }
    dataset.createIndex()
    return dataset


def _collected(
    evaluated: Sequence[tuple[tuple[int, int], Any]], pictures: int, classes: Sequence[int], overlaps: int
) -> Matches:
    """Returns what the library found, picture by picture, as arrays."""
    import numpy as np

    objects = np.zeros((pictures, max(1, len(classes))), np.int64)
    parts: list[tuple[NDArray[Any], ...]] = [
        (np.zeros(0, np.int64),) * 2 + (np.zeros(0),) + (np.zeros((overlaps, 0), np.bool_),) * 2
    ]
    for (picture, number), found in evaluated:
        place = classes.index(number)
        objects[picture, place] = int(np.sum(np.asarray(found["gtIgnore"]) == 0))
        scores = np.asarray(found["dtScores"], np.float64)
        count = len(scores)
        parts.append(
            (
                np.full(count, picture),
                np.full(count, place),
                scores,
                np.asarray(found["dtMatches"]).reshape(overlaps, count) > 0,
                np.asarray(found["dtIgnore"]).reshape(overlaps, count).astype(np.bool_),
            )
        )
    columns = [np.concatenate(column, axis=-1) for column in zip(*parts, strict=True)]
    return Matches(
        items=columns[0], classes=columns[1], scores=columns[2], hits=columns[3], ignored=columns[4], objects=objects
    )
