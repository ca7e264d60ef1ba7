"""Annotated pictures as evaluation items: the picture as the model takes it, its objects in pixels of the input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from edgekit.annotations.picture import AnnotatedPicture, Instance
from edgekit.errors import DataError
from edgekit.model import TensorSpec
from edgekit.task.instance_masks import decode_runs, draw_outlines, encode_instances
from edgekit.task.pictures import Placement, image_and_placement, open_picture, place_picture
from edgekit.task.task import ImagePreprocessing
from edgekit.task.task_kinds import Targets

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_UNLABELLED: Final = 255
"""Class of the pixels beside a picture: they do not count."""


def annotated_items(
    pictures: Sequence[AnnotatedPicture],
    targets: Targets | None,
    spec: TensorSpec,
    preprocessing: ImagePreprocessing,
) -> Iterator[object]:
    """Yields (inputs, target) of each picture, or inputs alone where no targets are wanted.

    Args:
        pictures: As a reader found them.
        targets: What the metric compares with; None for calibration.
        spec: The model's input.
        preprocessing: How a picture becomes that.

    Raises:
        DataError: a picture cannot be read, or its annotation lacks what the targets need.
    """
    for picture in pictures:
        pixels, place = image_and_placement(picture.file, spec, preprocessing)
        if targets is None:
            yield (pixels,)
        elif targets == "mask":
            yield (pixels,), [_mask(picture, place)]
        else:
            yield (pixels,), _objects(picture, place, targets)


def _objects(picture: AnnotatedPicture, place: Placement, targets: Targets) -> object:
    """Returns the target of one picture: a table of boxes or poses, or the text of its instances."""
    import numpy as np

    boxes = [_placed_box(item, picture, place) for item in picture.instances]
    kept = [i for i, box in enumerate(boxes) if box[2] > box[0] and box[3] > box[1]]
    if targets == "instances":
        shapes = [_shape(picture.instances[i], picture, place) for i in kept]
        there = [(mask, picture.instances[i]) for mask, i in zip(shapes, kept, strict=True) if mask.any()]
        classes, crowds = [item.category for _, item in there], [item.crowd for _, item in there]
        return encode_instances([mask for mask, _ in there], classes, crowds)
    rows: list[Any] = []
    for i in kept:
        item = picture.instances[i]
        more = [float(item.crowd)] if targets == "boxes" else _points(item, picture, place)
        rows.append([*boxes[i], item.category, *more])
    if rows:
        return np.asarray(rows, np.float64)
    # A picture without objects counts: what is found there is wrong. Tables of other pictures have the width.
    return np.zeros((0, 6 if targets == "boxes" else 0))


def _placed_box(item: Instance, picture: AnnotatedPicture, place: Placement) -> NDArray[np.float64]:
    """Returns the box in pixels of the input, cut at its edge."""
    import numpy as np

    corners = place.points(np.asarray(item.box).reshape(2, 2) * _unit(picture, place))
    return np.clip(corners, 0, place.size).reshape(4)


def _points(item: Instance, picture: AnnotatedPicture, place: Placement) -> list[float]:
    """Returns x, y, visible of each point; what lies outside of the input is not visible."""
    import numpy as np

    if item.points is None:
        raise DataError(f"An object of {picture.file} has no keypoints, which the task pose needs.")
    moved = place.points(item.points[:, :2] * _unit(picture, place))
    inside = ((moved >= 0) & (moved <= np.asarray(place.size))).all(1)
    return np.concatenate([moved, (item.points[:, 2] * inside)[:, None]], axis=1).reshape(-1).tolist()


def _shape(item: Instance, picture: AnnotatedPicture, place: Placement) -> NDArray[np.bool_]:
    """Returns the mask (H, W) of an instance in the input."""
    import numpy as np
    from PIL import Image

    if item.runs is not None:
        mask = Image.fromarray(_decoded(item.runs, picture) * 255)
        return np.asarray(place_picture(mask, place, 0, nearest=True)) > 0
    if not item.outline:
        raise DataError(f"An object of {picture.file} has no outline, which the task instance_segmentation needs.")
    moved = [place.points(outline * _unit(picture, place)) for outline in item.outline]
    return draw_outlines(moved, place.size[1], place.size[0])


def _decoded(runs: dict[str, Any], picture: AnnotatedPicture) -> NDArray[np.uint8]:
    """Returns COCO's runs, compressed text or a list of counts column by column, as a mask (h, w)."""
    import numpy as np

    counts, size = runs.get("counts"), runs.get("size")
    if isinstance(counts, str):
        return decode_runs(runs)
    if not isinstance(counts, list) or not isinstance(size, list) or sum(counts) != size[0] * size[1]:
        raise DataError(f"A mask of {picture.file} is no list of counts that fill its size {size}.")
    values = np.repeat(np.arange(len(counts)) % 2, counts)
    return values.reshape(size[1], size[0]).T.astype(np.uint8)


def _mask(picture: AnnotatedPicture, place: Placement) -> NDArray[np.int64]:
    """Returns the class of each pixel of the input (H, W)."""
    import numpy as np

    if picture.mask is None:
        raise DataError(
            f"{picture.file} has boxes or outlines and no mask of class numbers, which the task segmentation needs. "
            "Give a folder with images and masks."
        )
    # As the file has it: a palette's numbers are the classes, its colours are not.
    image = open_picture(picture.mask, None)
    if image.mode not in ("L", "P", "1", "I", "I;16"):
        raise DataError(
            f"The mask {picture.mask} is a picture of colours ({image.mode}); expected a PNG whose pixels are class "
            "numbers, grey or with a palette."
        )
    if image.mode == "1":
        image = image.convert("L").point([0] + [1] * 255)
    elif image.mode not in ("L", "P"):
        image = image.convert("I")
    size = np.asarray(place.resized) / np.asarray(place.scale)
    if not np.allclose(size, image.size, atol=0.5):
        raise DataError(
            f"The mask {picture.mask} is {image.size[0]} x {image.size[1]} and its picture {size[0]:.0f} x "
            f"{size[1]:.0f}. Write the mask in the picture's size."
        )
    return np.asarray(place_picture(image, place, _UNLABELLED, nearest=True)).astype(np.int64)


def _unit(picture: AnnotatedPicture, place: Placement) -> NDArray[np.float64]:
    """Returns what coordinates are multiplied with to be pixels of the picture."""
    import numpy as np

    return np.asarray(place.resized) / np.asarray(place.scale) if picture.shares else np.ones(2)
