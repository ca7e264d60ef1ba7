"""What came of a sweep: its rows, the best choice for each model on each device, what is still missing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, final

from edgekit.searching.sorting import fronts
from edgekit.sweeping.matrix import Omitted, Point
from edgekit.sweeping.rows import Row
from edgekit.sweeping.schedule import Driven
from edgekit.sweeping.stages import Tally

SCHEMA_VERSION: Final = 1


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SweepResult:
    """What came of a sweep.

    Attributes:
        folder: Where the rows lie.
        keys: Keys of all combinations of the matrix.
        rows: Those that are there.
        omitted: Combinations that the matrix leaves out, with reasons.
        points: The combinations; empty where the result was read from a folder.
        driven: Jobs that ran, and that the budget left undone.
        captured: Models that were captured.
        converted: Artifacts that were converted and not found in the cache.
        tallies: Device to how far its rows are; empty where nothing ran.
    """

    folder: Path
    keys: tuple[str, ...]
    rows: tuple[Row, ...]
    omitted: tuple[Omitted, ...] = ()
    points: tuple[Point, ...] = ()
    driven: Driven
    captured: int = 0
    converted: int = 0
    tallies: Mapping[str, Tally] = field(default_factory=dict[str, Tally])

    def with_counts(self, *, captured: int, converted: int, tallies: Mapping[str, Tally]) -> SweepResult:
        """Returns the result with what ran."""
        return replace(self, captured=captured, converted=converted, tallies=tallies)

    @property
    def missing(self) -> int:
        """Number of combinations without a row."""
        return len(self.keys) - len(self.rows)

    @property
    def models(self) -> tuple[str, ...]:
        """Models of the rows, in the order of their names."""
        return tuple(sorted({row.model for row in self.rows}))

    @property
    def devices(self) -> tuple[str, ...]:
        """Devices of the rows, in the order of their names."""
        return tuple(sorted({row.device for row in self.rows}))

    def cell(self, model: str, device: str) -> tuple[Row, ...]:
        """Returns the rows of a model on a device."""
        return tuple(row for row in self.rows if (row.model, row.device) == (model, device))

    def best(self, model: str, device: str, *, strict: bool = False) -> Row | None:
        """Returns the best row of a model on a device: of those that pass the fastest, then the smallest.

        None where no row passes. A row without a latency comes behind those that have one.
        """
        passing = [row for row in self.cell(model, device) if row.passed(strict=strict)]
        return min(passing, key=_cost, default=None)

    def front(self, model: str, device: str) -> tuple[Row, ...]:
        """Returns the rows of a model on a device that pass, and that none of the others is better than.

        Costs are latency, size and accuracy drop; one that is not known counts as the worst.
        """
        passing = [row for row in self.cell(model, device) if row.passed()]
        points = [[_known(row.value(name)) for name in ("latency", "size", "accuracy_drop")] for row in passing]
        return tuple(passing[index] for index in sorted(fronts(points)[0])) if passing else ()

    def shared(self, model: str) -> tuple[Row, ...]:
        """Returns the rows of the one artifact of a model that passes on most devices; of several, the smallest.

        One row a device, in the order of their names; none where nothing passes.
        """
        served: dict[str, dict[str, Row]] = {}
        for row in self.rows:
            if row.model == model and row.passed() and row.artifact_sha256:
                served.setdefault(row.artifact_sha256, {}).setdefault(row.device, row)
        if not served:
            return ()
        best = min(
            served, key=lambda sha: (-len(served[sha]), _known(next(iter(served[sha].values())).value("size")), sha)
        )
        return tuple(served[best][device] for device in sorted(served[best]))

    def passed(self, *, strict: bool = False) -> bool:
        """True if every combination has a row and every model has one that passes on every device."""
        if self.missing or not self.rows:
            return False
        pairs = {(row.model, row.device) for row in self.rows}
        return all(self.best(model, device, strict=strict) is not None for model, device in pairs)

    def to_json(self, *, strict: bool = False) -> dict[str, Any]:
        """Returns what `edgekit sweep --json` prints."""
        return {
            "schema_version": SCHEMA_VERSION,
            "command": "sweep",
            "folder": str(self.folder),
            "passed": self.passed(strict=strict),
            "combinations": len(self.keys),
            "missing": self.missing,
            "jobs": {
                "started": self.driven.started,
                "left": self.driven.left,
                "captured": self.captured,
                "converted": self.converted,
                "judged": sum(tally.done for tally in self.tallies.values()),
                "failed": sum(tally.failed for tally in self.tallies.values()),
                "cached": sum(tally.cached for tally in self.tallies.values()),
            },
            "best": [
                {"model": model, "device": device, "row": None if found is None else found.point}
                for model in self.models
                for device in self.devices
                if self.cell(model, device)
                for found in (self.best(model, device, strict=strict),)
            ],
            "rows": [row.to_json() for row in self.rows],
            "omitted": [{"title": item.title, "reason": item.reason} for item in self.omitted],
        }


def _cost(row: Row) -> tuple[float, float, str]:
    return _known(row.value("latency")), _known(row.value("size")), row.point


def _known(value: float | None) -> float:
    return math.inf if value is None else value
