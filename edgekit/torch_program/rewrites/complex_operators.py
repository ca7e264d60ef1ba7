"""Operators on complex tensors, computed on pairs of real ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from edgekit.torch_program.rewrites import fourier
from edgekit.torch_program.rewrites.pair import Compute, Operator, Pair

if TYPE_CHECKING:
    from torch import Tensor


def _each(operator: Operator, *arguments: Any, **named: Any) -> Pair:
    """Applies an operator that only moves or adds values to both parts."""
    first, second = (
        operator(*(_part(value, which) for value in arguments), **{key: _part(v, which) for key, v in named.items()})
        for which in ("real", "imaginary")
    )
    return Pair(real=first, imaginary=second)


def _part(value: Any, which: str) -> Any:
    if isinstance(value, list):
        return [_part(item, which) for item in value]
    return getattr(value, which) if isinstance(value, Pair) else value


def _whole(value: Any) -> Pair:
    """Returns a real tensor or a number as a pair."""
    if isinstance(value, Pair):
        return value
    if isinstance(value, complex):
        return Pair(real=value.real, imaginary=value.imag)
    return Pair(real=value, imaginary=0.0)


def _mul(operator: Operator, a: Any, b: Any) -> Pair:
    del operator
    if not isinstance(b, (Pair, complex)):
        return Pair(real=a.real * b, imaginary=a.imaginary * b)
    if not isinstance(a, (Pair, complex)):
        return Pair(real=a * b.real, imaginary=a * _whole(b).imaginary)
    a, b = _whole(a), _whole(b)
    return Pair(real=a.real * b.real - a.imaginary * b.imaginary, imaginary=a.real * b.imaginary + a.imaginary * b.real)


def _div(operator: Operator, a: Any, b: Any) -> Pair:
    if not isinstance(b, Pair):
        return Pair(real=a.real / b, imaginary=a.imaginary / b)
    size = b.real.square() + b.imaginary.square()
    return _mul(operator, _whole(a), Pair(real=b.real / size, imaginary=-b.imaginary / size))


def _add(operator: Operator, a: Any, b: Any, *, alpha: float = 1) -> Pair:
    del operator
    a, b = _whole(a), _whole(b)
    return Pair(real=a.real + b.real * alpha, imaginary=a.imaginary + b.imaginary * alpha)


def _sub(operator: Operator, a: Any, b: Any, *, alpha: float = 1) -> Pair:
    return _add(operator, a, b, alpha=-alpha)


def _abs(operator: Operator, a: Pair) -> Tensor:
    del operator
    return (a.real.square() + a.imaginary.square()).sqrt()


def _angle(operator: Operator, a: Pair) -> Tensor:
    import torch

    del operator
    return torch.atan2(a.imaginary, a.real)


def _polar(operator: Operator, size: Tensor, angle: Tensor) -> Pair:
    import torch

    del operator
    return Pair(real=size * torch.cos(angle), imaginary=size * torch.sin(angle))


def _exp(operator: Operator, a: Pair) -> Pair:
    import torch

    return _polar(operator, torch.exp(a.real), a.imaginary)


def _view_as_real(operator: Operator, a: Pair) -> Tensor:
    import torch

    del operator
    return torch.stack([a.real, a.imaginary], -1)


def _matmul(operator: Operator, a: Any, b: Any) -> Pair:
    a, b = (value if isinstance(value, Pair) else Pair(real=value, imaginary=None) for value in (a, b))
    real, imaginary = operator(a.real, b.real), None
    if a.imaginary is not None and b.imaginary is not None:
        real = real - operator(a.imaginary, b.imaginary)
    for left, right in ((a.real, b.imaginary), (a.imaginary, b.real)):
        if left is not None and right is not None:
            product = operator(left, right)
            imaginary = product if imaginary is None else imaginary + product
    return Pair(real=real, imaginary=imaginary)


_MOVING: Final = (
    "reshape", "view", "permute", "transpose", "unsqueeze", "squeeze", "slice", "select", "expand", "narrow", "flatten",
    "cat", "stack", "sum", "mean", "clone", "contiguous", "neg", "index_select", "repeat", "roll", "flip", "movedim",
    "unflatten", "alias", "detach", "t", "expand_as", "view_as", "unbind",
)  # fmt: skip
"""Operators that do the same to both parts."""

OPERATORS: Final[Mapping[str, Compute]] = {
    **dict.fromkeys(_MOVING, _each),
    "view_as_complex": lambda _, x: Pair(real=x[..., 0], imaginary=x[..., 1]),
    "view_as_real": _view_as_real,
    "complex": lambda _, real, imaginary: Pair(real=real, imaginary=imaginary),
    "polar": _polar,
    "real": lambda _, a: a.real,
    "imag": lambda _, a: a.imaginary,
    "abs": _abs,
    "angle": _angle,
    "exp": _exp,
    "mul": _mul,
    "div": _div,
    "add": _add,
    "sub": _sub,
    "matmul": _matmul,
    "conj": lambda _, a: Pair(real=a.real, imaginary=-a.imaginary),
    "_conj": lambda _, a: Pair(real=a.real, imaginary=-a.imaginary),
    "conj_physical": lambda _, a: Pair(real=a.real, imaginary=-a.imaginary),
    "resolve_conj": lambda _, a: a,
    "resolve_neg": lambda _, a: a,
    **fourier.OPERATORS,
}
"""By operator."""
