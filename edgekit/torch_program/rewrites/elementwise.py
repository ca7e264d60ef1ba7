"""Functions of single elements in terms of ones that all formats have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.torch_program.rewrites.call import Call, Function

if TYPE_CHECKING:
    from torch import Tensor

_FLAT = 17.0
"""From here on exp(-x) adds nothing to 1 in float32."""


def celu(call: Call) -> Function | None:
    """CELU: max(0, x) + min(0, alpha (exp(x / alpha) - 1))."""
    import torch

    alpha = call["alpha"]
    return lambda x: torch.relu(x) - torch.relu(-alpha * (torch.exp(torch.clamp(x, max=0.0) / alpha) - 1))


def log_sigmoid(call: Call) -> Function | None:
    """log(1 / (1 + exp(-x))) = min(x, 0) - log(1 + exp(-|x|))."""
    import torch

    del call
    return lambda x: torch.clamp(x, max=0.0) - torch.log(1 + torch.exp(-x.abs()))


def softplus(call: Call) -> Function | None:
    """log(1 + exp(beta x)) / beta = relu(x) + log(1 + exp(-beta |x|)) / beta; torch gives x beyond a threshold."""
    import torch

    beta = call["beta"]
    if call["threshold"] < _FLAT:
        return None
    return lambda x: torch.relu(x) + torch.log(1 + torch.exp(x.abs() * -beta)) / beta


def mish(call: Call) -> Function | None:
    """X tanh(softplus(x))."""
    import torch

    del call
    return lambda x: x * torch.tanh(torch.relu(x) + torch.log(1 + torch.exp(-x.abs())))


def prelu_of_vectors(call: Call) -> Function | None:
    """PReLU of what is no picture: max(0, x) - weight max(0, -x), with one weight or one for each index of axis 1."""
    import torch

    rank = len(call.shape("self"))
    if rank == 4:
        return None
    axes = (-1, *(1,) * (rank - 2)) if rank > 1 else (-1,)
    return lambda x, weight: torch.relu(x) - weight.reshape(axes) * torch.relu(-x)


def trunc(call: Call) -> Function | None:
    """Towards zero: sign(x) floor(|x|)."""
    import torch

    return (lambda x: torch.sign(x) * torch.floor(x.abs())) if _is_float(call, "self") else None


def frac(call: Call) -> Function | None:
    """What truncation leaves."""
    import torch

    return (lambda x: x - torch.sign(x) * torch.floor(x.abs())) if _is_float(call, "self") else None


def fmod(call: Call) -> Function | None:
    """The remainder with the sign of the dividend: x - trunc(x / y) y."""
    import torch

    other = call["other"]
    if not _is_float(call, "self"):
        return None

    def remainder(x: Tensor, y: Tensor = other) -> Tensor:
        quotient = x / y
        return x - torch.sign(quotient) * torch.floor(quotient.abs()) * y

    return remainder


def lerp(call: Call) -> Function | None:
    """A point between two: x + weight (y - x)."""
    weight = call["weight"]
    return lambda x, y, w=weight: x + w * (y - x)


def addcmul(call: Call) -> Function | None:
    """X + value y z."""
    value = call["value"]
    return lambda x, y, z: x + (y * z if value == 1 else value * (y * z))


def addcdiv(call: Call) -> Function | None:
    """X + value y / z."""
    value = call["value"]
    return lambda x, y, z: x + (y / z if value == 1 else value * (y / z))


def nan_to_num(call: Call) -> Function | None:
    """Replaces NaN and infinite values by numbers: `where` for each."""
    import torch

    if not _is_float(call, "self"):
        return None
    limits = torch.finfo(call["self"].dtype)
    nan = call["nan"] if call["nan"] is not None else 0.0
    top = call["posinf"] if call["posinf"] is not None else limits.max
    bottom = call["neginf"] if call["neginf"] is not None else limits.min

    def finite(x: Tensor) -> Tensor:
        known = torch.where(x == x, x, torch.full((), nan))  # noqa: PLR0124  NaN alone differs from itself
        bounded = torch.where(known > limits.max, torch.full((), top), known)
        return torch.where(bounded < limits.min, torch.full((), bottom), bounded)

    return finite


def hardshrink(call: Call) -> Function | None:
    """X where |x| > lambda, else 0."""
    edge = call["lambd"]
    return lambda x: x * (x.abs() > edge).to(x.dtype)


def softshrink(call: Call) -> Function | None:
    """X moved towards zero by lambda: relu(x - lambda) - relu(-x - lambda)."""
    import torch

    edge = call["lambd"]
    return lambda x: torch.relu(x - edge) - torch.relu(-x - edge)


def asinh(call: Call) -> Function | None:
    """sign(x) log(|x| + sqrt(x^2 + 1))."""
    import torch

    del call
    return lambda x: torch.sign(x) * torch.log(x.abs() + torch.sqrt(x * x + 1))


def acosh(call: Call) -> Function | None:
    """log(x + sqrt(x^2 - 1))."""
    import torch

    del call
    return lambda x: torch.log(x + torch.sqrt(x * x - 1))


def atanh(call: Call) -> Function | None:
    """log((1 + x) / (1 - x)) / 2."""
    import torch

    del call
    return lambda x: 0.5 * torch.log((1 + x) / (1 - x))


def _is_float(call: Call, name: str) -> bool:
    return bool(call[name].dtype.is_floating_point)
