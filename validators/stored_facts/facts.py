"""The facts, and who reads them: the format's descriptor names its reader."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

from edgekit.errors import EdgekitError
from edgekit.formats.table import known_format
from edgekit.plugins import load
from edgekit.validators.artifact_operators import ArtifactOperator


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFacts:
    """What a file says.

    Attributes:
        metadata: Text that is embedded in it.
        operators: What it computes with; empty where the file does not tell.
        is_exact: The runtime reports these very operators with their work. Else it may rewrite them, and only what the
            file cannot be is known.
    """

    metadata: Mapping[str, str]
    operators: tuple[ArtifactOperator, ...] = ()
    is_exact: bool = True


def read_stored_facts(runtime: str, path: Path) -> StoredFacts | None:
    """Returns what the file at `path` says; None where its format has no reader, or where it reads otherwise.

    What cannot be read costs only this comparison: the bytes are those that were measured.
    """
    made = known_format(runtime)
    if made is None or not made.facts_reader:
        return None
    try:
        facts: StoredFacts = load(made.facts_reader)(path)
    except (EdgekitError, struct.error, IndexError, ValueError, KeyError):
        return None
    return facts
