"""Products along an axis, and distances."""

from __future__ import annotations

import pytest
import torch
from torch import nn


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8])
def test_a_product_is_halved(rewritten, size):
    found = rewritten(lambda x: (x.prod(1), x.prod(1, keepdim=True)), torch.rand(1, size, 3) + 0.5)
    assert "prod" not in found


@pytest.mark.parametrize("size", [1, 5, 8])
def test_running_products_are_shifted(rewritten, size):
    assert "cumprod" not in rewritten(lambda x: x.cumprod(1) + 1, torch.rand(1, size, 3))


@pytest.mark.parametrize("p", [1.0, 2.0])
def test_distances_are_sums_over_pairs(rewritten, p):
    found = rewritten(lambda x, y: torch.cdist(x, y, p), torch.randn(1, 4, 3), torch.randn(1, 5, 3))
    assert "sub" in found
    assert "cdist" not in found


def test_distances_of_another_norm_stay(rewritten):
    assert "cdist" in rewritten(lambda x, y: torch.cdist(x, y, 3.0), torch.randn(1, 4, 3), torch.randn(1, 5, 3))


@pytest.mark.parametrize("bias", [True, False])
def test_bilinear_forms_are_a_product_and_a_sum(rewritten, bias):
    found = rewritten(nn.Bilinear(5, 7, 3, bias=bias), torch.randn(1, 4, 5), torch.randn(1, 4, 7))
    assert "bilinear" not in found


@pytest.mark.parametrize("size", [1, 2, 7, 16])
def test_running_sums_of_exponentials_and_extremes_are_taken_with_shifts(rewritten, size):
    example = torch.randn(1, size, 3) * 40
    assert "logcumsumexp" not in rewritten(lambda x: torch.logcumsumexp(x, 1), example)
    assert "cummax" not in rewritten(lambda x: torch.cummax(x, 1)[0], example)
    assert "cummin" not in rewritten(lambda x: torch.cummin(x, -2)[0], example)


def test_running_extremes_whose_places_are_read_stay(rewritten):
    assert "cummax" in rewritten(lambda x: torch.cummax(x, 1), torch.randn(1, 6))


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        pytest.param("...hd,hde->...he", [(1, 4, 3, 6), (3, 6, 5)], id="in-one-operand"),
        pytest.param("...ij, ...jk -> ...ik", [(1, 2, 3, 4), (2, 4, 5)], id="of-other-rank-in-each"),
        pytest.param("a...,b->a...b", [(1, 3), (4,)], id="of-one-axis"),
    ],
)
def test_an_ellipsis_becomes_letters(rewritten, equation, shapes):
    class Product(nn.Module):
        def forward(self, *tensors):
            return torch.einsum(equation, *tensors)

    assert rewritten(Product(), *map(torch.randn, shapes)) == ["einsum"]
