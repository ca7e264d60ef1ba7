"""Whether the first axis of a module's inputs is a batch: rows that are computed side by side. Runs in a worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from edgekit.torch_program.example_call import ExampleCall, taking_own_arguments
from edgekit.torch_program.structured_outputs import flatten_outputs

if TYPE_CHECKING:
    from torch import Tensor, nn

_TOLERANCE: Final = 1e-4
"""Largest difference relative to the largest value: kernels for a batch sum in another order."""


def batch_size(module: nn.Module, call: ExampleCall) -> int | None:
    """Returns how many rows a call holds, where the module surely computes them side by side; None where it does not.

    It surely does where all inputs with axes have as many rows in front, one of them is no plain sequence of numbers,
    and each of the first two rows alone gives what it gives among the others. A graph's nodes, the layers of a state
    and a sound do not pass this.
    """
    import torch

    shaped = [tensor for tensor in call.tensors if tensor.ndim]
    counts = {tensor.shape[0] for tensor in shaped}
    if len(counts) != 1 or counts <= {0, 1} or all(tensor.ndim == 1 for tensor in shaped):
        return None
    generator = torch.Generator().manual_seed(0)
    drawn = [
        torch.randn(t.shape, generator=generator).to(t.dtype) if t.is_floating_point() else t for t in call.tensors
    ]
    buffers = [buffer.clone() for buffer in module.buffers()]
    try:
        whole, first, second = (
            _outputs(module, call.with_tensors(tensors))
            for tensors in (drawn, first_rows(drawn, 0), first_rows(drawn, 1))
        )
    except Exception:  # whatever a forward raises: it does not take single rows
        return None
    finally:
        for buffer, kept in zip(module.buffers(), buffers, strict=True):
            buffer.copy_(kept)
    count = counts.pop()
    pairs = [*zip(whole, first, [0] * len(first), strict=True), *zip(whole, second, [1] * len(second), strict=True)]
    return count if all(_is_row(together, alone, row, count) for together, alone, row in pairs) else None


def first_rows(tensors: Sequence[Tensor], row: int = 0) -> list[Tensor]:
    """Returns one row (1, ...) of each tensor; single numbers are every row's."""
    return [tensor[row : row + 1].contiguous() if tensor.ndim else tensor for tensor in tensors]


def _outputs(module: nn.Module, call: ExampleCall) -> list[Tensor]:
    import torch

    with torch.no_grad(), taking_own_arguments(module, call):
        return [tensor for _, tensor in flatten_outputs(module(*call.args, **call.kwargs), "")]


def _is_row(whole: Tensor, alone: Tensor, row: int, count: int) -> bool:
    if whole.shape[:1] != (count,) or whole[row : row + 1].shape != alone.shape:
        return False
    left, right = whole[row : row + 1].double().nan_to_num(), alone.double().nan_to_num()
    if not left.numel():
        return True
    return float((left - right).abs().max()) <= _TOLERANCE * max(1.0, float(left.abs().max()))
