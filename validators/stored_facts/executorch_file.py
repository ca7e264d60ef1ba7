"""Reads a .pte: its XNNPACK graphs, and the methods that only return a text."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Final

from edgekit.validators.artifact_operators import ArtifactOperator
from edgekit.validators.runners.executorch_session import Table, operators_in
from edgekit.validators.stored_facts.facts import StoredFacts
from edgekit.workers.structure import structure

_PLANS, _NAME, _VALUES, _INPUTS, _OUTPUTS = 1, 0, 2, 3, 4
"""Fields of Program and of ExecutionPlan (ExecuTorch's program.fbs)."""

_STRING: Final = 6
"""Place of String in the union of a value."""


def read(path: Path) -> StoredFacts:
    """Returns what the program says."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        texts = [_text(plan) for plan in Table.root(data).tables(_PLANS)]
    listed = operators_in(path) or []
    return StoredFacts(
        metadata={name: text for name, text in texts if text is not None},
        operators=tuple(structure(item, ArtifactOperator, path.name) for item in listed),
    )


def _text(plan: Table) -> tuple[str, str | None]:
    """Returns a method's name, and the text that it returns; None where it does something else."""
    outputs, name = plan.numbers(_OUTPUTS), plan.text(_NAME)
    if plan.numbers(_INPUTS) or len(outputs) != 1:
        return name, None
    value = plan.tables(_VALUES)[outputs[0]]
    held = value.table(1)
    return name, held.text(0) if held is not None and value.number(0, "<B") == _STRING else None
