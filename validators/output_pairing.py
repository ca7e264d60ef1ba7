"""Which output of an artifact is which of the float model's: by name, then by shape, then by content."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.samples import Samples
from edgekit.validators.output_statistics import sqnr_db

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST_PERMUTED: Final = 6
"""Outputs of one shape that are distinguished by content: 720 orders."""

_CLEARLY_BETTER_DB: Final = 10.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """The order in which an artifact's outputs are the float model's.

    Attributes:
        order: For each of the float model's outputs the place of the artifact's.
        sentence: What was done, "" where nothing had to be.
    """

    order: tuple[int, ...]
    sentence: str = ""


def why_not_comparable(reference: Samples, outputs: Samples) -> str:
    """Returns a sentence that says why outputs cannot be compared one by one, "" where they can."""
    if len(reference.names) != len(outputs.names):
        return (
            f"The artifact has {len(outputs.names)} outputs ({', '.join(outputs.names)}) and the float model "
            f"{len(reference.names)} ({', '.join(reference.names)}): they cannot be compared."
        )
    if reference.count != outputs.count:
        return f"The artifact has outputs for {outputs.count} rows and the float model for {reference.count}."
    theirs, own = reference.arrays(), outputs.arrays()
    for i, (name, expected, array) in enumerate(zip(outputs.names, theirs, own, strict=True)):
        if without_ones(expected.shape) != without_ones(array.shape):
            return (
                f'Output "{name}" has shape {outputs.shapes()[i]} in the artifact and {reference.shapes()[i]} '
                "in the float model: they cannot be compared."
            )
    return ""


def without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns a shape (rows, ...) without sizes of 1 behind the rows: formats differ in those."""
    return (shape[0], *(size for size in shape[1:] if size != 1))


def pair_outputs(reference: Samples, outputs: Samples) -> Pairing:
    """Returns which output is which. Names decide where they are the same, else shapes, else values."""
    count = len(outputs.names)
    same = Pairing(order=tuple(range(count)))
    if count < 2 or count != len(reference.names) or reference.count != outputs.count:
        return same
    if sorted(reference.names) == sorted(outputs.names):
        order = tuple(outputs.names.index(name) for name in reference.names)
        return _said(order, "name", reference, outputs)
    theirs, own = ([without_ones(array.shape) for array in samples.arrays()] for samples in (reference, outputs))
    if sorted(theirs) != sorted(own):
        return same
    if len(set(theirs)) == count:
        return _said(tuple(own.index(shape) for shape in theirs), "shape", reference, outputs)
    return _said(_by_content(reference.arrays(), outputs.arrays(), theirs, own), "content", reference, outputs)


def reorder(outputs: Samples, order: Sequence[int]) -> Samples:
    """Returns a sample folder of edgekit's own with its tensors in another order; its files are renamed."""
    folder = outputs.folder
    for i in range(len(order)):
        (folder / f"{i}.npy").rename(folder / f"{i}.npy.old")
    for i, old in enumerate(order):
        (folder / f"{old}.npy.old").rename(folder / f"{i}.npy")
    names = tuple(outputs.names[old] for old in order)
    path = Path(folder / "samples.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "names": names}))
    return replace(outputs, names=names)


def _by_content(
    reference: Sequence[NDArray[Any]],
    outputs: Sequence[NDArray[Any]],
    theirs: Sequence[tuple[int, ...]],
    own: Sequence[tuple[int, ...]],
) -> tuple[int, ...]:
    """Returns the order in which the worst output of each shape is nearest; theirs where no other is clearly better."""
    order = [-1] * len(theirs)
    for shape in dict.fromkeys(theirs):
        places = [i for i, item in enumerate(theirs) if item == shape]
        found = [i for i, item in enumerate(own) if item == shape]
        best = tuple(found)
        if 1 < len(places) <= _MOST_PERMUTED:
            ratios = {(i, k): sqnr_db(reference[i], outputs[k]) for i in places for k in found}

            def worst(chosen: Sequence[int], ratios: dict[tuple[int, int], float] = ratios) -> float:
                return min(ratios[pair] for pair in zip(places, chosen, strict=True))  # noqa: B023  used at once

            nearest = max(itertools.permutations(found), key=worst)
            if worst(nearest) > worst(best) + _CLEARLY_BETTER_DB:
                best = nearest
        for place, k in zip(places, best, strict=True):
            order[place] = k
    return tuple(order)


def _said(order: tuple[int, ...], how: str, reference: Samples, outputs: Samples) -> Pairing:
    if order == tuple(range(len(order))):
        return Pairing(order=order)
    pairs = ", ".join(f"{outputs.names[k]} with {name}" for k, name in zip(order, reference.names, strict=True))
    return Pairing(order=order, sentence=f"The outputs come in another order and were paired by {how}: {pairs}.")
