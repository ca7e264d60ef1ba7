"""Mixtures of experts, and the histograms that count their rows."""

from __future__ import annotations

import pytest
import torch


@pytest.mark.parametrize("offsets", [[2, 2, 5, 6], [0, 0, 6, 6], [6, 6, 6, 6], [1, 2, 3, 4]])
def test_each_row_meets_the_weights_of_its_own_expert(rewritten, offsets):
    import transformers.integrations.moe  # noqa: F401  registers the operator

    product = torch.ops.transformers.grouped_mm_fallback
    weights = torch.randn(4, 3, 5)
    found = rewritten(lambda x, ends: product(x, weights, ends), torch.randn(6, 3), torch.tensor(offsets))
    assert "matmul" in found


def test_a_histogram_between_fixed_bounds_is_counted(rewritten):
    values = torch.tensor([0.0, 1.0, 1.4, 3.0, 7.0, 7.0, 6.99, 8.0, -1.0, 4.0])
    assert "histc" not in rewritten(lambda x: torch.histc(x, bins=8, min=0, max=7), values)


def test_a_histogram_between_the_bounds_of_its_values_stays(rewritten):
    assert "histc" in rewritten(lambda x: torch.histc(x, bins=4), torch.randn(6))
