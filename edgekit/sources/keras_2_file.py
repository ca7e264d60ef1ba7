"""HDF5 files of Keras 2, in the words of Keras 3. Runs in a worker that has TensorFlow, and h5py with it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

CONFIG: Final = "model_config"
"""Attribute of the file that holds the architecture as JSON."""

_DROPPED: Final[Mapping[str, tuple[Any, ...]]] = {
    "groups": (1,),
    "implementation": (0, 1, 2),
    "time_major": (False,),
    "renorm": (False,),
    "renorm_clipping": (None, {}),
    "renorm_momentum": (0.99,),
    "fused": (None, True, False),
    "virtual_batch_size": (None,),
    "adjustment": (None,),
    "ragged": (False,),
    "sparse": (False,),
}
"""Settings that layers had in Keras 2, and the values with which they change nothing. With any other the file stays as
it is, and Keras says what it cannot read."""

_STILL_KNOWN: Final[Mapping[str, frozenset[str]]] = {
    "groups": frozenset({"Conv1D", "Conv2D", "Conv3D", "GroupNormalization"}),
    "sparse": frozenset({"InputLayer", "CategoryEncoding", "TextVectorization", "IntegerLookup", "StringLookup"}),
    "ragged": frozenset({"InputLayer", "TextVectorization"}),
}
"""Layers that have the setting in Keras 3 too."""


def in_words_of_keras_3(path: Path, copy: Path) -> Path:
    """Returns the file, or `copy` with the architecture as Keras 3 spells it, where that differs.

    Args:
        path: An HDF5 file.
        copy: Where the changed file goes.
    """
    import h5py  # type: ignore[import-untyped]  # it ships no types

    text = stored_architecture(path)
    if text is None:
        return path
    changed = json.dumps(_translated(json.loads(text)))
    if changed == json.dumps(json.loads(text)):
        return path
    shutil.copyfile(path, copy)
    copy.chmod(0o600)
    with h5py.File(copy, "r+") as file:
        file.attrs[CONFIG] = changed
    return copy


def stored_architecture(path: Path) -> str | None:
    """Returns the architecture in an HDF5 file as JSON; None in a file of weights."""
    import h5py

    with h5py.File(path, "r") as file:
        stored = file.attrs.get(CONFIG)
    return None if stored is None else stored if isinstance(stored, str) else bytes(stored).decode()


def _translated(value: Any) -> Any:
    """Returns a part of the architecture without the settings that Keras 3 has no more."""
    if isinstance(value, list):
        return [_translated(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {key: _translated(item) for key, item in value.items()}
    layer, config = found.get("class_name"), found.get("config")
    if isinstance(layer, str) and isinstance(config, dict):
        found["config"] = _layer_config(layer, config)
    return found


def _layer_config(layer: str, config: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in config.items() if not _is_dropped(layer, key, value)}
    axis = kept.get("axis")
    if layer == "BatchNormalization" and isinstance(axis, list) and len(axis) == 1:
        kept["axis"] = axis[0]
    return kept


def _is_dropped(layer: str, key: str, value: Any) -> bool:
    return key in _DROPPED and value in _DROPPED[key] and layer not in _STILL_KNOWN.get(key, frozenset())
