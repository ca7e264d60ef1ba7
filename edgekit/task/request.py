"""How flags, environment, task file and profile become one request."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, final

from edgekit import registry
from edgekit.budget import COSTS, Budget, Limit, read_change_limits, read_limit
from edgekit.errors import ProfileError, UsageError
from edgekit.model import Dimension
from edgekit.profiles.profile import DeviceProfile, find_profile
from edgekit.recipe import EFFORTS, PREFERENCES, PRESETS, Effort, Preference, Step
from edgekit.task.dimensions import FLAG as DIMENSION_FLAG
from edgekit.task.dimensions import merged_dimensions
from edgekit.task.input_sizes import FLAG, InputSizes, merged_sizes, with_dimensions
from edgekit.task.task import DeviceOverride, Task, default_task, find_config, load_task, model_task
from edgekit.task.task_kinds import DEFAULT_METRIC
from edgekit.task.task_metric import fitting_metric

_CAMERA_KINDS: Final = ("phone",)
"""Kinds of devices whose own APIs take pictures: there artifacts take pixels unless the user says otherwise."""

DEVICE_VARIABLE: Final = "EDGEKIT_DEVICE"


REGRESSION_VARIABLE: Final = "EDGEKIT_MAX_REGRESSION"


LIMIT_FLAGS: Final[Mapping[str, str]] = {
    "size": "--max-size",
    "download": "--max-download",
    "memory": "--max-memory",
    "latency": "--max-latency",
    "accuracy": "--min-accuracy",
    "accuracy_drop": "--max-drop",
    "slice_drop": "--max-slice-drop",
    "parity": "--min-parity",
    "parity_floor": "--min-parity-floor",
    "integer_coverage": "--min-integer-coverage",
    "delegate_coverage": "--min-delegate-coverage",
    "accelerator_coverage": "--min-accelerator-coverage",
}
"""Cost to the flag that limits it; the environment variable is EDGEKIT_ and the flag's name, as EDGEKIT_MAX_SIZE."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Everything that was requested of a command.

    Attributes:
        task: What to export and how to judge it.
        profile: The device.
        budget: The limits in force, each with who set it.
        formats: Formats to make, in order; empty where the planner chooses.
        omitted: Formats that `all` leaves out, because the device does not run them.
        precision: A key of `plan.PRESETS`, None where the planner chooses.
        techniques: What to do to the float model first, in order.
        regression: Limits on changes against a baseline, each with who set it.
        config: --config, as it was given.
    """

    task: Task
    profile: DeviceProfile
    budget: Budget
    formats: tuple[str, ...]
    precision: str | None
    techniques: tuple[Step, ...] = ()
    regression: tuple[Limit, ...] = ()
    omitted: tuple[str, ...] = ()
    config: Path | None = None
    prefer: Preference = "balanced"


def make_request(
    *,
    model: str | None,
    device: str | DeviceProfile | None,
    config: Path | None,
    formats: str | None = None,
    precision: str | None = None,
    prefer: str | None = None,
    techniques: Sequence[str | Step] | None = None,
    limits: Mapping[str, str | None],
    overrides: Mapping[str, str | None] | None = None,
    input_sizes: Sequence[InputSizes] = (),
    dimensions: Sequence[Dimension] = (),
    split_outputs: bool = False,
    regression: Sequence[str] = (),
    demo_limits: bool = True,
    without: Sequence[str] = (),
    image_input: bool | None = None,
    cwd: Path | None = None,
    task: Task | None = None,
) -> Request:
    """Returns the request that flags, environment, task file and profile make together.

    Args:
        model: MODEL argument.
        device: --device, or the profile itself.
        config: --config.
        formats: --format.
        precision: --precision.
        prefer: --prefer.
        techniques: --technique, each time it was given, or the steps themselves.
        limits: Cost name to the text of its flag.
        overrides: Task fields (`calibration`, `evaluation`, `metric`, `example_inputs`) to the text of their flags.
        input_sizes: What --input says, read by `read_input_sizes`.
        dimensions: What --dimension says, read by `read_dimensions`.
        split_outputs: --split-outputs; the task file may say it too.
        regression: --max-regression, each as it was given.
        demo_limits: Where no model is named, the limits of the embedded default hold; False where nothing says that it
            is about that model.
        without: --without, each time it was given.
        image_input: --image-input or --no-image-input; None where neither was given.
        cwd: Where to look for a task file; the current folder by default.
        task: The task, where it is known already; else `model`, `config` and `overrides` make it.

    Raises:
        InputError: any of them is wrong.
    """
    cwd = cwd or Path.cwd()
    task = task or make_task(model, config, overrides or {}, cwd, input_sizes, dimensions)
    task = replace(task, split_outputs=True) if split_outputs else task
    if task.embedded_default and not demo_limits:
        task = replace(task, limits=())
    profile = _profile(device, task, cwd)
    task = _with_image_input(task, profile, image_input)
    override = _device_override(task, profile, cwd)
    wanted = formats or os.environ.get("EDGEKIT_FORMAT")
    source = "--format" if formats else "EDGEKIT_FORMAT"
    chosen = parse_formats(wanted, source, profile.runtimes) if wanted else override.formats
    omitted = set(registry.format_names()) - set(chosen) if (wanted or "").strip().lower() == "all" else set[str]()
    preset = precision or os.environ.get("EDGEKIT_PRECISION")
    if preset is not None and preset not in PRESETS:
        raise UsageError(f'--precision "{preset}" is not known: accepted are {", ".join(PRESETS)}.')
    given = (techniques, "--technique") if techniques else (task.techniques, f"{task.config} [techniques] steps")
    return Request(
        task=task,
        profile=profile,
        budget=_waived(_budget(task, profile, override.limits, limits), task, without),
        formats=chosen,
        precision=preset,
        techniques=tuple(item if isinstance(item, Step) else parse_technique(item, given[1]) for item in given[0]),
        omitted=tuple(name for name in registry.format_names() if name in omitted),
        regression=_regression(task, override, regression),
        config=config,
        prefer=parse_preference(prefer or os.environ.get("EDGEKIT_PREFER") or task.prefer or "balanced"),
    )


def _with_image_input(task: Task, profile: DeviceProfile, flag: bool | None) -> Task:  # noqa: FBT001  as it was given
    """Returns the task with what its artifacts take: pixels on a phone whose task file says what becomes of them."""
    if flag is not None:
        return replace(task, image_input=flag, image_input_stated=True)
    if task.image_input_stated:
        return task
    described = task.config is not None and task.preprocessing_stated
    return replace(task, image_input=described and profile.kind in _CAMERA_KINDS)


def parse_technique(text: str, source: str) -> Step:
    """Returns the step that `name` or `name:key=value,key=value` means, with all its settings.

    Raises:
        UsageError: no technique has that name, or it has no such setting.
    """
    from edgekit.files.faults import nearest
    from edgekit.plugins import configurable_technique
    from edgekit.task.technique_text import split_step

    name, settings = split_step(text, source)
    known = registry.technique_names()
    if name not in known:
        hint = "".join(f' Did you mean "{near}"?' for near in nearest(name, known))
        raise UsageError(f'{source} "{name}" is not known: accepted are {", ".join(known)}.{hint}')
    return configurable_technique(name).from_settings(settings, source).step()


def make_task(
    model: str | None,
    config: Path | None,
    overrides: Mapping[str, str | None],
    cwd: Path,
    input_sizes: Sequence[InputSizes] = (),
    dimensions: Sequence[Dimension] = (),
) -> Task:
    """Returns the task: a task file, with MODEL and data flags in place of what it says, or the embedded default."""
    named = config or (Path(text) if (text := os.environ.get("EDGEKIT_CONFIG")) else None)
    path = named or find_config(cwd)
    flags = {name: value for name, value in overrides.items() if value is not None}
    if path is None:
        task = model_task(model, cwd) if model else default_task(cwd)
    else:
        task = load_task(path)
        if model:
            # The argument is relative to where the user stands, the file's references to where the file lies.
            named_model = _from_base(model, cwd, task.base)
            # Another model has other inputs.
            if named_model != task.model:
                task = replace(task, input_sizes=(), dimensions=())
            task = replace(task, model=named_model, model_from="", metadata={})
    opened = merged_dimensions(task.dimensions, dimensions)
    sizes = with_dimensions(merged_sizes(task.input_sizes, input_sizes), opened)
    task = replace(task, input_sizes=sizes, dimensions=opened)
    fields: dict[str, Any] = {name: _from_base(value, cwd, task.base) for name, value in flags.items()}
    if "metric" in fields:
        fields["metric"] = fitting_metric(fields["metric"], task.kind, task.head)
    return replace(task, **fields)


def _from_base(text: str, cwd: Path, base: Path) -> str:
    """Returns a path or a `file.py:name` that is relative to `cwd` so that it can be found from `base`."""
    head, separator, name = text.partition(":")
    path = cwd / head
    return f"{path.absolute()}{separator}{name}" if base != cwd.absolute() and path.exists() else text


def _profile(device: str | DeviceProfile | None, task: Task, cwd: Path) -> DeviceProfile:
    if isinstance(device, DeviceProfile):
        return device
    name = device or os.environ.get(DEVICE_VARIABLE)
    if not name and task.device:
        try:
            return find_profile(task.device, task.base)
        except ProfileError as error:
            raise ProfileError(f"{task.config}: device: {error.message}") from error
    if not name:
        raise UsageError(
            f"No device is named. Give one with --device NAME or {DEVICE_VARIABLE}; the names: edgekit devices"
        )
    return find_profile(name, cwd)


def _device_override(task: Task, profile: DeviceProfile, cwd: Path) -> DeviceOverride:
    """Returns the task file's table about this device, its formats checked; an empty one where there is none."""
    for name, override in task.devices.items():
        try:
            same = find_profile(name, cwd).name == profile.name
        except ProfileError as error:
            raise ProfileError(f"{task.config}: [devices.{name}]: {error.message}") from error
        if same:
            source = f"{task.config.name if task.config else 'task'} [devices.{name}] format"
            formats = parse_formats(",".join(override.formats), source, profile.runtimes) if override.formats else ()
            return replace(override, formats=formats)
    return DeviceOverride()


def parse_effort(text: str) -> Effort:
    """Returns the effort that `text` names.

    Raises:
        UsageError: no such effort.
    """
    for effort in EFFORTS:
        if text == effort:
            return effort
    raise UsageError(f'--effort "{text}" is not known: accepted are {", ".join(EFFORTS)}.')


def parse_preference(text: str) -> Preference:
    """Returns what `--prefer` names.

    Raises:
        UsageError: no such preference.
    """
    for preference in PREFERENCES:
        if text == preference:
            return preference
    raise UsageError(f'--prefer "{text}" is not known: accepted are {", ".join(PREFERENCES)}.')


def parse_formats(text: str, source: str, runtimes: Sequence[str]) -> tuple[str, ...]:
    """Returns the formats that `text` names, in its order: `tflite,onnx`, or `all` that the device runs.

    Args:
        text: Names with commas, or `all`.
        source: Who says so, for messages.
        runtimes: What the device runs.

    Raises:
        UsageError: a format that no converter writes.
    """
    known = registry.format_names()
    names = [word.strip().lower() for word in text.split(",") if word.strip()]
    if names == ["all"]:
        return tuple(name for name in known if name in runtimes)
    for name in names:
        if name not in known:
            raise UsageError(f'{source}: "{name}" is not a format: accepted are {", ".join(known)} and all.')
    if not names:
        raise UsageError(f"{source}: no format is named: accepted are {', '.join(known)} and all.")
    return tuple(dict.fromkeys(names))


def _budget(
    task: Task, profile: DeviceProfile, device_limits: tuple[Limit, ...], flags: Mapping[str, str | None]
) -> Budget:
    environment: list[Limit] = []
    given: list[Limit] = []
    for name, flag in LIMIT_FLAGS.items():
        variable = f"EDGEKIT_{flag.removeprefix('--').replace('-', '_').upper()}"
        if text := os.environ.get(variable):
            environment.append(read_limit(name, text, variable))
        if (value := flags.get(name)) is not None:
            given.append(read_limit(name, value, flag))
    budget = replace(profile.budget, runtimes=profile.runtimes)
    budget = budget.overridden_by(task.limits).overridden_by(device_limits)
    return budget.overridden_by(environment).overridden_by(given)


def _waived(budget: Budget, task: Task, flags: Sequence[str]) -> Budget:
    """Returns the budget without the checks that flags and the task file waive by name."""
    if flags:
        budget = budget.without(flags, "--without")
    if task.without:
        budget = budget.without(task.without, f"{task.config.name if task.config else 'task'} [checks] without")
    return budget


def _regression(task: Task, override: DeviceOverride, flags: Sequence[str]) -> tuple[Limit, ...]:
    """Returns the limits on changes against a baseline; a later source takes the place of an earlier one."""
    limits = [*task.regression, *override.regression]
    if text := os.environ.get(REGRESSION_VARIABLE):
        limits += read_change_limits(text, REGRESSION_VARIABLE)
    for flag in flags:
        limits += read_change_limits(flag, "--max-regression")
    return tuple({limit.name: limit for limit in limits}.values())


def limit_words(limit: Limit) -> Literal["at most", "at least"]:
    """Returns how to say which side of the limit is kept."""
    return "at most" if COSTS[limit.name].at_most else "at least"


def task_words(request: Request) -> tuple[list[str], list[str]]:
    """Returns how a command names the request's task again: the words before its options, and those behind them."""
    task = request.task
    if request.config is not None:
        return ["--config", str(request.config)], []
    if task.config is not None or task.embedded_default:
        return [], []
    flags = {
        "--example-inputs": task.example_inputs,
        "--calibration": task.calibration,
        "--evaluation": task.evaluation,
        "--metric": task.metric if task.metric != DEFAULT_METRIC else None,
    }
    words = [word for flag, value in flags.items() if value is not None for word in (flag, value)]
    words += [word for item in task.input_sizes for word in (FLAG, item.text)]
    return [task.model], [*words, *(word for item in task.dimensions for word in (DIMENSION_FLAG, item.text))]
