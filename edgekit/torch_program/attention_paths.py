"""Turns off what torch's attention layers choose for speed alone while a model is captured."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

_DETECT: Final = "_detect_is_causal_mask"
"""Function of torch.nn.modules.transformer: (mask, hint or None, size) -> whether the mask is causal."""


@contextmanager
def plain_attention() -> Generator[None]:
    """Lets torch's attention and transformer layers compute by plain operators meanwhile.

    Their fast path is one opaque operator that no converter knows. And `TransformerEncoder` and `TransformerDecoder`
    read a mask's values, to hint that it is causal where it is: no graph holds a branch on values, and with the mask
    given the result is the same without the hint.
    """
    import torch
    from torch.nn.modules import transformer

    fast_path, detect = torch.backends.mha.get_fastpath_enabled(), getattr(transformer, _DETECT)
    torch.backends.mha.set_fastpath_enabled(False)
    setattr(transformer, _DETECT, lambda _, is_said_to_be=None, *__: is_said_to_be is True)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        setattr(transformer, _DETECT, detect)
