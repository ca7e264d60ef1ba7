"""What accelerators are known to take, as written rules: data of the formats, one file each, with their sources.

Nobody runs the accelerator here. A rule is what its makers or others have published; what follows from it is a
prediction, and never stands beside a measurement in one figure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, final

from edgekit.files.bounded_reading import read_toml
from edgekit.formats.table import accelerator_files
from edgekit.validators.artifact_operators import ArtifactOperator


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusion:
    """One rule: operators that the accelerator leaves to the CPU or the GPU.

    Attributes:
        reason: Why, in a few words.
        kinds: Patterns of operator types; empty for every type.
        dtypes: Types of the result; empty for every type.
        arithmetic: How it computes; empty for every way.
        above_rank: Only results of more dimensions than this; None for all.
    """

    reason: str
    kinds: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    arithmetic: tuple[str, ...] = ()
    above_rank: int | None = None

    def covers(self, operator: ArtifactOperator) -> bool:
        """Returns True if the rule is about this operator."""
        return (
            (not self.kinds or any(fnmatchcase(operator.kind, pattern) for pattern in self.kinds))
            and (not self.dtypes or operator.dtype in self.dtypes)
            and (not self.arithmetic or operator.arithmetic in self.arithmetic)
            and (self.above_rank is None or operator.rank > self.above_rank)
        )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class AcceleratorRules:
    """What is known about one accelerator.

    Attributes:
        name: Stem of the file: what profiles say.
        title: For people.
        runtimes: Formats that reach it.
        sources: Where the rules come from.
        caveat: How far they can be trusted, in one sentence.
        exclusions: The first one that covers an operator says why it is not taken.
        taken: Patterns of operator types; another type is not taken. Empty where only the refusals count.
    """

    name: str
    title: str
    runtimes: tuple[str, ...]
    sources: tuple[str, ...]
    caveat: str
    exclusions: tuple[Exclusion, ...]
    taken: tuple[str, ...] = ()

    def why_not(self, operator: ArtifactOperator) -> str | None:
        """Returns why the accelerator leaves an operator to others, or None where it takes it."""
        for why_not in self.exclusions:
            if why_not.covers(operator):
                return why_not.reason
        if self.taken and not any(fnmatchcase(operator.kind, pattern) for pattern in self.taken):
            return "not among its operators"
        return None


@cache
def accelerator_rules(name: str) -> AcceleratorRules:
    """Returns the rules of one accelerator, one of `formats.table.accelerator_files()`."""
    data: Mapping[str, Any] = read_toml(accelerator_files()[name])
    return AcceleratorRules(
        name=name,
        title=data["title"],
        runtimes=tuple(data["runtimes"]),
        sources=tuple(data["sources"]),
        caveat=data["caveat"],
        taken=tuple(data.get("taken", ())),
        exclusions=tuple(
            Exclusion(
                reason=item["reason"],
                kinds=tuple(item.get("kinds", ())),
                dtypes=tuple(item.get("dtypes", ())),
                arithmetic=tuple(item.get("arithmetic", ())),
                above_rank=item.get("above_rank"),
            )
            for item in data["refused"]
        ),
    )
