"""Codebooks: a few values that stand for all weights of a layer."""

from __future__ import annotations

from typing import Any, Final

_ROUNDS: Final = 40
_SETTLED: Final = 1e-6  # change of the error from round to round


def learn_codebook(weights: Any, importance: Any, size: int, *, holds_zero: bool) -> Any:
    """Returns at most `size` values, rising, float64, with the least weighted squared distance to the nearest one.

    Lloyd's algorithm ("Least squares quantization in PCM", 1982) in one dimension, from quantiles: Han et al., "Deep
    Compression", 2016, section 3, share weights this way; Kim et al., "SqueezeLLM", 2023, eq. 3, weight each by what its
    error costs.

    Args:
        weights: (n,) float64.
        importance: (n,) float64, not negative.
        size: How many values.
        holds_zero: One of the values is 0 exactly.
    """
    import torch

    values, order = weights.sort()
    power = importance[order].clamp(min=1e-30)
    spread = torch.linspace(0, 1, size + 2, dtype=torch.float64)[1:-1]
    # By the cube root of the density, as the best quantizer of many levels is; quantiles alone starve the tails.
    book = _between(
        values.quantile(spread) if len(values) < 1 << 20 else values[:: len(values) >> 16].quantile(spread),
        torch.linspace(float(values[0]), float(values[-1]), size + 2, dtype=torch.float64)[1:-1],
    )
    weighted, squares = (values * power).cumsum(0), (values.square() * power).cumsum(0)
    totals = power.cumsum(0)
    before = float("inf")
    for _ in range(_ROUNDS):
        if holds_zero:
            book[book.abs().argmin()] = 0.0
        ends = torch.searchsorted(values, (book[1:] + book[:-1]) / 2)
        counts, sums, energy = (_parts(item, ends) for item in (totals, weighted, squares))
        error = float((energy - 2 * book * sums + book.square() * counts).sum())
        if before - error <= _SETTLED * before:
            break
        before = error
        book = torch.where(counts > 0, sums / counts.clamp(min=1e-30), book)
    if holds_zero:
        book[book.abs().argmin()] = 0.0
    return book.unique()


def nearest_value(values: Any, book: Any) -> Any:
    """Returns the nearest value of a rising codebook, in the shape of `values`."""
    import torch

    return book[torch.searchsorted((book[1:] + book[:-1]) / 2, values.contiguous())]


def _between(one: Any, other: Any) -> Any:
    return ((one + other) / 2).sort().values


def _parts(running: Any, ends: Any) -> Any:
    """Returns the sums between `ends` of a running sum."""
    import torch

    zero = running.new_zeros(1)
    cut = torch.cat([zero, torch.cat([zero, running])[ends], running[-1:]])
    return cut[1:] - cut[:-1]
