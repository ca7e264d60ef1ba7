"""What lies in an .npz model: weights by name, and operators, inputs and outputs as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import ModelError


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class NpzFile:
    """One file, read.

    Attributes:
        weights: Arrays by name, as they are stored.
        operators: In execution order: `name`, `kind`, `arguments`.
        inputs: Name of the value that holds it, to the input's name, shape and dtype.
        outputs: The same for outputs.
    """

    weights: Mapping[str, NDArray[Any]]
    operators: tuple[Mapping[str, Any], ...]
    inputs: Mapping[str, Mapping[str, Any]]
    outputs: Mapping[str, Mapping[str, Any]]


def read_npz(path: Path) -> NpzFile:
    """Returns what lies in a file.

    Raises:
        ModelError: it is no .npz model.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            weights = {name: archive[name] for name in archive.files if name != "graph"}
            graph = json.loads(archive["graph"].tobytes())
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{path.name} is no .npz model: {error}. Export it again.") from error
    return NpzFile(
        weights=weights,
        operators=tuple(graph["operators"]),
        inputs={spec["value"]: spec for spec in graph["inputs"]},
        outputs={spec["value"]: spec for spec in graph["outputs"]},
    )
