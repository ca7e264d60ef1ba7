"""What is known about how pictures become a model's inputs: for the artifacts' metadata and the app's code."""

from __future__ import annotations

from typing import Final

from edgekit.annotations.reader import kind_of
from edgekit.errors import DataError
from edgekit.model import TensorSpec
from edgekit.samples import SAMPLES_NAME
from edgekit.task.metric_text import targets_of_kind
from edgekit.task.pictures import LETTERBOX_PIXEL
from edgekit.task.task import ImagePreprocessing, Task

_COLOURS: Final = (1, 3)
"""Channels of a picture that this preprocessing makes: grey, and three colours."""


def image_input(inputs: tuple[TensorSpec, ...]) -> TensorSpec | None:
    """Returns the one input that takes a picture of real values, None where there is none or more than one."""
    found = [
        spec
        for spec in inputs
        if len(spec.shape) == 4
        and spec.layout in ("NCHW", "NHWC")
        and channels_of(spec) in _COLOURS
        and (spec.dtype.startswith("float") or spec.scale is not None)
    ]
    return found[0] if len(found) == 1 else None


def channels_of(spec: TensorSpec) -> int:
    """Returns the channels of a tensor (N, C, H, W) or (N, H, W, C), by its layout."""
    return spec.shape[1] if spec.layout == "NCHW" else spec.shape[3]


def known_preprocessing(task: Task, inputs: tuple[TensorSpec, ...]) -> ImagePreprocessing | None:
    """Returns how the task's pictures become the model's input; None where the task does not say.

    It says so in `[data.preprocessing]`, or by naming a folder of images as its data, which edgekit prepares itself.

    Raises:
        DataError: the task says it of a model that takes no picture, or of another number of channels.
    """
    stated = task.preprocessing_stated
    if not stated and not any(_is_pictures(task, reference) for reference in (task.calibration, task.evaluation)):
        return None
    spec = image_input(inputs)
    if spec is None:
        if not stated:
            return None  # reading the data will say what is wrong with it
        names = ", ".join(f"{item.name} {item.shape} {item.dtype}" for item in inputs)
        raise DataError(
            f"[data.preprocessing] describes pictures, and {task.model} has no single input of floats that takes one "
            f"(1 or 3 channels, NCHW or NHWC); it takes {names}. Remove the table."
        )
    channels = channels_of(spec)
    for key, values in (("mean", task.preprocessing.mean), ("std", task.preprocessing.std)):
        if len(values) not in (1, channels):
            raise DataError(
                f'[data.preprocessing] {key} has {len(values)} values and the input "{spec.name}" of {task.model} has '
                f"{channels} channels. Give one value, or one a channel."
            )
    return task.preprocessing


def _is_pictures(task: Task, reference: str | None) -> bool:
    """Returns whether the data are pictures that edgekit reads; a sample folder was written from data in memory."""
    if reference is None:
        return False
    folder = task.base / reference
    if folder.is_file():
        return targets_of_kind(task.metric) is not None and kind_of(folder) is not None
    return folder.is_dir() and not (folder / SAMPLES_NAME).is_file()


def describe_preprocessing(steps: ImagePreprocessing, spec: TensorSpec | None = None) -> str:
    """Returns the steps in a sentence without a full stop, with the sizes of `spec` where it is given."""
    height, width = (spec.shape[2:4] if spec.layout == "NCHW" else spec.shape[1:3]) if spec else ("the", "input")
    size = f"{height} x {width}" if spec else "the input's size"
    bars = f"resized inside {size} with its proportions kept, grey {LETTERBOX_PIXEL} beside it"
    resized = (
        bars
        if steps.letterbox
        else (
            f"short side resized to {steps.resize} pixels, {size} cut from the centre"
            if steps.resize is not None
            else f"resized to {size}"
        )
    )
    grey = spec is not None and channels_of(spec) == 1
    colour = "grey" if grey else steps.color.upper()
    return f"{resized}, {colour}, (pixel - {_numbers(steps.mean)}) / {_numbers(steps.std)} with pixels from 0 to 255"


def _numbers(values: tuple[float, ...]) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else "(" + ", ".join(f"{value:g}" for value in values) + ")"
