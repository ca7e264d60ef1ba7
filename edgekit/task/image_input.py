"""Artifacts that take pixels: what turns a picture into the model's input lies inside, and the app hands over bytes.

Models, calibration and evaluation stay as they are; where such an artifact is run, rows become the pixels that they
were made of, so that the float model and the artifact see the same picture.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, final

from edgekit.errors import DataError, InputError
from edgekit.files.bounded_reading import parse_json
from edgekit.model import CapturedModel, TensorSpec
from edgekit.samples import Samples, SampleWriter
from edgekit.task.pictures import input_size
from edgekit.task.preprocessing import channels_of, image_input, known_preprocessing
from edgekit.task.references import Value
from edgekit.task.task import ImagePreprocessing, Task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

IMAGE_INPUT_KEY: Final = "edgekit.image_input"
"""JSON: the float model's input, and the steps that the artifact does itself."""

_LABELS: Final = "labels"
_READ_TASKS: Final = ("detection", "segmentation")
"""Tasks whose outputs platforms read in a form of their own: an artifact says how."""

_HIGHEST: Final = 255
_SLACK: Final = 0.51
"""How far a value may lie outside of a pixel's range: what resizing in floats rounds to is half a step away."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInput:
    """An input that an artifact takes as pixels: 8 bits, RGB or grey, in the size of the model.

    Attributes:
        spec: The float model's input, (1, C, H, W) or (1, H, W, C), float32.
        steps: What the artifact does with pixels; `resize` and `letterbox` stay the app's.
        labels: Of the model's classes, for formats whose readers want them in a form of their own; empty without.
        score_calibration: Scale, slope and offset of each label, one a line; "" without.
        task: What the model does, a key of `TASKS`; None where nobody says it.
        head: Settings by which its outputs are decoded, for formats whose readers decode them.
    """

    spec: TensorSpec
    steps: ImagePreprocessing
    labels: tuple[str, ...] = ()
    score_calibration: str = ""
    task: str | None = None
    head: tuple[tuple[str, Value], ...] = ()

    @property
    def channels(self) -> int:
        """3 for colours, 1 for grey."""
        return channels_of(self.spec)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return input_size(self.spec)[:2]

    @property
    def mean(self) -> tuple[float, ...]:
        """Subtracted, one value a channel in the model's order."""
        return _each(self.steps.mean, self.channels)

    @property
    def std(self) -> tuple[float, ...]:
        """Divided by, one value a channel in the model's order."""
        return _each(self.steps.std, self.channels)

    @property
    def turned(self) -> bool:
        """True where the model's channels are blue, green, red: pixels always come as red, green, blue."""
        return self.steps.color == "bgr" and self.channels > 1

    def pixel_spec(self, name: str = "", layout: Literal["NHWC", "NCHW"] = "NHWC") -> TensorSpec:
        """Returns the artifact's input: bytes (1, H, W, C), or (1, C, H, W) where the runtime has it so."""
        width, height = self.size
        shape = (1, height, width, self.channels) if layout == "NHWC" else (1, self.channels, height, width)
        return TensorSpec(name=name or self.spec.name, shape=shape, dtype="uint8", layout=layout)

    def is_pixels(self, spec: TensorSpec) -> bool:
        """Returns whether an artifact's input is this one."""
        return spec.dtype == "uint8" and math.prod(spec.shape) == math.prod(self.spec.shape)

    def pixels(self, values: NDArray[Any], layout: str | None = "NHWC") -> NDArray[np.uint8]:
        """Returns the pixels that rows were made of.

        Args:
            values: Rows as the float model takes them, (N, ...) in the layout of `spec`.
            layout: Of what is returned: NHWC or NCHW.

        Raises:
            DataError: pixels of 0 to 255 cannot have become these values.
        """
        import numpy as np

        last = values.transpose(0, 2, 3, 1) if self.spec.layout == "NCHW" else values
        found = last.astype(np.float32) * np.asarray(self.std, np.float32) + np.asarray(self.mean, np.float32)
        low, high = float(found.min()), float(found.max())
        if not (low >= -_SLACK and high <= _HIGHEST + _SLACK):
            raise DataError(
                f'The data of the input "{self.spec.name}" is not what the preprocessing makes of pixels: its values '
                f"stand for pixels from {low:.1f} to {high:.1f}, and pixels go from 0 to {_HIGHEST}. Correct mean and "
                "std in [data.preprocessing] (they are in units of pixels), or export without --image-input."
            )
        whole = np.clip(np.rint(found), 0, _HIGHEST).astype(np.uint8)
        whole = whole[..., ::-1] if self.turned else whole
        return np.ascontiguousarray(whole.transpose(0, 3, 1, 2) if layout == "NCHW" else whole)

    def values(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Returns pixels (N, H, W, C) as the float model takes them, in the layout of `spec`."""
        import numpy as np

        turned = pixels[..., ::-1] if self.turned else pixels
        made = (turned.astype(np.float32) - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return np.ascontiguousarray(made.transpose(0, 3, 1, 2) if self.spec.layout == "NCHW" else made)

    def to_text(self) -> str:
        """Returns the metadata entry of an artifact that has this input."""
        reading = {"task": self.task, "head": dict(self.head)} if self.task in _READ_TASKS else {}
        return json.dumps({"input": self.spec.to_json(), "preprocessing": self.steps.to_json(), **reading})


def _each(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    return values * channels if len(values) == 1 else values


def embedded_image_input(metadata: Mapping[str, str]) -> ImageInput | None:
    """Returns the input that an artifact says it takes as pixels; None where it says nothing that can be read."""
    text = metadata.get(IMAGE_INPUT_KEY)
    if text is None:
        return None
    try:
        found: Any = parse_json(text, IMAGE_INPUT_KEY)
        spec = found["input"]
        return ImageInput(
            spec=TensorSpec(
                name=str(spec["name"]),
                shape=tuple(int(size) for size in spec["shape"]),
                dtype=str(spec["dtype"]),
                layout=str(spec["layout"]),
            ),
            steps=ImagePreprocessing.from_json(found["preprocessing"]),
            task=found.get("task") if found.get("task") in _READ_TASKS else None,
            head=tuple((str(name), _setting(value)) for name, value in dict(found.get("head", {})).items()),
        )
    except (InputError, ValueError, KeyError, TypeError, AttributeError):
        return None  # somebody else's entry of that name


def _setting(value: object) -> Value:
    """Returns a setting of a decoder that a file names; anything else is no entry of ours."""
    if not isinstance(value, int | float | str | bool):
        raise TypeError(value)
    return value


def requested_image_input(task: Task, model: CapturedModel) -> ImageInput | None:
    """Returns the input that the task's artifacts take as pixels; None where none is requested.

    Raises:
        DataError: it is requested of a model that takes no picture, or nobody says how pixels become its input.
    """
    if not task.image_input:
        return None
    spec = image_input(model.inputs)
    if spec is None or spec.dtype != "float32" or spec.shape[0] != 1 or model.open_sizes or model.states:
        if not task.image_input_stated:
            return None
        raise DataError(_why_no_picture(task, model))
    steps = known_preprocessing(task, model.inputs)
    if steps is None:
        raise DataError(
            f'Nothing says how pixels become the input "{spec.name}" of {task.model}. Add [data.preprocessing] with '
            "mean and std to the task file, or export without --image-input."
        )
    labels = task.metadata.get(_LABELS) or model.metadata.get(_LABELS, "")
    return ImageInput(
        spec=spec,
        steps=steps,
        labels=tuple(labels.splitlines()),
        score_calibration=task.score_calibration,
        task=task.kind,
        head=task.head,
    )


def _why_no_picture(task: Task, model: CapturedModel) -> str:
    found = ", ".join(f"{spec.name} {spec.shape} {spec.dtype}" for spec in model.inputs)
    sizes = f", of open sizes ({model.open_sizes.words})" if model.open_sizes else ""
    states = f", and keeps {len(model.states)} states" if model.states else ""
    return (
        f"{task.model} takes {found}{sizes}{states}. An image input needs a model without states and with one float32 "
        "picture of 1 or 3 channels and a fixed size, NCHW or NHWC, among its inputs: export without --image-input."
    )


def as_pixels(samples: Samples, image: ImageInput, layout: str | None, folder: Path) -> Samples:
    """Returns samples of the float model as those of an artifact that takes pixels; as they are where they are bytes.

    Args:
        samples: Rows, targets and slices.
        image: The input.
        layout: The artifact's: NHWC or NCHW.
        folder: Where they are written.

    Raises:
        DataError: the rows were not made of pixels.
    """
    return _rewritten(samples, image, folder, lambda values: image.pixels(values, layout))


def snapped(samples: Samples, image: ImageInput, folder: Path) -> Samples:
    """Returns samples whose pictures are whole pixels, so that the float model sees what the artifact sees.

    Raises:
        DataError: the rows were not made of pixels.
    """
    return _rewritten(samples, image, folder, lambda values: image.values(image.pixels(values)))


def _rewritten(
    samples: Samples, image: ImageInput, folder: Path, change: Callable[[NDArray[Any]], NDArray[Any]]
) -> Samples:
    """Returns the samples with each row of the picture changed."""
    column = samples.names.index(image.spec.name) if image.spec.name in samples.names else 0
    if str(samples.arrays()[column].dtype) == "uint8":
        return samples
    targets, slices = samples.targets(), samples.slices()
    items = samples.item_of_row()
    with SampleWriter(folder, samples.names) as writer:
        for row, item in zip(samples.rows(), items, strict=True):
            changed = list(row)
            changed[column] = change(row[column])
            writer.add(tuple(changed), item=int(item))
        for item in range(samples.items):
            writer.add_item(None if targets is None else targets[item], slices[item] if slices else None)
    return Samples.open(folder)
