"""The task that a Python program describes: what the command line takes as text, and what lies in memory as files."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, final

from edgekit.errors import UsageError
from edgekit.exporting.artifact_data import ArtifactData, real_inputs
from edgekit.in_memory.arrays import are_shapes, example_arguments, sizes_of, to_numpy
from edgekit.in_memory.data import TITLE, checked_items, first_inputs, items_of
from edgekit.in_memory.image_input import ImageInputOption, with_image_input
from edgekit.in_memory.models import file_name, input_names, model_kind, write_model
from edgekit.in_memory.training import training_of
from edgekit.in_memory.ultralytics_model import declared_task, network_of
from edgekit.metrics.metric_function import MetricFunction
from edgekit.model import OpenSizes, with_free_axes
from edgekit.pipeline.capture import capture_model
from edgekit.pipeline.samples import keep_samples
from edgekit.pipeline.settings import Settings
from edgekit.task.data import write_items
from edgekit.task.dimensions import dimensions_of, merged_dimensions
from edgekit.task.input_sizes import merged_sizes, with_dimensions
from edgekit.task.nested_values import leaves_of
from edgekit.task.request import make_task
from edgekit.task.task import Task, find_config
from edgekit.task.task_metric import fitting_metric
from edgekit.validators.execution import describe_artifact
from edgekit.validators.runner_process import RunSettings

if TYPE_CHECKING:
    from torch import nn

    from edgekit.in_memory.models import ExamplesFrom, ModelKind
    from edgekit.model import TensorSpec
    from edgekit.task.data import Purpose
    from edgekit.task.input_sizes import InputSizes


def is_text(value: object) -> bool:
    """Returns whether a value is what the command line takes: text or a path."""
    return isinstance(value, (str, os.PathLike))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSource:
    """What a Python program says about a task; None where it leaves it to the task file.

    Attributes:
        model: Text or a path as for the command line, or a model in memory.
        inputs: Example inputs: text, arrays, or shapes (see `example_arguments`).
        calibration: Text, or data in memory (see `items_of`).
        evaluation: The same.
        metric: Text or a function (outputs, targets) -> float.
        training: Keys of [training] with text, functions of modules or batches in memory.
        config: Task file.
        name: What the model is called, in files and tables.
        dimensions: Sizes that stay open, which the inputs name: `{"length": (1, 512)}`.
        split_outputs: Each member of a joined output becomes an output of its own; the task file may say it too.
        image_input: See `with_image_input`.
        does: What the model in memory says that it does, a key of `TASKS`; None where it says nothing.
    """

    model: object = None
    inputs: object = None
    calibration: object = None
    evaluation: object = None
    metric: str | Callable[[Any, Any], float] | None = None
    training: Mapping[str, object] | None = None
    config: str | os.PathLike[str] | None = None
    name: str | None = None
    dimensions: Mapping[str, Any] | None = None
    split_outputs: bool = False
    image_input: ImageInputOption = None
    does: str | None = None

    def __post_init__(self) -> None:
        """Takes the network out of what holds it."""
        object.__setattr__(self, "does", self.does or declared_task(self.model))
        object.__setattr__(self, "model", network_of(self.model))

    @property
    def kind(self) -> ModelKind | None:
        """What the model in memory is; None where it is text or left to the task file."""
        return None if self.model is None or is_text(self.model) else model_kind(self.model)

    @property
    def sizes(self) -> tuple[InputSizes, ...]:
        """Shapes that are given by name; a torch module in memory is captured with values of them instead."""
        return () if self.kind == "module" and not self.dimensions else sizes_of(self.inputs)

    def _fields(self) -> dict[str, Any]:
        """Returns what is given for the task's fields, in whatever form."""
        return {
            "calibration": self.calibration,
            "evaluation": self.evaluation,
            "metric": self.metric,
            "example_inputs": self.inputs,
        }

    def overrides(self) -> dict[str, str | None]:
        """Returns the task's fields that are given as text, as the flags of the command line give them."""
        return {name: os.fspath(value) if is_text(value) else None for name, value in self._fields().items()}

    def given(self) -> dict[str, str | None]:
        """Returns the task's fields that are given in any form, for messages."""
        return {name: None if value is None else str(type(value)) for name, value in self._fields().items()}

    def names_task(self) -> bool:
        """Returns whether there is a model, or a task file that can name one."""
        return self.model is not None or self.config is not None or find_config(Path.cwd()) is not None


def described_task(source: TaskSource) -> Task:
    """Returns the task as far as its text goes: enough to see what is wrong with a request before any work.

    Raises:
        InputError: the model is of no known kind, or the task file is wrong.
    """
    kind = source.kind
    called = file_name(source.model, kind, source.name) if kind else _text(source.model)
    task = make_task(called, as_path(source.config), source.overrides(), Path.cwd())
    if source.name is not None:
        task = replace(task, metadata={**task.metadata, "name": source.name})
    if source.does is not None and task.kind is None:
        task = replace(task, kind=source.does, metric=fitting_metric(task.metric, source.does, task.head))
    task = with_image_input(task, source.image_input)
    if callable(source.metric):
        task = replace(task, metric=MetricFunction(source.metric))
    opened = merged_dimensions(task.dimensions, dimensions_of(source.dimensions))
    sizes = with_dimensions(merged_sizes(task.input_sizes, source.sizes), opened)
    split = task.split_outputs or source.split_outputs
    return replace(task, input_sizes=sizes, dimensions=opened, split_outputs=split)


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
    kind, task = source.kind, described_task(source)
    if source.training is not None:
        task = replace(task, training=training_of(source.training, settings))
    names = input_names(cast("nn.Module", source.model)) if kind == "module" else []
    is_factory = kind is None and task.example_inputs is None and not task.input_sizes and ":" in task.model
    inputs, source = _examples(source, len(names) or 1) if kind == "module" or is_factory else (source.inputs, source)
    if kind == "module" and task.dimensions:
        inputs = {item.name: (item.shape, item.dtype or "float32") for item in task.input_sizes}
    by_value = inputs is not None and not is_text(inputs) and (kind == "module" or not source.sizes)
    arguments = example_arguments(inputs, names) if by_value else None
    given: ExamplesFrom = "shapes" if are_shapes(inputs) else "values"
    if kind is not None:
        task = replace(task, model_file=scratch / task.model)
        write_model(
            source.model, kind, scratch / task.model, arguments, given=given, sizes=task.input_sizes,
            dimensions=task.dimensions,
        )  # fmt: skip
    if kind == "module":
        task = replace(task, example_inputs=None)
        if not task.dimensions:
            task = replace(task, input_sizes=())  # the captured program holds them
    elif arguments is not None:
        task = replace(task, example_inputs=_stored(arguments, scratch))
    return _with_data(source, task, scratch, settings)


def artifact_data(source: TaskSource, path: Path, scratch: Path, settings: Settings) -> ArtifactData:
    """Returns what to run an artifact on that has no float model; what lies in memory is written into `scratch`.

    Args:
        source: Data, metric and inputs.
        path: The artifact, whose runtime knows what it takes.
        scratch: An empty folder that stays as long as the data is used.
        settings: How to run.

    Raises:
        InputError: the data is not what the artifact takes.
        MachineError: the artifact cannot be loaded here.
    """
    data = ArtifactData.from_overrides(source.overrides(), source.sizes, Path.cwd())
    if callable(source.metric):
        data = replace(data, metric=MetricFunction(source.metric))
    in_memory = _in_memory(source)
    by_value = source.inputs is not None and not is_text(source.inputs) and not source.sizes
    if not in_memory and not by_value:
        return data
    run_settings = RunSettings(
        timeout_s=settings.timeout_s, memory_limit_bytes=settings.memory_limit_bytes, signature=settings.signature
    )
    artifact = describe_artifact(path, settings=run_settings, progress=settings.stage("artifact"))
    specs, kept = real_inputs(artifact), bool(artifact.states)
    given: dict[str, Any] = {
        purpose: str(_write(items, purpose, specs, data.metric, scratch / purpose, settings, sequences=kept))
        for purpose, items in in_memory
    }
    if by_value:
        given["example_inputs"] = _stored(example_arguments(source.inputs, [spec.name for spec in specs]), scratch)
    return replace(data, **given, from_memory=True)


def refuse_data_alone(source: TaskSource) -> None:
    """Checks that data comes with the float model that it is for.

    Raises:
        UsageError: it does not.
    """
    given = [name for name in ("inputs", "calibration", "evaluation", "metric") if getattr(source, name) is not None]
    if given and not source.names_task():
        raise UsageError(
            f"{' and '.join(given)} {'have' if len(given) > 1 else 'has'} no effect without the float model that the "
            "artifact is compared with. Give it too: model=..."
        )


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


def _stored(arguments: tuple[Any, ...], scratch: Path) -> str:
    """Writes example inputs, one after the other, to a file; returns the reference that a worker reads them by."""
    import numpy as np

    path = scratch / "example-inputs.npz"
    np.savez(path, *(array for _, array in leaves_of(arguments)))
    return f"edgekit.in_memory.stored:example_inputs(path={str(path)!r})"


def _with_data(source: TaskSource, task: Task, scratch: Path, settings: Settings) -> Task:
    """Returns the task with its data in memory as sample folders, each sample checked against the model's inputs."""
    in_memory = _in_memory(source)
    if not in_memory:
        return task
    model = capture_model(task, settings)
    given: dict[str, Any] = {
        purpose: str(
            _write(
                data,
                purpose,
                model.data_inputs,
                task.metric,
                scratch / purpose,
                settings,
                sequences=bool(model.states),
                reset_every=task.reset_every,
                open_sizes=model.open_sizes,
            )
        )
        for purpose, data in in_memory
    }
    return replace(task, **given)


def _in_memory(source: TaskSource) -> list[tuple[Purpose, object]]:
    """Returns the data that is not given as text, by what it is for."""
    purposes: tuple[tuple[Purpose, object], ...] = (
        ("calibration", source.calibration),
        ("evaluation", source.evaluation),
    )
    return [(purpose, data) for purpose, data in purposes if data is not None and not is_text(data)]


def _write(
    data: object,
    purpose: Purpose,
    specs: tuple[TensorSpec, ...],
    metric: str,
    folder: Path,
    settings: Settings,
    *,
    sequences: bool,
    reset_every: int | None = None,
    open_sizes: OpenSizes | None = None,
) -> Path:
    """Writes data to a sample folder, each sample checked against the inputs; returns the folder in the cache."""
    taken = specs if open_sizes is None else with_free_axes(specs, open_sizes.inputs)
    items = checked_items(items_of(data, purpose, len(specs)), purpose, taken)
    samples = write_items(
        items,
        specs,
        folder,
        purpose=purpose,
        metric=metric,
        title=TITLE,
        progress=settings.stage("data"),
        sequences=sequences,
        reset_every=reset_every,
        open_sizes=open_sizes,
    )
    return keep_samples(samples, settings).folder
