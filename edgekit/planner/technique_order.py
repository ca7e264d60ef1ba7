"""In which order techniques go together: what changes the network most comes first, what rounds weights last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

PLACES: Final = {
    "distill": 0,
    "drop_layers": 1,
    "prune_heads": 1,
    "prune_channels": 1,
    "factorize": 2,
    "smooth_activations": 3,
    "equalize": 3,
    "lora_recovery": 3,
    "sparsify": 4,
    "share_weights": 5,
    "round_weights": 5,
    "qat": 5,
}
"""Technique to its place; of one place any may come first. Those of third parties have none and are never warned of."""

_UNDOES: Final = (
    "trains another network in the model's place, so nothing of it is left",
    "takes parts away and changes what is left, so it no longer fits",
    "replaces weights by thinner ones, so it no longer fits",
    "changes weights once more, so it is undone",
    "sets weights to zero and fits the others anew, so it is undone",
)
"""By place: what a technique does to the work of one that should come later and came earlier."""


def order_warning(names: Sequence[str]) -> str:
    """Returns one sentence about the first pair of techniques in an unwise order, "" where there is none.

    Args:
        names: Techniques in the order in which they are applied.
    """
    known = [name for name in names if name in PLACES]
    for i, later in enumerate(known):
        earlier = max(known[:i], key=PLACES.__getitem__, default=later)
        if PLACES[earlier] > PLACES[later]:
            # Sorting keeps the order of those that share a place; strangers stay behind what they followed.
            wiser = ", ".join(sorted(known, key=PLACES.__getitem__))
            return f"What {earlier} does comes before {later}, which {_UNDOES[PLACES[later]]}; wiser: {wiser}."
    return ""
