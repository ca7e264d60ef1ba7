"""What came of a search: one row a variant, the Pareto front, the recommendation. `search.json` is its JSON form."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, final

import edgekit
from edgekit.budget import Limit
from edgekit.checks import passed
from edgekit.errors import ArtifactError
from edgekit.exporting.report import model_json
from edgekit.model import CapturedModel
from edgekit.recipe import Prediction, Recipe
from edgekit.searching.halving import Rung
from edgekit.searching.measuring import MeasuredVariant
from edgekit.searching.sorting import fronts
from edgekit.workers.atomic_files import write_json

SCHEMA_VERSION: Final = 1
SEARCH_NAME: Final = "search.json"

Fate = Literal["measured", "dropped", "left out", "turned down", "failed"]
"""What became of a variant:

measured     trained to the end, exported, run
dropped      trained, and others of its rung were better
left out     not trained: more than --trials fit
turned down  not trained: it cannot keep a budget
failed       it could not be built, trained, converted or run
"""

FATE_WORDS: Final = {"turned down": "rejected", "left out": "omitted"}
"""A fate's word for a person, where it is not the one that search.json promises."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One variant, or the task's own model.

    Attributes:
        name: For files; "" for the task's own model.
        arguments: Its parameters.
        fate: What became of it.
        reason: Why, "" where it was measured.
        model: As it was captured, trained where it got there; None where it could not be built.
        predictions: What its artifact was predicted to cost.
        epochs: That it was trained for here.
        held_out: What the held-out batches said: `loss`, `accuracy`, `score`.
        history: The same after each epoch.
        seconds: Seconds of training, wall-clock.
        measured: None where it was not.
        references: Functions of the task with the parameters handed to them, by role.
    """

    name: str
    arguments: Mapping[str, Any]
    fate: Fate
    reason: str = ""
    model: CapturedModel | None = None
    predictions: tuple[Prediction, ...] = ()
    epochs: int = 0
    held_out: Mapping[str, float | None] = field(default_factory=dict[str, "float | None"])
    history: tuple[Mapping[str, float | None], ...] = ()
    seconds: float = 0.0
    measured: MeasuredVariant | None = None
    references: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def title(self) -> str:
        """For people: `width=8 depth=1`."""
        return " ".join(f"{name}={value}" for name, value in self.arguments.items()) or "your model"

    @property
    def passed(self) -> bool:
        """True if its artifact was measured and keeps every limit."""
        return self.measured is not None and passed(self.measured.checks)

    @property
    def accuracy(self) -> float | None:
        """The artifact's own value of the metric, in percentage points."""
        found = self.measured.accuracy.get("artifact") if self.measured else None
        return None if found is None else float(found)

    def cost(self, name: str) -> float | None:
        """Returns the measured figure of a cost, the predicted one where it was not measured."""
        check = self.measured.check(name) if self.measured else None
        if check is not None and check.value is not None:
            return check.value
        return next((item.value for item in self.predictions if item.name == name), None)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """What came of a search.

    Attributes:
        device: Name of the profile.
        device_title: Its title.
        runtime: Format of all artifacts.
        recipe: Recipe of all artifacts.
        metric: The task's.
        limits: In force, each with who set it.
        parameters: The grid.
        bindings: Parameter to the roles of the functions that take it.
        epochs: Epochs of the finalists.
        seed: Random seed.
        rungs: Rungs of the halving.
        reference: The task's own model.
        rows: The variants, in the order of the grid.
        notes: What a person should know, sentences.
        environment: Host, Python and package versions.
        data: Hashes and counts of the data, and the metric.
    """

    device: str
    device_title: str
    runtime: str
    recipe: Recipe
    metric: str
    limits: tuple[Limit, ...]
    parameters: Mapping[str, Sequence[Any]]
    bindings: Mapping[str, Sequence[str]]
    epochs: int
    seed: int
    rungs: tuple[Rung, ...]
    reference: Row
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict[str, Any])
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def measured(self) -> tuple[Row, ...]:
        """The variants that were measured."""
        return tuple(row for row in self.rows if row.measured is not None)

    @property
    def front(self) -> tuple[Row, ...]:
        """The Pareto front of what was measured, the task's own model too: accuracy, latency and size."""
        known = [row for row in (self.reference, *self.rows) if row.accuracy is not None]
        # A device without a latency model gives no latency to compare by: multiply-accumulates take its place.
        has_latency = all(row.cost("latency") is not None for row in known)
        points = [
            (
                -(row.accuracy or 0.0),
                (row.cost("latency") if has_latency else _macs(row)) or 0.0,
                row.cost("size") or 0.0,
            )
            for row in known
        ]
        return tuple(known[index] for index in sorted(fronts(points)[0])) if points else ()

    @property
    def recommended(self) -> Row | None:
        """The variant of the highest accuracy among those that keep every limit; of equals the quicker one."""
        kept = [row for row in self.rows if row.passed]
        if not kept:
            return None
        return max(kept, key=lambda row: (row.accuracy or -math.inf, -(row.cost("latency") or _macs(row))))

    @property
    def kept(self) -> tuple[Row, ...]:
        """The variants whose model and artifact are written: those on the front, and the recommended one."""
        front = {row.name for row in self.front}
        best = self.recommended
        return tuple(row for row in self.measured if row.name in front or row is best)

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form that CI users rely on."""
        best, front = self.recommended, {row.name for row in self.front}
        kept = {row.name for row in self.kept}
        return {
            "schema_version": SCHEMA_VERSION,
            "command": "search",
            "edgekit": edgekit.__version__,
            "device": self.device,
            "device_title": self.device_title,
            "runtime": self.runtime,
            "precision": self.recipe.name,
            "recipe": self.recipe.to_json(),
            "metric": self.metric,
            "feasible": best is not None,
            "passed": best is not None,
            "recommended": best.name if best else None,
            "limits": [asdict(limit) for limit in self.limits],
            "parameters": {name: list(values) for name, values in self.parameters.items()},
            "bindings": {name: list(roles) for name, roles in self.bindings.items()},
            "epochs": self.epochs,
            "seed": self.seed,
            "rungs": [{"trials": rung.trials, "epochs": rung.epochs} for rung in self.rungs],
            "reference": self._row_json(self.reference, front, kept),
            "variants": [self._row_json(row, front, kept) for row in self.rows],
            "notes": list(self.notes),
            "data": dict(self.data),
            "environment": dict(self.environment),
        }

    def _row_json(self, row: Row, front: set[str], kept: set[str]) -> dict[str, Any]:
        measured = None
        if row.measured is not None:
            artifact = row.measured.artifact
            measured = {
                "artifact": {**artifact.to_json(), "path": artifact_name(row)} if row.name in kept else None,
                "size_bytes": artifact.size_bytes,
                "download_bytes": artifact.download_bytes,
                "sha256": artifact.sha256,
                "accuracy": dict(row.measured.accuracy),
                "checks": [check.to_json() for check in row.measured.checks],
                "host": dict(row.measured.host),
            }
        trained = {"epochs": row.epochs, "held_out": dict(row.held_out), "history": [dict(x) for x in row.history]}
        return {
            "name": row.name,
            "arguments": dict(row.arguments),
            "fate": row.fate,
            "reason": row.reason,
            "on_front": row.name in front,
            "passed": row.passed,
            "model": {**(model_json(row.model) or {}), "path": f"{row.name}.pt2" if row.name in kept else None}
            if row.model
            else None,
            "references": dict(row.references),
            "predicted": [item.to_json() for item in row.predictions],
            "trained": {**trained, "seconds": round(row.seconds, 1)} if row.epochs else None,
            "measured": measured,
        }


def artifact_name(row: Row) -> str:
    """Returns the name of a row's artifact in the output folder."""
    artifact = row.measured.artifact if row.measured else None
    return f"{row.name}-{artifact.precision}{artifact.path.suffix}" if artifact else ""


def _macs(row: Row) -> float:
    return float(row.model.macs or 0) if row.model else 0.0


def write_search(result: SearchResult, folder: Path) -> Path:
    """Writes `search.json` into an output folder, whole or not at all; returns its path."""
    path = folder / SEARCH_NAME
    write_json(path, result.to_json())
    return path


def read_search(folder: Path) -> dict[str, Any]:
    """Returns the content of the `search.json` in `folder`.

    Raises:
        ArtifactError: none there, not JSON, of another edgekit, or its faults (all at once).
    """
    path = folder / SEARCH_NAME
    from edgekit.measurements.figure_schema import read_record
    from edgekit.searching.search_schema import SearchFile

    return read_record(
        path,
        SearchFile,
        ArtifactError,
        what="a search",
        advice="Run edgekit search again.",
        missing=f"{folder}: no {SEARCH_NAME} there. Give the folder that edgekit search wrote.",
    )
