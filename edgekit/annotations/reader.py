"""Which reader a data set needs: told by its files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekit.annotations.coco_json import read_coco
from edgekit.annotations.mask_folder import MASK_FOLDERS, read_masks
from edgekit.annotations.picture import AnnotatedPicture
from edgekit.annotations.voc_xml import read_voc
from edgekit.annotations.yolo_text import read_yolo


def kind_of(path: Path) -> str | None:
    """Returns what a path leads to: coco, yolo, voc or masks; None where it is none of them."""
    suffix = path.suffix.lower()
    if suffix in (".json", ".yaml", ".yml"):
        return "coco" if suffix == ".json" else "yolo"
    if (path / "data.yaml").is_file() or ((path / "images").is_dir() and (path / "labels").is_dir()):
        return "yolo"
    if any(path.glob("*.xml")) or any((path / "Annotations").glob("*.xml")):
        return "voc"
    return "masks" if any((path / name).is_dir() for name in MASK_FOLDERS) else None


def read_annotations(path: Path, images: Path | None, labels: Sequence[str]) -> list[AnnotatedPicture]:
    """Returns the annotated pictures of a data set that `kind_of` knows.

    Args:
        path: The file or folder.
        images: Folder of the pictures, for COCO; None looks near the file.
        labels: The model's labels, () where it has none.

    Raises:
        DataError: a fault in the data; the message names the file and the place.
        MissingDependencyError: a library that reads it is not installed.
    """
    kind = kind_of(path)
    if kind == "coco":
        return read_coco(path, images, labels)
    if kind == "yolo":
        return read_yolo(path, labels)
    return read_voc(path, labels) if kind == "voc" else read_masks(path)
