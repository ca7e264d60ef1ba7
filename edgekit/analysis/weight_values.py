"""How well a weight's values deflate in each form it may be stored in.

A download is a deflated file, and what deflate gains depends on the values: float32 weights lose some 8 %, 8-bit ones
1 to 10 %, pruned ones far more. So the ratio is measured on the weights themselves, in every form, on samples.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GROUP: Final = 32
"""Columns that share a scale in the 4-bit form."""

GROUP_SCALES: Final = "int4_scales"
"""Key of the ratio of these scales."""

WIDENED: Final = "float16_as_float32"
"""Key of the ratio of values that were rounded to float16 and lie in 4 bytes."""

_SAMPLE_ELEMENTS: Final = 1 << 16
"""Elements looked at per weight. Deflate's window is 32 KiB: a longer stretch does not compress better."""


def content_key(values: NDArray[Any]) -> str:
    """Returns a hash of type, shape and values: tied weights have the same one."""
    import numpy as np

    digest = hashlib.sha256(f"{values.dtype}{values.shape}".encode())
    digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def deflated_ratios(values: NDArray[Any]) -> dict[str, float]:
    """Returns deflated bytes per stored byte: for each `StorageForm`, and for the float16 scales of 4-bit groups.

    Args:
        values: A float weight, output channels first: (channels, ...). Other types are measured as they are, under
            every form.
    """
    import numpy as np

    if values.size == 0:
        return {}
    if values.dtype.kind != "f":
        ratio = _ratio(np.ascontiguousarray(values).reshape(-1)[:_SAMPLE_ELEMENTS].tobytes())
        return dict.fromkeys(("float32", "float16", "int8", "int4", GROUP_SCALES, WIDENED), ratio)
    sample = _sample(values)
    codes, scales = _int4(sample)
    return {
        "float32": _ratio(sample.astype(np.float32).tobytes()),
        # Values beyond float16's range become infinite here; the converter reports that, not this ratio.
        "float16": _ratio(_to_float16(sample).tobytes()),
        "int8": _ratio(_int8(sample).tobytes()),
        "int4": _ratio(codes.tobytes()),
        GROUP_SCALES: _ratio(scales.tobytes()),
        WIDENED: _ratio(_to_float16(sample).astype(np.float32).tobytes()),
    }


def _sample(values: NDArray[Any]) -> NDArray[np.float32]:
    """Returns whole rows (output channels) from all over the weight, about `_SAMPLE_ELEMENTS` values."""
    import numpy as np

    rows = values.reshape(values.shape[0], -1) if values.ndim > 1 else values.reshape(1, -1)
    columns = rows.shape[1]
    wanted = max(1, _SAMPLE_ELEMENTS // columns)
    if rows.shape[0] > wanted:
        rows = rows[np.linspace(0, rows.shape[0] - 1, wanted).astype(int)]
    return np.ascontiguousarray(rows[:, : max(_SAMPLE_ELEMENTS, GROUP)], dtype=np.float32)


def _to_float16(sample: NDArray[np.float32]) -> NDArray[np.float16]:
    import numpy as np

    with np.errstate(over="ignore"):
        return sample.astype(np.float16)


def _int8(sample: NDArray[np.float32]) -> NDArray[np.int8]:
    """Returns symmetric 8-bit codes with a scale per row."""
    import numpy as np

    finite = np.nan_to_num(sample)
    scale = np.maximum(np.abs(finite).max(axis=1, keepdims=True), 1e-12) / 127
    codes: NDArray[np.int8] = np.clip(np.round(finite / scale), -127, 127).astype(np.int8)
    return codes


def _int4(sample: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """Returns symmetric 4-bit codes, two to a byte, and their scales, one per `GROUP` values."""
    import numpy as np

    flat = np.nan_to_num(sample).reshape(-1)
    flat = np.pad(flat, (0, -flat.size % (2 * GROUP)))
    groups = flat.reshape(-1, GROUP)
    scale = np.maximum(np.abs(groups).max(axis=1, keepdims=True), 1e-12) / 7
    codes = (np.clip(np.round(groups / scale), -8, 7).astype(np.int8) & 0x0F).astype(np.uint8).reshape(-1, 2)
    packed: NDArray[np.uint8] = codes[:, 0] | (codes[:, 1] << 4)
    return packed, _to_float16(scale)


def _ratio(raw: bytes) -> float:
    """Returns deflated bytes per byte, at the level that app stores use."""
    compressor = zlib.compressobj(level=6, wbits=-15)
    # A file is one stream: the few bytes that end one do not count per weight.
    return min(1.0, max(0, len(compressor.compress(raw)) + len(compressor.flush()) - 5) / max(len(raw), 1))
