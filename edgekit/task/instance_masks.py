"""Instances of a picture as one text, so that they travel as an evaluation target: a class and a mask in runs each.

[{"class": 2, "size": [480, 640], "counts": "..."}, ...] with COCO's compressed runs, column by column.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.errors import MissingDependencyError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def encode_instances(masks: Sequence[NDArray[Any]], classes: Iterable[int]) -> str:
    """Returns the target of a picture whose instances have these masks, (H, W) each, and classes.

    Raises:
        MissingDependencyError: pycocotools is not installed.
    """
    import numpy as np

    try:
        from pycocotools import mask as library
    except ImportError as error:
        raise MissingDependencyError(
            "Masks of instances need pycocotools, which is not installed. "
            "Install it from the checkout: pip install -e '.[metrics]'"
        ) from error
    made: list[dict[str, Any]] = []
    for mask, number in zip(masks, classes, strict=True):
        runs: Any = library.encode(np.asfortranarray(np.asarray(mask) != 0, np.uint8))
        made.append({"class": int(number), "size": list(runs["size"]), "counts": runs["counts"].decode()})
    return json.dumps(made)
