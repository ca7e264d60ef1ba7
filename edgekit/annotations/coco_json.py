"""COCO's instances and keypoints: one JSON file about a folder of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from edgekit.annotations.classes import numbered_by_name
from edgekit.annotations.picture import AnnotatedPicture, Instance, Polygons
from edgekit.errors import DataError
from edgekit.files.bounded_reading import parse_json, read_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FOLDERS: Final = ("", "images", "../images", "..")
"""Where the pictures lie, seen from the JSON file, if nobody says it."""

_LARGEST_BYTES: Final = 1 << 30
"""instances_train2017.json has 450 MB."""


def read_coco(path: Path, images: Path | None, labels: Sequence[str]) -> list[AnnotatedPicture]:
    """Returns the pictures of a COCO file in the order of their numbers; one without annotations has no instance.

    Args:
        path: The JSON file.
        images: Folder of the pictures; None looks beside the file.
        labels: The model's labels, () where it has none.

    Raises:
        DataError: no COCO file, or a fault in it: the message names the entry.
    """
    data = _tables(path)
    names = {number: str(item["name"]) for number, item in _by_id(data["categories"], "categories", "name", path)}
    classes = numbered_by_name(names, labels, path)
    pictures = dict(_by_id(data["images"], "images", "file_name", path))
    instances: dict[int, list[Instance]] = {number: [] for number in pictures}
    for place, item in enumerate(data["annotations"]):
        where = f"{path}: annotations[{place}]"
        if not isinstance(item, dict) or item.get("image_id") not in instances:
            came = item.get("image_id") if isinstance(item, dict) else item
            raise DataError(f"{where} has the image_id {came!r}, which no entry of images has.")
        if item.get("category_id") not in classes:
            raise DataError(
                f"{where} has the category_id {item.get('category_id')!r}, which no entry of categories has."
            )
        instances[item["image_id"]].append(_instance(item, classes, where))
    folder = _folder(path, images, [str(item["file_name"]) for item in pictures.values()])
    return [
        AnnotatedPicture(file=folder / str(pictures[number]["file_name"]), instances=tuple(instances[number]))
        for number in sorted(pictures)
    ]


def _tables(path: Path) -> dict[str, list[Any]]:
    try:
        data: Any = parse_json(read_text(path, DataError, limit_bytes=_LARGEST_BYTES), str(path), DataError)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist. Give a COCO file such as instances_val.json.") from None
    missing = [
        name
        for name in ("images", "annotations", "categories")
        if not isinstance(data, dict) or not isinstance(data.get(name), list)
    ]
    if missing:
        raise DataError(
            f"{path} is no COCO file: it has no list {', '.join(missing)}. Expected images, annotations and categories."
        )
    return dict(data)


def _by_id(items: Sequence[Any], table: str, key: str, path: Path) -> list[tuple[int, Mapping[str, Any]]]:
    for place, item in enumerate(items):
        if not isinstance(item, dict) or not isinstance(item.get("id"), int) or key not in item:
            raise DataError(f"{path}: {table}[{place}] has no whole number id, or no {key}.")
    return [(item["id"], item) for item in items]


def _instance(item: Mapping[str, Any], classes: Mapping[int, int], where: str) -> Instance:
    """Returns one annotation.

    Raises:
        DataError: its box, shape or points are not what COCO says.
    """
    box: object = item.get("bbox")
    if not _are_numbers(box) or len(box) != 4 or box[2] < 0 or box[3] < 0:
        raise DataError(f"{where} has the bbox {box!r}; expected x, y, width and height in pixels.")
    shape: object = item.get("segmentation")
    return Instance(
        box=(float(box[0]), float(box[1]), float(box[0] + box[2]), float(box[1] + box[3])),
        category=classes[item["category_id"]],
        crowd=bool(item.get("iscrowd", 0)),
        outline=_outline(shape, where) if isinstance(shape, list) else (),
        runs=dict(shape) if isinstance(shape, dict) else None,
        points=_points(item["keypoints"], where) if "keypoints" in item else None,
    )


def _outline(shape: Sequence[Any], where: str) -> Polygons:
    import numpy as np

    if not all(_are_numbers(part) and len(part) >= 6 and len(part) % 2 == 0 for part in shape):
        raise DataError(f"{where} has a segmentation that is no list of polygons x1, y1, x2, y2, x3, y3 and so on.")
    return tuple(np.asarray(part, np.float64).reshape(-1, 2) for part in shape)


def _points(values: object, where: str) -> NDArray[np.float64]:
    import numpy as np

    if not _are_numbers(values) or len(values) % 3:
        raise DataError(f"{where} has keypoints that are no list of x, y and visible of each point.")
    return np.asarray(values, np.float64).reshape(-1, 3)


def _are_numbers(values: object) -> TypeGuard[list[float]]:
    return isinstance(values, list) and all(
        isinstance(value, (int, float)) and not isinstance(value, bool) for value in values
    )


def _folder(path: Path, images: Path | None, names: Sequence[str]) -> Path:
    """Returns the folder of the pictures.

    Raises:
        DataError: the first picture is in none.
    """
    first = names[0] if names else ""
    tried = [images] if images is not None else [path.parent / name for name in (*_FOLDERS, path.stem)]
    tried += [] if images is not None else [path.parent.parent / path.stem.removeprefix("instances_")]
    for folder in tried:
        if not first or (folder / first).is_file():
            return folder
    raise DataError(
        f"{path}: the picture {first} is not in {tried[0]}{' or near it' if tried[1:] else ''}. "
        'Say where the pictures lie: [data] images = "val2017" in the task file.'
    )
