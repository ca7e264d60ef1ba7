"""The task that a Python program describes: what the command line takes as text, and what lies in memory as files."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, final

from edgekit.errors import UsageError
from edgekit.in_memory.arrays import are_shapes, example_arguments, to_numpy
from edgekit.in_memory.data import TITLE, checked_items, first_inputs, items_of
from edgekit.in_memory.models import file_name, input_names, model_kind, write_model
from edgekit.in_memory.training import training_of
from edgekit.metrics.metric_function import MetricFunction
from edgekit.pipeline.capture import capture_model
from edgekit.pipeline.samples import keep_samples
from edgekit.pipeline.settings import Settings
from edgekit.task.data import write_items
from edgekit.task.input_sizes import InputSizes
from edgekit.task.nested_values import leaves_of
from edgekit.task.request import make_task
from edgekit.task.task import Task, find_config

if TYPE_CHECKING:
    from torch import nn

    from edgekit.in_memory.models import ExamplesFrom, ModelKind
    from edgekit.model import CapturedModel
    from edgekit.task.data import Purpose


def is_text(value: object) -> bool:
    """Returns whether a value is what the command line takes: text or a path."""
    return isinstance(value, (str, os.PathLike))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSource:
    """What a Python program says about a task; None where it leaves it to the task file.

    Attributes:
        model: Text or a path as for the command line, or a model in memory.
        inputs: Example inputs: text, arrays, or shapes (see `example_arrays`).
        calibration: Text, or data in memory (see `items_of`).
        evaluation: The same.
        metric: Text or a function (outputs, targets) -> float.
        training: Keys of [training] with text, functions of modules or batches in memory.
        config: Task file.
        name: What the model is called, in files and tables.
    """

    model: object = None
    inputs: object = None
    calibration: object = None
    evaluation: object = None
    metric: str | Callable[[Any, Any], float] | None = None
    training: Mapping[str, object] | None = None
    config: str | os.PathLike[str] | None = None
    name: str | None = None

    @property
    def kind(self) -> ModelKind | None:
        """What the model in memory is; None where it is text or left to the task file."""
        return None if self.model is None or is_text(self.model) else model_kind(self.model)

    def overrides(self) -> dict[str, str | None]:
        """Returns the task's fields that are given as text, as the flags of the command line give them."""
        given: dict[str, Any] = {
            "calibration": self.calibration,
            "evaluation": self.evaluation,
            "metric": self.metric,
            "example_inputs": self.inputs,
        }
        return {name: os.fspath(value) if is_text(value) else None for name, value in given.items()}


def task_of(source: TaskSource, scratch: Path, settings: Settings) -> Task:
    """Returns the task that a program describes; what lies in memory is written into `scratch` and into the cache.

    Args:
        source: The description.
        scratch: An empty folder that stays as long as the task is used.
        settings: How the model is captured, where its inputs must be known.

    Raises:
        InputError: anything of it is wrong.
        MachineError: this machine cannot capture the model.
    """
    kind = source.kind
    called = file_name(source.model, kind, source.name) if kind else _text(source.model)
    task = _described(source, make_task(called, as_path(source.config), source.overrides(), Path.cwd()), settings)
    names = input_names(cast("nn.Module", source.model)) if kind == "module" else []
    is_factory = kind is None and task.example_inputs is None and ":" in task.model
    inputs, source = _examples(source, len(names) or 1) if kind == "module" or is_factory else (source.inputs, source)
    arguments = None if inputs is None or is_text(inputs) else example_arguments(inputs, names)
    given: ExamplesFrom = "shapes" if are_shapes(inputs) else "values"
    if kind is not None:
        write_model(source.model, kind, scratch / str(called), arguments, given=given)
        task = replace(task, model_file=scratch / str(called))
    if kind == "module":
        task = replace(task, example_inputs=None, input_sizes=())  # the captured program holds them
    elif arguments is not None and isinstance(inputs, Mapping) and given == "shapes":
        task = replace(task, input_sizes=_sizes_of(inputs, arguments))
    elif arguments is not None:
        task = replace(task, example_inputs=_stored(arguments, scratch))
    return _with_data(source, task, scratch, settings)


def artifact_task(source: TaskSource, scratch: Path, settings: Settings) -> Task | None:
    """Returns the task that an artifact is compared with; None where neither a model nor a task file is there.

    Raises:
        UsageError: data or a metric without a model: there would be nothing to compare with.
        InputError: anything else of it is wrong.
    """
    if source.model is not None or source.config is not None or find_config(Path.cwd()) is not None:
        return task_of(source, scratch, settings)
    given = [name for name in ("inputs", "calibration", "evaluation", "metric") if getattr(source, name) is not None]
    if given:
        raise UsageError(
            f"{' and '.join(given)} {'have' if len(given) > 1 else 'has'} no effect without the float model that the "
            "artifact is compared with. Give it too: model=..."
        )
    return None


def sample_reference(data: object, scratch: Path) -> str | None:
    """Returns the text that names sample inputs; arrays are written into `scratch`."""
    if data is None or is_text(data):
        return _text(data)
    import numpy as np

    parts = data if isinstance(data, (tuple, list)) else (data,)
    path = scratch / "samples.npz"
    np.savez(path, *(to_numpy(part) for part in parts))
    return f"edgekit.in_memory.stored:rows(path={str(path)!r})"


def _text(value: Any) -> str | None:
    return None if value is None else os.fspath(value)


def as_path(value: str | os.PathLike[str] | None) -> Path | None:
    """Returns a path of whatever form as `Path`."""
    return None if value is None else Path(value)


def _described(source: TaskSource, task: Task, settings: Settings) -> Task:
    """Returns the task with what needs no file: its name, a metric's function, references for training."""
    if source.name is not None:
        task = replace(task, metadata={**task.metadata, "name": source.name})
    if callable(source.metric):
        task = replace(task, metric=MetricFunction(source.metric))
    return task if source.training is None else replace(task, training=training_of(source.training, settings))


def _examples(source: TaskSource, count: int) -> tuple[Any, TaskSource]:
    """Returns the example inputs, else those of the first sample in memory; and the source with that sample."""
    if source.inputs is not None:
        return source.inputs, source
    for purpose, data in (("calibration", source.calibration), ("evaluation", source.evaluation)):
        if data is not None and not is_text(data):
            inputs, items = first_inputs(data, purpose, count)
            given: dict[str, Any] = {purpose: items}
            return inputs, replace(source, **given)
    return None, source


def _sizes_of(inputs: Mapping[str, object], arguments: tuple[Any, ...]) -> tuple[InputSizes, ...]:
    """Returns shapes that a program gives by name, as `--input` gives them."""
    pairs = zip(inputs, arguments, strict=True)
    return tuple(InputSizes(name=name, shape=array.shape, dtype=str(array.dtype)) for name, array in pairs)


def _stored(arguments: tuple[Any, ...], scratch: Path) -> str:
    """Writes example inputs, one after the other, to a file; returns the reference that a worker reads them by."""
    import numpy as np

    path = scratch / "example-inputs.npz"
    np.savez(path, *(array for _, array in leaves_of(arguments)))
    return f"edgekit.in_memory.stored:example_inputs(path={str(path)!r})"


def _with_data(source: TaskSource, task: Task, scratch: Path, settings: Settings) -> Task:
    """Returns the task with its data in memory as sample folders, each sample checked against the model's inputs."""
    purposes: tuple[tuple[Purpose, object], ...] = (
        ("calibration", source.calibration),
        ("evaluation", source.evaluation),
    )
    in_memory: list[tuple[Purpose, object]] = [
        (p, data) for p, data in purposes if data is not None and not is_text(data)
    ]
    if not in_memory:
        return task
    model = capture_model(task, settings)
    for purpose, data in in_memory:
        folder = _write(data, purpose, model, task, scratch / purpose, settings)
        given: dict[str, Any] = {purpose: str(folder)}
        task = replace(task, **given)
    return task


def _write(data: object, purpose: Purpose, model: CapturedModel, task: Task, folder: Path, settings: Settings) -> Path:
    specs = model.data_inputs
    items = checked_items(items_of(data, purpose, len(specs)), purpose, specs)
    samples = write_items(
        items,
        specs,
        folder,
        purpose=purpose,
        metric=task.metric,
        title=TITLE,
        progress=settings.stage("data"),
        sequences=bool(model.states),
        reset_every=task.reset_every,
    )
    return keep_samples(samples, settings).folder
