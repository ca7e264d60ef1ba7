"""Tasks: what to export, and how to judge it.

A task comes from `edgekit.toml`, from `[tool.edgekit]` in `pyproject.toml`, from flags, or from the embedded default.
All faults of a file are reported at once, each with its key, what came and what is accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, final

from edgekit.budget import Limit
from edgekit.errors import ConfigError, DataError
from edgekit.files.bounded_reading import SETTINGS_BYTES, read_text, read_toml
from edgekit.model import Dimension
from edgekit.recipe import Preference
from edgekit.task.input_sizes import InputSizes
from edgekit.task.references import Value
from edgekit.task.task_kinds import DEFAULT_METRIC

if TYPE_CHECKING:
    from edgekit.task.task_file import PreprocessingTable, TaskFile

CONFIG_NAME: Final = "edgekit.toml"
DEFAULT_MODEL: Final = "edgekit.task.default_model:build"
DEFAULT_MODEL_NAME: Final = "edgekit.default_model:build"
"""What artifacts of the embedded default say that they were made of: a name, so that no move of code changes bytes."""
"""The source text of the embedded default."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePreprocessing:
    """How a folder of images becomes model inputs: `(pixel - mean) / std`, pixels 0 to 255.

    Attributes:
        resize: Short side in pixels before the centre crop to the model's input; None resizes to the input directly.
        mean: Subtracted, one value or one a channel, in units of pixels.
        std: Divided by.
        color: Order of three channels: rgb or bgr.
        letterbox: The picture keeps its proportions, grey bars beside it; it takes the place of `resize`.
    """

    resize: int | None = None
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (255.0,)
    color: Literal["rgb", "bgr"] = "rgb"
    letterbox: bool = False

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form; `letterbox` is there where it is true, so that other artifacts keep their bytes."""
        made = {"resize": self.resize, "mean": list(self.mean), "std": list(self.std), "color": self.color}
        return {**made, "letterbox": True} if self.letterbox else made

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> ImagePreprocessing:
        """Returns what `to_json` described."""
        return ImagePreprocessing(
            resize=data["resize"],
            mean=tuple(float(value) for value in data["mean"]),
            std=tuple(float(value) for value in data["std"]),
            color="bgr" if data["color"] == "bgr" else "rgb",
            letterbox=data.get("letterbox") is True,
        )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceOverride:
    """What a task says about one device: a format to force, limits that take the place of the profile's."""

    formats: tuple[str, ...] = ()
    limits: tuple[Limit, ...] = ()
    regression: tuple[Limit, ...] = ()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How to train, for the techniques that must. References are `module:name` or `file.py:name`.

    Attributes:
        batches: (epoch) -> iterable of (input tuple, target).
        loss: (output, target) -> scalar tensor.
        epochs: Passes over the data, where a technique's own setting says nothing else.
        held_out: () -> iterable of (input tuple, target) that are not trained on: the best weights are chosen by them.
    """

    batches: str
    loss: str
    epochs: int = 1
    held_out: str | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSpace:
    """Variants of a model to train and compare: every combination of the parameters' values.

    Attributes:
        parameters: Names with their values. Each is handed to every function of the task that has such a parameter.
        factory: Reference of the function that builds the variants; None where the model's own does.
    """

    parameters: tuple[tuple[str, tuple[Value, ...]], ...]
    factory: str | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What to export, and how to judge it.

    Attributes:
        model: Source text: `model.py:build`, `net.onnx` and so on.
        base: Folder that relative paths and references start from.
        signature: Which function of an artifact is run where its file has several; "" where it has one.
        example_inputs: Reference of a function that returns the model's arguments: a tuple of tensors, or a dict.
        input_sizes: Sizes of the inputs, by name; they come before those of the example inputs.
        dimensions: Sizes that artifacts leave open; the inputs name them.
        calibration: Function reference, .npz file or folder of images; None without calibration data.
        evaluation: The same for evaluation data.
        metric: One of `registry.metric_names()` with its settings, or a function reference.
        kind: What the model does, a key of `task_kinds.TASKS`; None where the task does not say.
        head: Settings of the metric that say how the outputs are decoded.
        images: Folder of the pictures of a COCO file; None where the task does not say.
        preprocessing: For folders of images, and for whoever feeds the model later.
        preprocessing_stated: True where the task says it itself; else it holds for folders of images only.
        split_outputs: Each member of a joined output becomes an output of its own.
        score_calibration: Scale, slope and offset of each class, one a line, for clients that calibrate; "" without.
        image_input: Artifacts take pixels and do the preprocessing themselves.
        image_input_stated: True where a flag or the task file says so; else it follows from the device.
        state_pairs: (output, input) of the model that are one state: what a call gives there, the next one takes.
        reset_every: Data: states begin anew after so many calls; None for one sequence, or as marks in the data say.
        training: None where the task has no training data.
        techniques: What to do to the float model first, as `--technique` takes it.
        search: Variants that `edgekit search` compares; None where the task names none.
        limits: Limits that the task file sets for every device.
        regression: Limits on changes against a baseline that the task file sets for every device.
        without: Checks that are shown and not judged, keys of `budget.WAIVABLE`.
        devices: What the task file says about single devices, by device name.
        metadata: Labels and other text to embed in the artifacts.
        device: The device where no flag and no variable names one; None where the task file names none.
        prefer: What a plan prefers among candidates that fit, where neither a flag nor a variable says it.
        config: The task file, None without one.
        model_from: The task file's name where the model is the one that it names, "" otherwise.
        embedded_default: True where neither a model nor a task file was given.
        model_file: Where the model's file lies, for a model that came from memory: `model` is then only what it is
            called, so that no temporary path gets into artifacts.
    """

    model: str
    base: Path
    signature: str = ""
    example_inputs: str | None = None
    input_sizes: tuple[InputSizes, ...] = ()
    dimensions: tuple[Dimension, ...] = ()
    calibration: str | None = None
    evaluation: str | None = None
    metric: str = DEFAULT_METRIC
    kind: str | None = None
    head: tuple[tuple[str, Value], ...] = ()
    images: str | None = None
    preprocessing: ImagePreprocessing = ImagePreprocessing()
    preprocessing_stated: bool = False
    split_outputs: bool = False
    score_calibration: str = ""
    image_input: bool = False
    image_input_stated: bool = False
    state_pairs: tuple[tuple[str, str], ...] = ()
    reset_every: int | None = None
    training: Training | None = None
    techniques: tuple[str, ...] = ()
    search: SearchSpace | None = None
    limits: tuple[Limit, ...] = ()
    regression: tuple[Limit, ...] = ()
    without: tuple[str, ...] = ()
    devices: Mapping[str, DeviceOverride] = field(default_factory=dict[str, DeviceOverride])
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    device: str | None = None
    prefer: Preference | None = None
    config: Path | None = None
    model_from: str = ""
    embedded_default: bool = False
    model_file: Path | None = None


def find_config(cwd: Path) -> Path | None:
    """Returns the task file of the folder `cwd`: `edgekit.toml`, else a `pyproject.toml` with `[tool.edgekit]`."""
    path = cwd / CONFIG_NAME
    if path.is_file():
        return path
    path = cwd / "pyproject.toml"
    if path.is_file() and "edgekit" in read_toml(path, ConfigError).get("tool", {}):
        return path
    return None


def load_task(path: Path) -> Task:
    """Returns the task that a file describes.

    Raises:
        ConfigError: no such file, not TOML, or wrong content; all faults at once.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file. Give a task file with --config, or make one with: edgekit init")
    data = read_toml(path, ConfigError)
    if path.name == "pyproject.toml":
        data = data.get("tool", {}).get("edgekit")
        if data is None:
            raise ConfigError(f"{path}: it has no [tool.edgekit] table. Add one, or make a task file: edgekit init")
    from edgekit.files.faults import describe_file_faults
    from edgekit.task.task_file import check_task_file

    file, faults = check_task_file(data)
    if file is None:
        advice = "The keys of a task file: edgekit init writes one with all of them, explained."
        raise ConfigError(describe_file_faults(path, faults, advice))
    return _to_task(file, path)


def _to_task(file: TaskFile, path: Path) -> Task:
    from edgekit.task.score_calibration import read_score_calibration
    from edgekit.task.task_file import read_change_limits, read_limits
    from edgekit.task.task_metric import read_head

    metadata = {"name": file.model.name} if file.model.name else {}
    if file.model.labels:
        metadata["labels"] = _read_labels(path, file.model.labels)
    calibrated = file.model.score_calibration
    return Task(
        model=file.model.source,
        base=path.parent.absolute(),
        signature=file.model.signature or "",
        example_inputs=file.model.example_inputs,
        input_sizes=file.inputs,
        dimensions=file.dimensions,
        calibration=file.data.calibration,
        evaluation=file.data.evaluation,
        metric=_metric(file, path),
        kind=file.data.task,
        head=read_head(file.head, path),
        images=file.data.images,
        preprocessing=preprocessing_of(file.data.preprocessing),
        preprocessing_stated="preprocessing" in file.data.model_fields_set,
        split_outputs=file.model.split_outputs,
        score_calibration=read_score_calibration(path, calibrated, metadata.get("labels", "")) if calibrated else "",
        image_input=file.data.preprocessing.image_input is True,
        image_input_stated=file.data.preprocessing.image_input is not None,
        state_pairs=file.state[0],
        reset_every=file.state[1],
        training=Training(**file.training.model_dump()) if file.training else None,
        techniques=file.techniques.steps,
        search=SearchSpace(factory=file.search[0], parameters=file.search[1]) if file.search else None,
        limits=read_limits(file.budget, f"{path.name} [budget]"),
        regression=read_change_limits(file.regression, f"{path.name} [regression]"),
        without=file.checks.without,
        devices={
            name: DeviceOverride(
                formats=device.format,
                limits=read_limits(device.budget, f"{path.name} [devices.{name}]"),
                regression=read_change_limits(device.regression, f"{path.name} [devices.{name}]"),
            )
            for name, device in file.devices.items()
        },
        metadata=metadata,
        device=file.device,
        prefer=file.prefer,
        config=path.absolute(),
        model_from=path.name,
    )


def preprocessing_of(table: PreprocessingTable) -> ImagePreprocessing:
    """Returns what a `[data.preprocessing]` table says of pictures."""
    return ImagePreprocessing(
        resize=table.resize, mean=table.mean, std=table.std, color=table.color, letterbox=table.letterbox
    )


def _metric(file: TaskFile, path: Path) -> str:
    """Returns the metric that task, metric and head of a file say together.

    Raises:
        ConfigError: they do not fit each other.
    """
    from edgekit.task.task_metric import fitting_metric, read_head

    try:
        return fitting_metric(file.data.metric, file.data.task, read_head(file.head, path))
    except DataError as error:
        raise ConfigError(f"{path}: {error.message}") from None


def _read_labels(config: Path, name: str) -> str:
    """Returns the labels, one a line, without spaces around them.

    Raises:
        ConfigError: no such file, not text, or a line without a label: every label behind it would be off by one.
    """
    path = config.parent / name
    advice = "Give a text file with one label a line."
    try:
        text = read_text(path, ConfigError, limit_bytes=SETTINGS_BYTES).strip()
    except FileNotFoundError:
        raise ConfigError(f"{config}: model.labels: {path} does not exist. {advice}") from None
    except ConfigError as error:
        raise ConfigError(f"{config}: model.labels: {error.message} {advice}") from None
    labels = [line.strip() for line in text.splitlines()]
    if "" in labels or not labels:
        where = f"line {labels.index('') + 1} of {path} is empty" if labels else f"{path} is empty"
        raise ConfigError(f"{config}: model.labels: {where}. {advice}")
    return "\n".join(labels)


def default_task(cwd: Path) -> Task:
    """Returns the embedded default: EfficientNet-Lite0 on photographs that ship inside installed packages."""
    module = DEFAULT_MODEL.partition(":")[0]
    return Task(
        model=DEFAULT_MODEL,
        base=cwd.absolute(),
        example_inputs=f"{module}:example_inputs",
        calibration=f"{module}:calibration",
        evaluation=f"{module}:evaluation",
        metric="agreement",
        # A profile's limit is about accuracy on labels. Agreement counts every changed answer, also from one wrong
        # class to another, and many crops show something between two classes: 4 % change at INT8.
        limits=(Limit(name="accuracy_drop", value=10.0, source="demo task"),),
        # What `default_model` does to its photographs, as the network was trained.
        preprocessing=ImagePreprocessing(mean=(127.0,), std=(128.0,)),
        preprocessing_stated=True,
        metadata={"name": "efficientnet-lite0"},
        embedded_default=True,
    )


def model_task(source: str, cwd: Path) -> Task:
    """Returns the task for a model that was named on the command line, without a task file."""
    return Task(model=source, base=cwd.absolute())
