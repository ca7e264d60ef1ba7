"""Outputs that were split into their members, joined again for whoever needs them whole: metrics and their decoders."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from edgekit.errors import InputError
from edgekit.files.bounded_reading import parse_json
from edgekit.model import JoinedOutput

if TYPE_CHECKING:
    from numpy.typing import NDArray

JOINED_KEY: Final = "edgekit.joined"
"""Metadata entry: JSON, a list of objects with name, axis and members."""


def joined_metadata(joined: Sequence[JoinedOutput]) -> dict[str, str]:
    """Returns what is embedded in an artifact whose outputs were split; nothing for others."""
    if not joined:
        return {}
    items = [{"name": item.name, "axis": item.axis, "members": list(item.members)} for item in joined]
    return {JOINED_KEY: json.dumps(items, separators=(",", ":"))}


def read_joined(metadata: Mapping[str, str]) -> tuple[JoinedOutput, ...]:
    """Returns which outputs of an artifact are members of one; what cannot be read counts as not there."""
    try:
        items = parse_json(metadata.get(JOINED_KEY, "[]"), JOINED_KEY)
        return tuple(
            JoinedOutput(name=str(item["name"]), axis=int(item["axis"]), members=tuple(map(str, item["members"])))
            for item in items
        )
    except (InputError, KeyError, TypeError, ValueError):
        return ()  # somebody else's entry of that name


def join(
    names: Sequence[str], arrays: Sequence[NDArray[Any]], joined: Sequence[JoinedOutput]
) -> tuple[tuple[str, ...], tuple[NDArray[Any], ...]]:
    """Returns names and arrays (rows, ...) of the outputs as the model had them: members in the place of the first.

    Members that are not there, as in another model, stay apart.
    """
    import numpy as np

    known = dict(zip(names, arrays, strict=True))
    whole = {item.members[0]: item for item in joined if known.keys() >= set(item.members)}
    inside = {member for item in whole.values() for member in item.members[1:]}
    kept = [name for name in names if name not in inside]
    return (
        tuple(whole[name].name if name in whole else name for name in kept),
        tuple(
            np.concatenate([known[member] for member in whole[name].members], axis=whole[name].axis)
            if name in whole
            else known[name]
            for name in kept
        ),
    )
