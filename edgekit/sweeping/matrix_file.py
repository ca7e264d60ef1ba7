"""A sweep's matrix from a file, `[sweep]` of the task file, and flags, which come before what the file says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from edgekit.errors import ConfigError, UsageError
from edgekit.files.bounded_reading import read_toml
from edgekit.files.faults import describe_file_faults
from edgekit.profiles.profile import DeviceProfile, find_profile
from edgekit.recipe import PRESETS
from edgekit.sweeping.matrix import Axes, ModelEntry
from edgekit.sweeping.schedule import JobBudget
from edgekit.task.request import parse_effort, parse_formats
from edgekit.task.sweep_table import PLANNED, SweepModel, SweepTable, check_sweep_table
from edgekit.task.task import find_config, load_task
from edgekit.units import parse_duration

_ADVICE: Final = "The keys of a matrix: docs/commands/sweep.md."


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SweepFlags:
    """What flags say; empty where they say nothing. Each takes the place of the file's axis."""

    models: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    techniques: tuple[str, ...] = ()
    efforts: tuple[str, ...] = ()
    time: str | None = None
    jobs: int | None = None


def read_matrix(path: Path | None, flags: SweepFlags, cwd: Path) -> tuple[Axes, JobBudget]:
    """Returns the axes of a sweep, and its budget.

    Args:
        path: The matrix file; None takes `[sweep]` of the task file in `cwd`, where there is one.
        flags: They come before the file.
        cwd: Where flags' paths start from. Those of the file start from its folder.

    Raises:
        ConfigError: the file is wrong; all its faults at once.
        InputError: a flag is wrong, a device is not known, or no device or model is named.
    """
    table, base, config = _table(path, cwd)
    models = tuple(_named_model(text, config, cwd) for text in flags.models) or tuple(
        _model(entry, table, base, config) for entry in table.models
    )
    devices = tuple(find_profile(name, cwd) for name in flags.devices) or tuple(
        find_profile(name, base) for name in table.devices
    )
    if not devices:
        raise UsageError('The sweep names no device. Give -d pi4,pixel8, or devices = ["pi4", "pixel8"] in the matrix.')
    axes = Axes(
        models=models or (_task_model(config, cwd),),
        devices=_without_doubles(devices),
        formats=_formats(flags.formats) or table.formats,
        precisions=_precisions(flags.precisions) or table.precisions,
        pipelines=tuple(dict.fromkeys(tuple(text.split()) for text in flags.techniques)) or table.techniques,
        efforts=tuple(parse_effort(text) for text in flags.efforts or table.efforts),
        include=table.include,
        exclude=table.exclude,
    )
    seconds = parse_duration(flags.time, "--budget-time") if flags.time else table.budget.time
    return axes, JobBudget(time_s=seconds, jobs=flags.jobs or table.budget.jobs)


def split(texts: Sequence[str]) -> tuple[str, ...]:
    """Returns the values of an option that was given several times, or with commas."""
    words = (word.strip() for text in texts for word in text.split(","))
    return tuple(dict.fromkeys(word for word in words if word))


def _table(path: Path | None, cwd: Path) -> tuple[SweepTable, Path, Path | None]:
    """Returns the table, the folder that its paths start from, and the task file."""
    if path is None:
        config = find_config(cwd)
        if config is None:
            return SweepTable(), cwd, None
        load_task(config)  # its faults, all at once, in the words of a task file
        data = read_toml(config, ConfigError)
        task: Mapping[str, Any] = data.get("tool", {}).get("edgekit", {}) if config.name == "pyproject.toml" else data
        return _checked(config, task.get("sweep", {})), config.parent, config
    try:
        data = read_toml(path, ConfigError)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file. Give a matrix file, or [sweep] in the task file.") from None
    # A task file that is named as a matrix is read as one.
    if "model" in data and "sweep" in data:
        load_task(path)
        return _checked(path, data["sweep"]), path.parent, path
    table = _checked(path, data)
    base = path.parent
    return table, base, base / table.config if table.config else find_config(base)


def _checked(path: Path, data: Mapping[str, Any]) -> SweepTable:
    table, faults = check_sweep_table(data)
    if table is None:
        raise ConfigError(describe_file_faults(path, faults, _ADVICE))
    return table


def _named_model(text: str, config: Path | None, cwd: Path) -> ModelEntry:
    return ModelEntry(name=text, source=text, config=config, folder=cwd.absolute())


def _model(entry: SweepModel, table: SweepTable, base: Path, config: Path | None) -> ModelEntry:
    named = {name: getattr(entry, name) for name in ("example_inputs", "calibration", "evaluation", "metric")}
    own = entry.config or table.config
    return ModelEntry(
        name=entry.name or entry.source,
        source=entry.source,
        config=(base / own).absolute() if own else config,
        folder=base.absolute(),
        overrides={name: text for name, text in named.items() if text is not None},
    )


def _task_model(config: Path | None, cwd: Path) -> ModelEntry:
    """Returns the model of the task file, or the embedded default."""
    if config is None:
        return ModelEntry(name="embedded default", source=None, config=None, folder=cwd.absolute())
    return ModelEntry(name=load_task(config).model, source=None, config=config.absolute(), folder=cwd.absolute())


def _without_doubles(devices: Sequence[DeviceProfile]) -> tuple[DeviceProfile, ...]:
    return tuple({profile.name: profile for profile in devices}.values())


def _formats(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(text if text == "all" else parse_formats(text, "--format", ())[0] for text in texts)


def _precisions(texts: Sequence[str]) -> tuple[str, ...]:
    for text in texts:
        if text != PLANNED and text not in PRESETS:
            raise UsageError(f'--precision "{text}" is not known: accepted are {", ".join((PLANNED, *PRESETS))}.')
    return tuple(texts)
