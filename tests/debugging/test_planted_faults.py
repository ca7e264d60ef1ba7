"""Faults planted in an INT8 ONNX file, one at a time: each must be the first suspect, with its cause."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

FAULTS = {
    "zero point of the grid": ({"zero_point": {"third": 60}}, "third", "zero_point"),
    "zero point as readers take it": ({"read_zero_point": {"third": 25}}, "third", "zero_point"),
    "one saturated layer": ({"widen": {"third": 0.2}}, "third", "range_clips"),
    "a range stretched by one outlier": ({"widen": {"third": 60.0}}, "third", "range_too_wide"),
    "one weight scale and an outlier channel": ({"single_scale": ["second"]}, "second", "per_tensor_weights"),
    "swapped channels": ({"order": [2, 1, 0]}, "first", "swapped_channels"),
    "a lost activation": ({"without": ["third"]}, "relu_1", "lost_activation"),
    "a lost clamp": ({"without": ["second"]}, "of clamp", "lost_activation"),
}


@pytest.mark.parametrize(("fault", "place", "cause"), FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_is_the_first_suspect(
    fault: dict[str, Any], place: str, cause: str, compare: Callable[[Any], Any], quantized_file: Any
) -> None:
    report = compare(quantized_file(**fault))
    first = report.suspects[0]
    assert (first.cause, first.is_fault) == (cause, True)
    assert first.explained_share > 0.7
    assert place in f"{report.layer(first.node).module}: {first.sentence}"
    assert report.first_departure.node == first.node
    assert report.layer(first.node).error_share > 0.3


def test_a_sound_file_has_no_suspect_that_is_a_fault(compare: Callable[[Any], Any], quantized_file: Any) -> None:
    report = compare(quantized_file())
    assert report.first_departure is None
    assert not any(suspect.is_fault for suspect in report.suspects)
    assert report.final_sqnr_db > 30
    assert report.inside_agreement_db == 300
    assert max(layer.beyond_ordinary_db for layer in report.layers) < 4
