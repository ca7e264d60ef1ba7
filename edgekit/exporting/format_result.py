"""What came of one format: artifact, checks, predictions beside measurements, or the error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from edgekit.artifact import Artifact
from edgekit.checks import Check, passed
from edgekit.converters.base import Conversion
from edgekit.errors import EdgekitError
from edgekit.pipeline.artifact_metadata import read_embedded
from edgekit.recipe import Prediction, Recipe, Step


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A prediction beside what was then measured, both in `unit`.

    Attributes:
        name: A key of `budget.COSTS`.
        unit: As there.
        predicted: The value.
        low: Lower end of its 90 % band.
        high: Upper end.
        measured: What the artifact has.
        basis: Where the prediction came from.
        measured_low: Lower end of the interval of what was measured, where it has one.
        measured_high: Upper end.
    """

    name: str
    unit: str
    predicted: float
    low: float | None
    high: float | None
    measured: float
    basis: str
    measured_low: float | None = None
    measured_high: float | None = None

    @property
    def error(self) -> float:
        """Predicted minus measured, in `unit`."""
        return self.predicted - self.measured

    @property
    def error_share(self) -> float | None:
        """The error as a share of what was measured, for costs that have a scale: bytes and milliseconds."""
        return self.error / self.measured if self.unit in ("bytes", "ms") and self.measured else None

    @property
    def in_band(self) -> bool | None:
        """True if the measured value lies in the band, None where there is none."""
        if self.low is None or self.high is None:
            return None
        return self.low <= self.measured <= self.high

    @property
    def overlaps(self) -> bool | None:
        """True if band and interval have values in common: so few samples cannot tell them apart. None without both."""
        if None in (self.low, self.high, self.measured_low, self.measured_high):
            return None
        return self.low <= self.measured_high and self.measured_low <= self.high  # type: ignore[operator]  # not None

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form."""
        share = self.error_share
        return {
            "name": self.name,
            "unit": self.unit,
            "predicted": self.predicted,
            "low": self.low,
            "high": self.high,
            "measured": self.measured if math.isfinite(self.measured) else None,
            "error": self.error if math.isfinite(self.error) else None,
            "error_percent": None if share is None or not math.isfinite(share) else 100 * share,
            "measured_low": self.measured_low,
            "measured_high": self.measured_high,
            "in_band": self.in_band,
            "overlaps": self.overlaps,
            "basis": self.basis,
        }


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FormatResult:
    """What came of one format.

    Attributes:
        runtime: The format.
        recipe: Precision of each part.
        steps: The pipeline, quantization included.
        artifact: None where the conversion failed.
        conversion: What the converter said; None where it failed.
        seconds: Seconds of the conversion.
        cached: It was found in the cache, and `seconds` are those of the first time.
        checks: The verdict's checks.
        host: Timing on this host and other figures that are shown and not judged.
        predictions: What was predicted before.
        found_precision: Name of the precision that lies in a file made elsewhere; "" where the recipe's name says it.
        choice: What was tried in the place of the recipe that suits the family, and what came of it; "" for nothing.
        error: Why there is no artifact, or why it could not be validated.
    """

    runtime: str
    recipe: Recipe
    steps: tuple[Step, ...] = ()
    artifact: Artifact | None = None
    conversion: Conversion | None = None
    seconds: float = 0.0
    cached: bool = False
    checks: tuple[Check, ...] = ()
    host: Mapping[str, Any] = field(default_factory=dict[str, Any])
    predictions: tuple[Prediction, ...] = ()
    found_precision: str = ""
    choice: str = ""
    error: EdgekitError | None = None

    def passed(self, *, strict: bool = False) -> bool:
        """True if there is an artifact and its checks pass."""
        return self.error is None and passed(self.checks, strict=strict)

    @property
    def techniques(self) -> tuple[Step, ...]:
        """The steps that changed the float model."""
        return tuple(step for step in self.steps if not step.is_recipe)

    def notes(self, *, of_interest: bool = False) -> list[str]:
        """Returns what was chosen and what the converter said; with `of_interest` only what anybody should read."""
        said = [self.choice] if self.choice else []
        if self.conversion is None:
            return said
        return [*said, *self.conversion.narrowed, *(() if of_interest else self.conversion.notes)]

    @property
    def precision(self) -> str:
        """Name of the artifact's precision."""
        return self.found_precision or self.recipe.name

    def check(self, name: str) -> Check | None:
        """Returns the check of that name, or None."""
        return next((check for check in self.checks if check.name == name), None)

    def comparisons(self) -> tuple[Comparison, ...]:
        """Returns predicted beside measured, for each cost that was both."""
        checks = {check.name: check for check in self.checks if check.basis != "predicted"}
        return tuple(
            Comparison(
                name=item.name,
                unit=item.unit,
                predicted=item.value,
                low=item.low,
                high=item.high,
                measured=check.value,
                basis=item.basis,
                measured_low=check.low,
                measured_high=check.high,
            )
            for item in self.predictions
            if item.value is not None and (check := checks.get(item.name)) is not None and check.value is not None
        )

    def to_json(self, folder: Path) -> dict[str, Any]:
        """Returns the JSON form; the artifact's path is relative to `folder`."""
        artifact = None
        if self.artifact is not None:
            artifact = {
                **self.artifact.to_json(),
                "path": _relative(self.artifact.path, folder),
                "embedded": read_embedded(self.artifact.metadata).to_json(),
            }
        return {
            "runtime": self.runtime,
            "precision": self.precision,
            "recipe": self.recipe.to_json(),
            "steps": [step.to_json() for step in self.steps],
            "passed": self.passed(),
            "artifact": artifact,
            "notes": self.notes(),
            "operators": dict(self.conversion.operators) if self.conversion else {},
            "float_fallbacks": list(self.conversion.float_fallbacks) if self.conversion else [],
            "conversion_seconds": round(self.seconds, 2),
            "checks": [check.to_json() for check in self.checks],
            "host": dict(self.host),
            "predictions": [prediction.to_json() for prediction in self.predictions],
            "predicted_and_measured": [item.to_json() for item in self.comparisons()],
            "error": _error_json(self.error),
        }


def _error_json(error: EdgekitError | None) -> dict[str, Any] | None:
    if error is None:
        return None
    return {"type": type(error).__name__, "message": error.message, "exit_code": error.exit_code}


def _relative(path: Path, folder: Path) -> str:
    try:
        return path.absolute().relative_to(folder.absolute()).as_posix()
    except ValueError:
        return str(path)
