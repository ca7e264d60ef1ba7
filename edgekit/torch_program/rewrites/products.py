"""Products by halving, running products, sums and extremes by shifts, distances between all pairs, bilinear forms."""

from __future__ import annotations

from collections.abc import Callable
from string import ascii_letters
from typing import TYPE_CHECKING

from edgekit.torch_program.rewrites.call import Call, Function

if TYPE_CHECKING:
    from torch import Tensor


def prod(call: Call) -> Function | None:
    """Writes the product along an axis as products of its halves, log2 n of them."""
    shape = call.shape("self")
    if "dim" not in call.arguments or not shape or not call["self"].dtype.is_floating_point:
        return None
    axis, kept = int(call["dim"]) % len(shape), call["keepdim"]

    def multiplied(x: Tensor) -> Tensor:
        while x.shape[axis] > 1:
            half = x.shape[axis] // 2
            product = x.narrow(axis, 0, half) * x.narrow(axis, half, half)
            if x.shape[axis] % 2:
                last = x.narrow(axis, x.shape[axis] - 1, 1)
                product = product * last if half == 1 else _joined(product, last, axis)
            x = product
        return x if kept else x.squeeze(axis)

    return multiplied


def cumprod(call: Call) -> Function | None:
    """Writes running products with shifts, log2 n products of whole tensors."""
    return _running(call, lambda x, before: x * before, first=1.0)


def cummax(call: Call) -> Function | None:
    """Writes running maxima whose places nobody reads with shifts."""
    import torch

    return _running_extreme(call, torch.maximum, first=torch.finfo(torch.float32).min)


def cummin(call: Call) -> Function | None:
    """Writes running minima whose places nobody reads with shifts."""
    import torch

    return _running_extreme(call, torch.minimum, first=torch.finfo(torch.float32).max)


def _running_extreme(call: Call, combine: Callable[[Tensor, Tensor], Tensor], first: float) -> Function | None:
    import torch

    running = None if 1 in call.read else _running(call, combine, first)
    return running and (lambda x: (made := running(x), torch.zeros(made.shape, dtype=torch.int64)))


def logcumsumexp(call: Call) -> Function | None:
    """Writes running log-sums of exponentials with shifts: each sum is taken relative to its larger part."""
    import torch

    def combine(x: Tensor, before: Tensor) -> Tensor:
        most = torch.maximum(x, before)
        return most + torch.log(torch.exp(x - most) + torch.exp(before - most))

    return _running(call, combine, first=torch.finfo(torch.float32).min)


def _running(
    call: Call, combine: Callable[[Tensor, Tensor], Tensor], first: float
) -> Callable[[Tensor], Tensor] | None:
    """Returns running results by shifts of 1, 2, 4, ... places (Hillis and Steele); None for other than floats.

    Args:
        call: Has the argument `dim`.
        combine: Associative, of two tensors.
        first: What stands before the first place: it changes nothing.
    """
    import torch

    shape = call.shape("self")
    if not shape or not call["self"].dtype.is_floating_point:
        return None
    axis = int(call["dim"]) % len(shape)

    def running(x: Tensor) -> Tensor:
        shift = 1
        while shift < shape[axis]:
            before = torch.full((*shape[:axis], shift, *shape[axis + 1 :]), first, dtype=x.dtype)
            x = combine(x, _joined(before, x.narrow(axis, 0, shape[axis] - shift), axis))
            shift *= 2
        return x

    return running


def cdist(call: Call) -> Function | None:
    """Writes Euclidean and city-block distances as sums over differences of all pairs."""
    if call["p"] not in (1.0, 2.0):
        return None
    p = call["p"]

    def distances(x: Tensor, y: Tensor) -> Tensor:
        apart = x.unsqueeze(-2) - y.unsqueeze(-3)
        return apart.square().sum(-1).sqrt() if p == 2.0 else apart.abs().sum(-1)

    return distances


def einsum(call: Call) -> Function | None:
    """Writes an equation with an ellipsis with a letter for each axis: coremltools takes it for a single one."""
    equation = "".join(str(call["equation"]).split())
    if "..." not in equation or "->" not in equation:
        return None
    import torch

    left, _, right = equation.partition("->")
    spare = [letter for letter in ascii_letters if letter not in equation]
    ranks = [tensor.ndim for tensor in call["tensors"]]
    hidden = [rank - len(part.replace("...", "")) for part, rank in zip(left.split(","), ranks, strict=True)]
    letters = "".join(spare[: max(hidden)])
    parts = [
        part.replace("...", letters[len(letters) - count :])
        for part, count in zip(left.split(","), hidden, strict=True)
    ]
    spelled = f"{','.join(parts)}->{right.replace('...', letters)}"
    return lambda *tensors: torch.einsum(spelled, *tensors)


def bilinear(call: Call) -> Function | None:
    """Writes the bilinear forms x W_o y of two vectors as one matrix product and a sum over y's elements."""
    outputs, first, second = call.shape("weight")
    result = call.result_shape

    def forms(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        matrix = weight.permute(1, 0, 2).reshape(first, outputs * second)
        turned = (x.reshape(-1, first) @ matrix).reshape(-1, outputs, second)
        made = (turned * y.reshape(-1, 1, second)).sum(-1)
        return (made if bias is None else made + bias).reshape(result)

    return forms


def _joined(first: Tensor, second: Tensor, axis: int) -> Tensor:
    import torch

    return torch.cat([first, second], axis)
