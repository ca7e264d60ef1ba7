"""Codebooks: a few values that stand for all weights of a layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from torch import Tensor

_ROUNDS: Final = 100
_SETTLED: Final = 1e-7  # change of the error from round to round


def learn_codebook(weights: Tensor, importance: Tensor, size: int, *, holds_zero: bool) -> Tensor:
    """Returns at most `size` values, rising, float64, with the least weighted squared distance to the nearest one.

    Lloyd's algorithm ("Least squares quantization in PCM", 1982) in one dimension, from quantiles: Han et al., "Deep
    Compression", 2016, section 3, share weights this way; Kim et al., "SqueezeLLM", 2023, eq. 3, weight each one by
    what its error costs.

    Args:
        weights: (n,) float64.
        importance: (n,) float64, not negative.
        size: How many values.
        holds_zero: One of the values is 0 exactly.
    """
    import torch

    values, order = weights.sort()
    power = importance[order].clamp(min=1e-30)
    sums = _RunningSums(
        totals=power.cumsum(0), firsts=(values * power).cumsum(0), squares=(values.square() * power).cumsum(0)
    )
    places = torch.linspace(0, 1, size + 2, dtype=torch.float64)[1:-1]
    starts = (
        values[(places * (len(values) - 1)).long()],  # as many weights for each value
        torch.linspace(float(values[0]), float(values[-1]), size, dtype=torch.float64),  # steps of one size
    )
    found = [_descend(values, sums, start, holds_zero=holds_zero) for start in starts]
    return min(found, key=lambda item: item[1])[0]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _RunningSums:
    """Sums over the weights so far, in rising order, each (n,): importance, times the weight, times its square."""

    totals: Tensor
    firsts: Tensor
    squares: Tensor

    def between(self, ends: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the three sums of each part that ends before an index of `ends`, and of the rest."""
        return _parts(self.totals, ends), _parts(self.firsts, ends), _parts(self.squares, ends)


def _descend(values: Tensor, sums: _RunningSums, book: Tensor, *, holds_zero: bool) -> tuple[Tensor, float]:
    """Returns the codebook that Lloyd's algorithm ends with from `book`, and its error."""
    import torch

    before, after = float("inf"), float("inf")
    for _ in range(_ROUNDS):
        if holds_zero:
            book[book.abs().argmin()] = 0.0
        book = book.sort().values
        count, first, square = sums.between(torch.searchsorted(values, (book[1:] + book[:-1]) / 2))
        before, after = after, float((square - 2 * book * first + book.square() * count).sum())
        if before < float("inf") and before - after <= _SETTLED * before:
            break
        book = torch.where(count > 0, first / count.clamp(min=1e-30), book)
    if holds_zero:
        book[book.abs().argmin()] = 0.0
    return book.unique(), after


def nearest_value(values: Tensor, book: Tensor) -> Tensor:
    """Returns the nearest value of a rising codebook, in the shape of `values`."""
    import torch

    return book[torch.searchsorted((book[1:] + book[:-1]) / 2, values.contiguous())]


def _parts(running: Tensor, ends: Tensor) -> Tensor:
    """Returns the sums between `ends` of a running sum."""
    import torch

    zero = running.new_zeros(1)
    cut = torch.cat([zero, torch.cat([zero, running])[ends], running[-1:]])
    return cut[1:] - cut[:-1]
