"""YOLO's text files: a data.yaml, folders `images` and `labels`, one text file a picture.

A line is `class cx cy w h`, `class x1 y1 x2 y2 x3 y3 ...` for an outline, or `class cx cy w h x y visible ...` for a
pose (data.yaml says kpt_shape), all as shares of the picture's sides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgekit.annotations.classes import numbered_by_name
from edgekit.annotations.picture import AnnotatedPicture, Instance
from edgekit.annotations.suffixes import pictures_in
from edgekit.errors import DataError, MissingDependencyError
from edgekit.files.bounded_reading import SETTINGS_BYTES, read_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SPLITS: Final = ("val", "test", "train")


def read_yolo(path: Path, labels: Sequence[str]) -> list[AnnotatedPicture]:
    """Returns the pictures of a YOLO data set, its `val` before `test` and `train`.

    Args:
        path: data.yaml, or a folder with `images` and `labels`.
        labels: The model's labels, () where it has none.

    Raises:
        DataError: no such data set, or a fault in it: the message names file and line.
        MissingDependencyError: PyYAML is not installed.
    """
    if path.is_dir() and not (path / "data.yaml").is_file():
        folder, names, points = path / "images", dict[int, str](), 0
    else:
        source = path / "data.yaml" if path.is_dir() else path
        folder, names, points = _settings(source)
    classes = numbered_by_name(names, labels, path) if names else None
    files = pictures_in(folder)
    if not files:
        raise DataError(
            f"{folder} holds no picture. A YOLO data set has its pictures in images and a text each in labels."
        )
    return [
        AnnotatedPicture(file=file, instances=_instances(_text_of(file, folder), classes, points), shares=True)
        for file in files
    ]


def _settings(path: Path) -> tuple[Path, dict[int, str], int]:
    """Returns (folder of the pictures, number to name, points of a pose)."""
    try:
        import yaml
    except ImportError as error:
        raise MissingDependencyError(
            f"{path} needs PyYAML, which is not installed. Install it from the checkout: pip install -e '.[metrics]'"
        ) from error
    try:
        data: Any = yaml.safe_load(read_text(path, DataError, limit_bytes=SETTINGS_BYTES))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist. Give a data.yaml, or a folder with images and labels.") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise DataError(f"{path} cannot be read as YAML: {str(error).splitlines()[0]}.") from error
    named: Any = data.get("names") if isinstance(data, dict) else None
    names = dict(enumerate(named)) if isinstance(named, list) else named
    if not isinstance(names, dict) or not all(isinstance(number, int) for number in names):
        raise DataError(f"{path} has no names: expected a list of class names, or a table from number to name.")
    split = next((data[name] for name in _SPLITS if isinstance(data.get(name), str)), None)
    if split is None:
        raise DataError(f"{path} names no folder of pictures: expected val, test or train with the path of a folder.")
    base = path.parent / str(data.get("path") or "")
    folder = next((place for place in (base / split, path.parent / split) if place.is_dir()), None)
    if folder is None:
        raise DataError(f"{path}: the folder {base / split} does not exist. Correct path and val in it.")
    return folder, {number: str(name) for number, name in names.items()}, _points_of(data)


def _points_of(data: Mapping[str, Any]) -> int:
    shape: object = data.get("kpt_shape")
    return int(shape[0]) if isinstance(shape, list) and shape and isinstance(shape[0], int) else 0


def _text_of(file: Path, images: Path) -> Path:
    """Returns the text of a picture: beside `images` lies `labels`, with the same folders inside."""
    parts = list(file.parts)
    place = max((i for i, part in enumerate(parts[:-1]) if part == "images"), default=None)
    if place is None:
        return (images.parent / "labels" / file.relative_to(images)).with_suffix(".txt")
    return Path(*parts[:place], "labels", *parts[place + 1 :]).with_suffix(".txt")


def _instances(path: Path, classes: Mapping[int, int] | None, points: int) -> tuple[Instance, ...]:
    """Returns what one text says; a picture without a text, or with an empty one, has no object."""
    try:
        lines = read_text(path, DataError, limit_bytes=SETTINGS_BYTES).splitlines()
    except FileNotFoundError:
        return ()
    return tuple(
        _instance(line, f"{path}, line {number}", classes, points)
        for number, line in enumerate(lines, start=1)
        if line.strip()
    )


def _instance(line: str, where: str, classes: Mapping[int, int] | None, points: int) -> Instance:
    import numpy as np

    try:
        values = [float(word) for word in line.split()]
    except ValueError:
        values = []
    if len(values) < 5 or not all(map(math.isfinite, values)) or values[0] % 1:
        raise DataError(f'{where}: "{line.strip()[:60]}" was read; expected class cx cy w h, or class and an outline.')
    rest = np.asarray(values[1:])
    if points and len(rest) not in (4 + 2 * points, 4 + 3 * points):
        raise DataError(f"{where} has {len(values)} numbers; a pose of {points} points has {5 + 3 * points}.")
    shape = rest if points or len(rest) == 4 else rest[:0]
    shares = rest[:4] if shape.size else rest
    if (shares < -1e-3).any() or (shares > 1 + 1e-3).any():
        raise DataError(
            f"{where} holds {float(shares[np.abs(shares - 0.5).argmax()]):g}; expected shares of the picture's sides, "
            "0 to 1."
        )
    number = int(values[0])
    if classes is not None and number not in classes:
        raise DataError(f"{where} has the class {number}; data.yaml names {', '.join(map(str, sorted(classes)[:10]))}.")
    category = number if classes is None else classes[number]
    if not shape.size:
        if len(rest) % 2 or len(rest) < 6:
            raise DataError(
                f"{where} has an outline of {len(rest)} numbers; expected x and y of three points at least."
            )
        outline = rest.reshape(-1, 2)
        low, high = outline.min(0), outline.max(0)
        return Instance(box=(low[0], low[1], high[0], high[1]), category=category, outline=(outline,))
    x, y, width, height = map(float, rest[:4])
    return Instance(
        box=(x - width / 2, y - height / 2, x + width / 2, y + height / 2),
        category=category,
        points=_points(rest[4:], points) if points else None,
    )


def _points(values: NDArray[np.float64], points: int) -> NDArray[np.float64]:
    """Returns x, y, visible of each point; without a third number a point at 0, 0 is not visible."""
    import numpy as np

    table = values.reshape(points, -1)
    if table.shape[1] == 3:
        return table
    return np.concatenate([table, 2.0 * (table > 0).any(1, keepdims=True)], axis=1, dtype=np.float64)
