"""Which class number of the model an annotation's class has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgekit.errors import DataError


def numbered_by_name(names: Mapping[int, str], labels: Sequence[str], source: Path) -> dict[int, int]:
    """Returns the model's class number for each number in the data.

    The model's labels decide by name where it has some; else the data's own numbers count, in their order from 0.

    Args:
        names: Number in the data to name.
        labels: The model's labels, () where it has none.
        source: The data, for the message.

    Raises:
        DataError: the labels lack a name of the data.
    """
    if not labels:
        return {number: place for place, number in enumerate(sorted(names))}
    places = {label.strip().lower(): place for place, label in enumerate(labels)}
    missing = [name for name in names.values() if name.strip().lower() not in places]
    if missing:
        raise DataError(
            f"{source} has the classes {', '.join(missing[:5])}{', ...' if missing[5:] else ''}, and [model] labels "
            "has no such line. Write the labels as the data calls them, one a line in the order of the model's "
            "classes."
        )
    return {number: places[name.strip().lower()] for number, name in names.items()}
