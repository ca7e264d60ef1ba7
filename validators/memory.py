"""Peak memory: what loading and running the artifact adds to a process that has only the runtime."""

from __future__ import annotations

from typing import ClassVar, final

from edgekit.budget import Budget
from edgekit.checks import Check, judge
from edgekit.units import format_bytes
from edgekit.validators.base import Evidence, Validator


@final
class MemoryValidator(Validator):
    """Judges the peak resident set above the empty runtime's."""

    costs: ClassVar[tuple[str, ...]] = ("memory",)

    def judge(self, evidence: Evidence, budget: Budget) -> tuple[Check, ...]:
        """Returns the check `memory`."""
        peak, empty = evidence.peak_memory_bytes, evidence.empty_memory_bytes
        known = peak is not None and empty is not None
        detail = evidence.why_missing("memory")
        if peak is not None and empty is not None:
            detail = f"Peak {format_bytes(peak)} of the process, {format_bytes(empty)} with the empty runtime."
        return (
            judge(
                "memory",
                # A model smaller than the allocator's spare room adds nothing that can be seen.
                max(0, (peak or 0) - (empty or 0)) if known else None,
                budget.get("memory"),
                measured_on=evidence.measured_on if known else "",
                detail=detail,
                runtime=evidence.artifact.runtime,
            ),
        )
