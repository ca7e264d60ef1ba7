"""Size of the artifact's files, and what an app store or an over-the-air update sends of it."""

from __future__ import annotations

from typing import ClassVar, final

from edgekit.budget import Budget
from edgekit.checks import Check, judge
from edgekit.validators.base import Evidence, Validator


@final
class SizeValidator(Validator):
    """Judges bytes on disk and bytes deflated. Both are exact, so they have no band."""

    costs: ClassVar[tuple[str, ...]] = ("size", "download")

    def judge(self, evidence: Evidence, budget: Budget) -> tuple[Check, ...]:
        """Returns the checks `size` and `download`."""
        artifact = evidence.artifact
        return (
            judge(
                "size",
                artifact.size_bytes,
                budget.get("size"),
                measured_on="file",
                detail=f"{artifact.size_bytes} bytes.",
                runtime=artifact.runtime,
            ),
            judge(
                "download",
                artifact.download_bytes,
                budget.get("download"),
                measured_on="file",
                detail=f"{artifact.download_bytes} bytes deflated.",
                runtime=artifact.runtime,
            ),
        )
