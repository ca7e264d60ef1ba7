"""What each evaluation item contributed to an artifact's metric, kept so that two artifacts can be compared in pairs.

Two exports of nearly the same model answer most items alike. Their difference is known far better item by item than
from two means, and that is what makes a limit of half a point on a few hundred items mean something.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_FLOATS: Final = 20_000
"""Yes/no scores take a bit each; others four bytes, and a report of many megabytes helps nobody."""


def encode_scores(scores: NDArray[np.float64]) -> dict[str, Any] | None:
    """Returns one score an item (n,) as JSON: bits where all are 0 or 1, else 32-bit floats; None if too many."""
    import numpy as np

    if np.isin(scores, (0.0, 1.0)).all():
        data, kind = np.packbits(scores.astype(bool)).tobytes(), "bits"
    elif len(scores) <= MOST_FLOATS:
        data, kind = scores.astype("<f4").tobytes(), "float32"
    else:
        return None
    return {"kind": kind, "count": len(scores), "zlib_base64": base64.b64encode(zlib.compress(data, 9)).decode()}


def unpack_scores(data: Mapping[str, Any]) -> bytes:
    """Returns the bytes of the scores that `encode_scores` wrote, without NumPy: reports are checked at every gate.

    Raises:
        ValueError: something else.
    """
    count = data["count"]
    size = (count + 7) // 8 if data["kind"] == "bits" else 4 * count
    try:
        # No more than there should be: a few bytes can unpack to gigabytes.
        unpacked = zlib.decompressobj().decompress(base64.b64decode(data["zlib_base64"], validate=True), size + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if len(unpacked) != size:
        raise ValueError(f"{len(unpacked)} bytes where {size} are {count} scores")
    return unpacked


def decode_scores(data: Mapping[str, Any]) -> NDArray[np.float64]:
    """Returns the scores (n,) that `encode_scores` wrote.

    Raises:
        ValueError: something else.
    """
    import numpy as np

    raw = np.frombuffer(unpack_scores(data), np.uint8)
    if data["kind"] == "bits":
        return np.unpackbits(raw, count=data["count"]).astype(np.float64)
    return raw.view("<f4").astype(np.float64)
