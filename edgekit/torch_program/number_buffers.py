"""Buffers that hold one whole number each, so that a capture can compute and branch on them as on Python's numbers.

EnCodec and its kin keep strides and kernel sizes as buffers and pad by what they compute from them. torch.export takes
every buffer as unknown; a tensor that forward makes of a number is known.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn


@contextmanager
def numbers_known(module: nn.Module, call: Callable[[], object]) -> Generator[bool, None, None]:
    """Makes the integer buffers without axes known to a capture meanwhile; gives whether there are any.

    Args:
        module: Whose buffers they are.
        call: Runs the module once. A number that this changes is a state, and stays unknown.
    """
    parts: list[Any] = list(module.modules())
    held: list[dict[str, Tensor | None]] = [dict(part._buffers) for part in parts]  # noqa: SLF001  in order, None too
    kinds = [type(part) for part in parts]
    numbers = _unchanged(held, call)
    try:
        for part, kind, values in zip(parts, kinds, numbers, strict=True):
            for name in values:
                del part._buffers[name]  # noqa: SLF001  a buffer's name comes before a property's where it is written
            if values:
                known = {name: property(_maker(value)) for name, value in values.items()}
                part.__class__ = type(kind.__name__, (kind,), {"__module__": kind.__module__, **known})
        yield any(numbers)
    finally:
        for part, kind, buffers in zip(parts, kinds, held, strict=True):
            part.__class__ = kind
            part._buffers.clear()  # noqa: SLF001  restored in their order
            part._buffers.update(buffers)  # noqa: SLF001


def _unchanged(held: list[dict[str, Tensor | None]], call: Callable[[], object]) -> list[dict[str, Tensor]]:
    """Returns the numbers among buffers that a call does not write to; those that it does get their value back."""
    import torch

    found = [
        {name: value for name, value in buffers.items() if value is not None and _is_number(value)} for buffers in held
    ]
    before = [{name: (value._version, value.clone()) for name, value in values.items()} for values in found]  # noqa: SLF001
    with torch.no_grad():
        call()
        for values, states in zip(found, before, strict=True):
            for name, (version, old) in states.items():
                if values[name]._version != version:  # noqa: SLF001  torch's own count of writes
                    values.pop(name).copy_(old)
    return found


def _is_number(value: Tensor) -> bool:
    return value.ndim == 0 and not value.is_floating_point() and not value.is_complex()


def _maker(value: Tensor) -> Callable[[object], Tensor]:
    import torch

    number, dtype = value.item(), value.dtype
    return lambda _part: torch.tensor(number, dtype=dtype)
