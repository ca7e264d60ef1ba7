"""The folder of a captured model: its file, and `model.json` with what is known about it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Final

from edgekit.model import CapturedModel
from edgekit.workers.structure import read_value, unstructure

FACTS_NAME: Final = "model.json"


def write_captured(model: CapturedModel, folder: Path) -> None:
    """Writes the facts of a model whose file lies in `folder`; the folder may be moved."""
    facts = unstructure(replace(model, path=Path(model.path.name)))
    (folder / FACTS_NAME).write_text(json.dumps(facts, indent=1), encoding="utf-8")


def open_captured(folder: Path) -> CapturedModel:
    """Returns the model that lies in `folder`.

    Raises:
        OSError: there is none.
    """
    found = read_value(folder / FACTS_NAME, CapturedModel)
    return replace(found, path=folder / found.path)
