"""How a picture becomes a model's input, and where its pixels come to lie there."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.errors import DataError
from edgekit.model import TensorSpec
from edgekit.task.task import ImagePreprocessing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

LETTERBOX_PIXEL: Final = 114
"""Grey of the bars beside a picture that keeps its proportions, as YOLO's trainers have it."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a picture lies in the model's input: x' = x * scale + left, in pixels from the upper left corner.

    Attributes:
        scale: Of x and of y.
        left: Pixels from the input's left edge to the picture's; negative where it is cut.
        top: The same from above.
        resized: Width and height of the resized picture.
        size: Width and height of the input.
    """

    scale: tuple[float, float]
    left: int
    top: int
    resized: tuple[int, int]
    size: tuple[int, int]

    def points(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns points (n, 2) x, y of the picture in pixels of the input."""
        import numpy as np

        return np.asarray(points * np.asarray(self.scale) + np.asarray([self.left, self.top]), np.float64)


def one_image(specs: tuple[TensorSpec, ...], title: str) -> TensorSpec:
    """Returns the model's one input, which takes a picture.

    Raises:
        DataError: it takes no picture, or more than that.
    """
    if len(specs) != 1 or len(specs[0].shape) != 4 or specs[0].layout not in ("NCHW", "NHWC"):
        names = ", ".join(f"{spec.name} {spec.shape}" for spec in specs)
        raise DataError(f"{title} can only feed a model with one image input; this one takes {names}.")
    return specs[0]


def input_size(spec: TensorSpec) -> tuple[int, int, int]:
    """Returns width, height and channels of an image input."""
    height, width = spec.shape[2:] if spec.layout == "NCHW" else spec.shape[1:3]
    return width, height, spec.shape[1] if spec.layout == "NCHW" else spec.shape[3]


def placement(picture: tuple[int, int], spec: TensorSpec, preprocessing: ImagePreprocessing) -> Placement:
    """Returns where a picture of this width and height comes to lie."""
    width, height, _ = input_size(spec)
    if preprocessing.letterbox:
        scale = min(width / picture[0], height / picture[1])
        resized = (min(width, round(picture[0] * scale)), min(height, round(picture[1] * scale)))
    elif preprocessing.resize is None:
        resized = (width, height)
    else:
        scale = preprocessing.resize / min(picture)
        resized = (max(width, round(picture[0] * scale)), max(height, round(picture[1] * scale)))
    return Placement(
        scale=(resized[0] / picture[0], resized[1] / picture[1]),
        left=(width - resized[0]) // 2 if preprocessing.letterbox else -((resized[0] - width) // 2),
        top=(height - resized[1]) // 2 if preprocessing.letterbox else -((resized[1] - height) // 2),
        resized=resized,
        size=(width, height),
    )


def read_image(file: Path, spec: TensorSpec, preprocessing: ImagePreprocessing) -> NDArray[Any]:
    """Returns one image, (1, C, H, W) or (1, H, W, C): resized, placed or cropped, (pixel - mean) / std."""
    return image_and_placement(file, spec, preprocessing)[0]


def image_and_placement(
    file: Path, spec: TensorSpec, preprocessing: ImagePreprocessing
) -> tuple[NDArray[Any], Placement]:
    """Returns one image as the model takes it, and where the picture lies in it.

    Raises:
        DataError: it cannot be read.
    """
    import numpy as np

    channels = input_size(spec)[2]
    image = open_picture(file, "L" if channels == 1 else "RGB")
    place = placement(image.size, spec, preprocessing)
    placed = place_picture(image, place, LETTERBOX_PIXEL)
    pixels: NDArray[Any] = np.asarray(placed, dtype=np.float32).reshape(place.size[1], place.size[0], channels)
    if preprocessing.color == "bgr":
        pixels = pixels[:, :, ::-1]
    pixels = (pixels - np.asarray(preprocessing.mean, np.float32)) / np.asarray(preprocessing.std, np.float32)
    if spec.layout == "NCHW":
        pixels = pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(pixels[None]).astype(spec.dtype), place


def place_picture(image: Image, place: Placement, fill: int, *, nearest: bool = False) -> Image:
    """Returns the picture resized and laid into the input's size; what lies beside it has the value `fill`."""
    from PIL import Image

    image = image.resize(place.resized, Image.Resampling.NEAREST if nearest else Image.Resampling.BILINEAR)
    if place.left <= 0 and place.top <= 0:
        return image.crop((-place.left, -place.top, place.size[0] - place.left, place.size[1] - place.top))
    bands = len(image.getbands())
    whole = Image.new(image.mode, place.size, (fill,) * bands if bands > 1 else fill)
    whole.paste(image, (place.left, place.top))
    return whole


def open_picture(file: Path, mode: str | None) -> Image:
    """Returns a picture, its pixels read; `mode` as PIL calls it, None as the file has it.

    Raises:
        DataError: it cannot be read, or Pillow is not installed.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise DataError("Folders of images need Pillow, which is not installed: pip install pillow") from error
    try:
        with Image.open(file) as opened:
            opened.load()
            return opened.copy() if mode is None else opened.convert(mode)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError) as error:
        raise DataError(f"The image {file} cannot be read: {error}") from error
    except (ValueError, SyntaxError, EOFError, MemoryError, OverflowError, TypeError, struct.error) as error:
        # What PIL's decoders raise on damaged files.
        first = str(error) or type(error).__name__
        raise DataError(f"The image {file} cannot be read: {first}") from error
