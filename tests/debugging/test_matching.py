from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgekit.debugging.signatures import correlation


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ([1.0, 2.0, 3.0], 1.0),
        ([-5.0, -3.0, -1.0], 1.0),
        ([3.0, 2.0, 1.0], -1.0),
        ([7.0, 7.0, 7.0], 0.0),
        ([1.0, np.nan, 3.0], 0.0),
    ],
    ids=["equal", "another scale and zero point", "opposite", "constant", "NaN"],
)
def test_agreement_does_not_mind_scale_and_offset(own: list[float], expected: float) -> None:
    assert correlation(np.array([1.0, 2.0, 3.0]), np.array(own)) == pytest.approx(expected)


def test_two_equal_constants_agree() -> None:
    assert correlation(np.full(4, 2.0), np.full(4, 2.0)) == 1.0


def test_each_layer_finds_its_tensor_though_names_differ(compare: Callable[[Any], Any], quantized_file: Any) -> None:
    report = compare(quantized_file())
    found = {(layer.module, layer.operator.rpartition("+")[2]): layer.tensor for layer in report.layers}
    assert found[("first", "relu")] == "first"
    assert found[("second", "hardtanh")] == "second"
    assert found[("third", "relu")] == "third"
    assert found[("head", "linear")] == "head_made"
    assert set(report.unmatched) == {"conv2d", "conv2d_1", "conv2d_2"}
