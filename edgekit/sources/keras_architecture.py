"""What a Keras file says its layers are, looked at before Keras builds them.

Keras's safe mode refuses most of this too, but which of it depends on Keras's version and on the kind of file.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, cast

from edgekit.sources.keras_2_file import stored_architecture

_CARRIERS: Final[Mapping[str, str]] = {
    "Lambda": "a Lambda layer, which is Python code inside the file",
    "__lambda__": "a lambda, which is Python code inside the file",
    "TorchModuleWrapper": "a layer TorchModuleWrapper, which is a pickle inside the file",
    "TFSMLayer": "a layer TFSMLayer, which loads a program from another folder",
    "JaxLayer": "a layer JaxLayer, which is Python code",
    "FlaxLayer": "a layer FlaxLayer, which is Python code",
}
"""Classes that bring code with them, and what each is."""


def carried_code(path: Path) -> str | None:
    """Returns what in a file would run code, or read another file, once Keras builds the model; None without.

    Args:
        path: A file of Keras 3 (.keras) or of Keras 2 or 3 (.h5).
    """
    if path.suffix.lower() == ".keras":
        with zipfile.ZipFile(path) as archive:
            text = archive.read("config.json").decode()
    else:
        text = stored_architecture(path) or "null"
    for part in _parts(json.loads(text)):
        name, config = part.get("class_name"), part.get("config")
        if isinstance(name, str) and name in _CARRIERS:
            return _CARRIERS[name]
        settings = cast("dict[str, object]", config) if isinstance(config, dict) else {}
        if isinstance(settings.get("vocabulary"), str):
            return f"a layer {name} that reads its vocabulary from another file"
    return None


def _parts(value: object) -> Iterator[Mapping[str, object]]:
    """Yields every object of the architecture, however deep."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            part = cast("dict[str, object]", found)
            yield part
            waiting.extend(part.values())
        elif isinstance(found, list):
            waiting.extend(cast("list[object]", found))
