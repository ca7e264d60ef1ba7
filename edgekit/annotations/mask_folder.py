"""Semantic segmentation as folders: `images`, and `masks` with a PNG of the same name, its pixels class numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from edgekit.annotations.picture import AnnotatedPicture
from edgekit.annotations.suffixes import pictures_in
from edgekit.errors import DataError

MASK_FOLDERS: Final = ("masks", "annotations", "SegmentationClass")
_IMAGE_FOLDERS: Final = ("images", "JPEGImages")


def read_masks(folder: Path) -> list[AnnotatedPicture]:
    """Returns the pictures that have a mask, in the order of their names.

    Raises:
        DataError: no such folders, or a picture without a mask.
    """
    images = next((folder / name for name in _IMAGE_FOLDERS if (folder / name).is_dir()), None)
    masks = next((folder / name for name in MASK_FOLDERS if (folder / name).is_dir()), None)
    if images is None or masks is None:
        raise DataError(
            f"{folder} is no folder of masks: expected a folder images with pictures, and masks with a PNG of the same "
            "name each."
        )
    files = pictures_in(images)
    if not files:
        raise DataError(f"{images} holds no picture.")
    found = [(file, (masks / file.relative_to(images)).with_suffix(".png")) for file in files]
    if without := [file for file, mask in found if not mask.is_file()]:
        raise DataError(
            f"{len(without)} of {len(files)} pictures in {images} have no mask, the first {without[0].name}: expected "
            f"{masks / without[0].with_suffix('.png').name}."
        )
    return [AnnotatedPicture(file=file, mask=mask) for file, mask in found]
