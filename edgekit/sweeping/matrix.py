"""The matrix of a sweep: every combination of its axes that is judged, and those that are left out, with reasons."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, final

from edgekit.errors import ConfigError
from edgekit.profiles.profile import DeviceProfile
from edgekit.recipe import Effort
from edgekit.task.sweep_table import PLANNED
from edgekit.workers.cache import content_key

MOST_POINTS: Final = 100_000


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """A model of the matrix, with where its task comes from. Paths start from `folder`.

    Attributes:
        name: For tables: the source as it was written, or the name that the matrix gives it.
        source: The model; None takes that of the task file.
        config: Its task file; None where it has none.
        folder: Folder that the texts start from.
        overrides: Task fields (`calibration`, `evaluation`, `metric`, `example_inputs`) to their texts.
    """

    name: str
    source: str | None
    config: Path | None
    folder: Path
    overrides: Mapping[str, str] = field(default_factory=dict[str, str])


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One combination of the axes: what becomes one row.

    Attributes:
        model: The model.
        device: Name of the profile.
        format: The format.
        precision: A preset, or `auto` where the planner chooses.
        pipeline: Techniques before the conversion, in order.
        effort: Of the planning.
    """

    model: ModelEntry
    device: str
    format: str
    precision: str
    pipeline: tuple[str, ...]
    effort: Effort

    @property
    def pipeline_text(self) -> str:
        """The techniques in a line, "" for none."""
        return " ".join(self.pipeline)

    def axes(self) -> dict[str, str]:
        """Returns the value on each axis, as rules name them."""
        return {
            "model": self.model.name,
            "device": self.device,
            "format": self.format,
            "precision": self.precision,
            "technique": self.pipeline_text,
            "effort": self.effort,
        }

    @property
    def key(self) -> str:
        """A short name that is the same in every run: that of the row's file."""
        return content_key(self.axes())[:16]

    @property
    def group(self) -> tuple[str, ...]:
        """What it has in common with the points of other devices that share its conversion."""
        return tuple(text for axis, text in self.axes().items() if axis != "device")

    @property
    def title(self) -> str:
        """For messages and tables: `net.onnx on pi4: tflite int8`."""
        pipeline = f" {self.pipeline_text}" if self.pipeline else ""
        effort = "" if self.effort == "quick" else f" ({self.effort})"
        return f"{self.model.name} on {self.device}: {self.format} {self.precision}{pipeline}{effort}"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """The values of each axis, checked, and the rules about their combinations.

    Attributes:
        models: The models.
        devices: Their profiles.
        formats: Names of formats; `all` stands for what each device runs.
        precisions: Presets and `auto`.
        pipelines: Pipelines of techniques.
        efforts: Efforts of the planning.
        include: Where there are any, a combination must match one of them. Axis to text with * and ?.
        exclude: What matches one of them is left out.
    """

    models: tuple[ModelEntry, ...]
    devices: tuple[DeviceProfile, ...]
    formats: tuple[str, ...] = ("all",)
    precisions: tuple[str, ...] = (PLANNED,)
    pipelines: tuple[tuple[str, ...], ...] = ((),)
    efforts: tuple[Effort, ...] = ("quick",)
    include: tuple[Mapping[str, str], ...] = ()
    exclude: tuple[Mapping[str, str], ...] = ()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Omitted:
    """What the matrix does not hold: a title, and the reason."""

    title: str
    reason: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """What a sweep judges.

    Attributes:
        points: One for each row.
        omitted: Combinations that are left out.
    """

    points: tuple[Point, ...]
    omitted: tuple[Omitted, ...] = ()


def expand(axes: Axes) -> Matrix:
    """Returns every combination of the axes that the rules leave.

    Raises:
        ConfigError: none is left, there are too many, or two models have one name.
    """
    names = [model.name for model in axes.models]
    if double := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f'Two models of the sweep are called "{double}". Give each a name of its own: name = "..."')
    omitted: list[Omitted] = []
    points: list[Point] = []
    for profile in axes.devices:
        formats = [name for name in _formats(axes, profile) if name in profile.runtimes]
        omitted += [
            Omitted(title=f"{name} on {profile.name}", reason=f"{profile.name} does not run it")
            for name in _formats(axes, profile)
            if name not in profile.runtimes
        ]
        size = len(points) + len(axes.models) * len(formats) * len(axes.precisions) * len(axes.pipelines)
        if size * len(axes.efforts) > MOST_POINTS:
            raise ConfigError(f"The sweep has more than {MOST_POINTS:,} combinations. Name fewer values on an axis.")
        for model, name, precision, pipeline, effort in itertools.product(
            axes.models, formats, axes.precisions, axes.pipelines, axes.efforts
        ):
            point = Point(
                model=model, device=profile.name, format=name, precision=precision, pipeline=pipeline, effort=effort
            )
            if reason := _why_left_out(point, axes):
                omitted.append(Omitted(title=point.title, reason=reason))
            else:
                points.append(point)
    if not points:
        reasons = "".join(f"\n  {item.title}: {item.reason}" for item in omitted[:10])
        raise ConfigError(
            f"The sweep has no combination left to judge.{reasons}\nName other formats, devices or rules."
        )
    return Matrix(points=tuple(points), omitted=tuple(omitted))


def _formats(axes: Axes, profile: DeviceProfile) -> tuple[str, ...]:
    named = [runtime for name in axes.formats for runtime in (profile.runtimes if name == "all" else (name,))]
    return tuple(dict.fromkeys(named))


def _why_left_out(point: Point, axes: Axes) -> str:
    """Returns the reason, "" where the rules keep the point."""
    if axes.include and not any(_matches(point, rule) for rule in axes.include):
        return "no rule of include names it"
    rule = next((rule for rule in axes.exclude if _matches(point, rule)), None)
    return "" if rule is None else f"excluded by {', '.join(f'{axis} = {text}' for axis, text in rule.items())}"


def _matches(point: Point, rule: Mapping[str, str]) -> bool:
    values = point.axes()
    return all(values[axis] == text or fnmatchcase(values[axis], text) for axis, text in rule.items())
