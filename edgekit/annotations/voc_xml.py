"""Pascal VOC: a folder `Annotations` with one XML file a picture, and the pictures in `JPEGImages` or beside."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from edgekit.annotations.classes import numbered_by_name
from edgekit.annotations.picture import AnnotatedPicture, Instance
from edgekit.errors import DataError
from edgekit.files.bounded_reading import SETTINGS_BYTES, read_text

_FOLDERS: Final = ("JPEGImages", "images", "")


def read_voc(folder: Path, labels: Sequence[str]) -> list[AnnotatedPicture]:
    """Returns the pictures of a VOC data set, in the order of their names; difficult objects are crowds.

    Args:
        folder: With `Annotations`, or with the XML files themselves.
        labels: The model's labels; without them the names in the data, sorted, are the classes 0, 1, and so on.

    Raises:
        DataError: no such data set, or a fault in it: the message names the file.
    """
    files = sorted((folder / "Annotations").glob("*.xml")) or sorted(folder.glob("*.xml"))
    if not files:
        raise DataError(f"{folder} holds no XML file: expected a folder Annotations with one a picture.")
    read = [(file, _root(file)) for file in files]
    found = sorted({_word(item, "name", file) for file, root in read for item in root.iter("object")})
    names = dict(enumerate(found))
    numbers = numbered_by_name(names, labels, folder)
    classes = {names[number]: place for number, place in numbers.items()}
    return [
        AnnotatedPicture(
            file=_picture(file, root, folder),
            instances=tuple(_instance(item, classes, file) for item in root.iter("object")),
        )
        for file, root in read
    ]


def _root(file: Path) -> ET.Element:
    text = read_text(file, DataError, limit_bytes=SETTINGS_BYTES)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise DataError(f"{file} declares entities, which may grow without limit. Remove the DOCTYPE; VOC has none.")
    try:
        return ET.fromstring(text)  # noqa: S314  (no entity can be declared, see above)
    except (ET.ParseError, RecursionError, ValueError) as error:
        raise DataError(f"{file} cannot be read as XML: {error}.") from error


def _word(item: ET.Element, key: str, file: Path) -> str:
    text = (item.findtext(key) or "").strip()
    if not text:
        raise DataError(f"{file}: an object has no {key}.")
    return text


def _instance(item: ET.Element, classes: Mapping[str, int], file: Path) -> Instance:
    box = item.find("bndbox")
    texts = [box.findtext(key) if box is not None else None for key in ("xmin", "ymin", "xmax", "ymax")]
    try:
        values = [float(text or "") for text in texts]
    except ValueError:
        values = []
    if len(values) != 4 or not all(map(math.isfinite, values)) or values[2] <= values[0] or values[3] <= values[1]:
        raise DataError(f"{file}: an object has the bndbox {texts}; expected xmin < xmax and ymin < ymax in pixels.")
    # VOC counts pixels from 1.
    return Instance(
        box=(values[0] - 1, values[1] - 1, values[2], values[3]),
        category=classes[_word(item, "name", file)],
        crowd=(item.findtext("difficult") or "").strip() == "1",
    )


def _picture(file: Path, root: ET.Element, folder: Path) -> Path:
    """Returns the picture of an XML file: by the name that it gives, else by its own.

    Raises:
        DataError: there is none.
    """
    names = [
        name for name in ((root.findtext("filename") or "").strip(), f"{file.stem}.jpg", f"{file.stem}.png") if name
    ]
    for place in _FOLDERS:
        for name in names:
            # A name with folders in it would lead out of the data set.
            path = folder / place / Path(name).name
            if path.is_file():
                return path
    raise DataError(f"{file}: the picture {names[0]} is in none of {', '.join(str(folder / x) for x in _FOLDERS)}.")
