"""How much CPU time mAP's interval takes on 2,000 pictures, and how far its value is from pycocotools' own.

    python benchmarks/detection_metric.py

Pictures, objects and detections are random; 80 classes, 9 detections a picture on average.
"""

from __future__ import annotations

import contextlib
import io
import time

import numpy as np
from pycocotools.cocoeval import COCOeval

from edgekit.intervals import bootstrap_interval
from edgekit.metrics.average_precision import Ranking
from edgekit.metrics.boxes import box_annotations
from edgekit.metrics.coco_matching import _dataset, match

PICTURES, CLASSES, RESAMPLES, SIZE = 2000, 80, 1000, (640, 640)


def pictures(noise: float) -> tuple[list, list]:
    """Returns objects and detections in COCO's form; the noise moves what is found."""
    generator, moves = np.random.default_rng(0), np.random.default_rng(1)
    tables, detections = [], []
    for _ in range(PICTURES):
        corners = generator.uniform(0, 400, (generator.integers(0, 8), 2))
        boxes = np.concatenate([corners, corners + generator.uniform(10, 200, corners.shape)], 1)
        numbers = generator.integers(0, CLASSES, len(boxes))
        tables.append(np.column_stack([boxes, numbers]))
        others = generator.uniform(0, 400, (generator.integers(0, 12), 2))
        every = np.concatenate(
            [boxes + noise * moves.normal(0, 8, boxes.shape), np.concatenate([others, others + 80], 1)]
        )
        classes = np.concatenate([numbers, generator.integers(0, CLASSES, len(others))])
        scores = generator.random(len(every))
        detections.append(
            [
                {
                    "category_id": int(number),
                    "bbox": [*box[:2].tolist(), *(box[2:] - box[:2]).tolist()],
                    "area": float((box[2:] - box[:2]).prod()),
                    "score": float(score),
                }
                for box, number, score in zip(every, classes, scores, strict=True)
            ]
        )
    return box_annotations(tables), detections


def main() -> None:
    rankings = []
    for title, noise in (("float", 0.5), ("artifact", 1.0)):
        objects, detections = pictures(noise)
        started = time.process_time()
        ranking = Ranking(match("map", "bbox", objects, detections, size=SIZE))
        took = time.process_time() - started
        value = ranking.figure(np.arange(PICTURES))
        with contextlib.redirect_stdout(io.StringIO()):
            whole = COCOeval(_dataset("map", objects, SIZE), _dataset("map", detections, SIZE), "bbox")
            whole.evaluate()
            whole.accumulate()
            whole.summarize()
        count = sum(map(len, detections))
        print(f"{title}: mAP {value:.6f}, {count} detections matched in {took:.1f} s; ", end="")
        print(f"pycocotools {whole.stats[0]:.6f}, difference {abs(value - whole.stats[0]):.1e}")
        rankings.append(ranking)
    theirs, own = rankings
    started = time.process_time()
    interval = bootstrap_interval(
        lambda chosen: theirs.figure(chosen) - own.figure(chosen), PICTURES, resamples=RESAMPLES, centred=True
    )
    took = time.process_time() - started
    print(f"drop {100 * interval.low:.2f} to {100 * interval.high:.2f} pp from {RESAMPLES} resamples in {took:.1f} s")


if __name__ == "__main__":
    main()
