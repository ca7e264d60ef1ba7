"""Which axis of an image-like tensor is what."""

from __future__ import annotations

from typing import Final, Literal

_COLOURS: Final = frozenset({1, 3, 4})
"""Channels of a picture: grey, RGB, RGB and depth or alpha."""


def guess_layout(shape: tuple[int, ...], dtype: str, usual: Literal["NCHW", "NHWC"]) -> str | None:
    """Returns NCHW or NHWC for a tensor that can be a picture or a feature map, else None.

    Args:
        shape: (N, ...), four axes for a picture.
        dtype: Any spelling; integers wider than 8 bits are never pictures.
        usual: The framework's own order, which decides where the shape does not.
    """
    if len(shape) != 4 or "int64" in dtype or "int32" in dtype or "bool" in dtype:
        return None
    first, last = shape[1] in _COLOURS, shape[3] in _COLOURS
    if first != last:
        return "NCHW" if first else "NHWC"
    return usual
