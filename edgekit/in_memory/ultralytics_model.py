"""Models of ultralytics in memory: `YOLO(...)` holds its network, and the network's head has a form for exports.

Nothing of ultralytics is imported: whoever has such an object has it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Final

_LIBRARY: Final = "ultralytics"
_TASKS: Final[Mapping[str, str]] = {
    "classify": "classification",
    "detect": "detection",
    "pose": "pose",
    "segment": "instance_segmentation",
    "semantic": "segmentation",
}
"""Its word for what a model does to ours."""


def network_of(model: object) -> object:
    """Returns the network of a model of ultralytics as its own exports have it: decoded boxes, in one output.

    Its head would give raw maps as well, and `YOLO(...)` itself takes pictures and returns objects. The model is left
    as it is: the network is a copy. Anything else comes back as it came.
    """
    if not _is_ultralytics(model):
        return model
    holder: Any = model
    held = holder.model if hasattr(holder, "predictor") else holder
    parts = [part for part in held.modules() if hasattr(part, "export") and not callable(part.export)]
    if all(part.export for part in parts) and not held.training:
        return held
    network = copy.deepcopy(held).eval()
    for part in network.modules():
        if hasattr(part, "export") and not callable(part.export):
            part.export = True
    return network


def declared_task(model: object) -> str | None:
    """Returns what a model of ultralytics says that it does, a key of `TASKS`; None for any other model."""
    return _TASKS.get(str(getattr(model, "task", ""))) if _is_ultralytics(model) else None


def _is_ultralytics(model: object) -> bool:
    return type(model).__module__.partition(".")[0] == _LIBRARY and hasattr(model, "modules")
