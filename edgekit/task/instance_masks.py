"""Instances of a picture as one text, so that they travel as an evaluation target: a class and a mask in runs each.

[{"class": 2, "size": [480, 640], "counts": "..."}, ...] with COCO's compressed runs, column by column.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.errors import MissingDependencyError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def encode_instances(
    masks: Sequence[NDArray[Any]], classes: Iterable[int], crowds: Iterable[bool] | None = None
) -> str:
    """Returns the target of a picture whose instances have these masks, (H, W) each, and classes.

    Args:
        masks: Not 0 where the instance is.
        classes: The model's class numbers.
        crowds: Which stand for a group, in which any number of detections may lie; None for none.

    Raises:
        MissingDependencyError: pycocotools is not installed.
    """
    import numpy as np

    library = _library()
    made: list[dict[str, Any]] = []
    groups = [False] * len(masks) if crowds is None else crowds
    for mask, number, crowd in zip(masks, classes, groups, strict=True):
        runs: Any = library.encode(np.asfortranarray(np.asarray(mask) != 0, np.uint8))
        shape = {"size": list(runs["size"]), "counts": runs["counts"].decode()}
        made.append({"class": int(number), **shape, "crowd": int(crowd)})
    return json.dumps(made)


def decode_runs(runs: Mapping[str, Any]) -> NDArray[Any]:
    """Returns the mask (H, W) uint8 of COCO's compressed runs, {"size": [h, w], "counts": "..."}.

    Raises:
        MissingDependencyError: pycocotools is not installed.
    """
    mask: NDArray[Any] = _library().decode({"size": runs["size"], "counts": runs["counts"].encode()})
    return mask


def draw_outlines(outlines: Sequence[NDArray[Any]], height: int, width: int) -> NDArray[Any]:
    """Returns the mask (H, W) of what lies in any of the outlines, (points, 2) x, y each, as COCO draws them.

    Raises:
        MissingDependencyError: pycocotools is not installed.
    """
    library = _library()
    runs = library.frPyObjects([outline.reshape(-1).tolist() for outline in outlines], height, width)
    mask: NDArray[Any] = library.decode(library.merge(runs)) > 0
    return mask


def _library() -> Any:
    try:
        from pycocotools import mask
    except ImportError as error:
        raise MissingDependencyError(
            "Masks of instances need pycocotools, which is not installed. "
            "Install it from the checkout: pip install -e '.[metrics]'"
        ) from error
    return mask
