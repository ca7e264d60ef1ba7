from __future__ import annotations

from typing import Any

import pytest

from edgekit.errors import DataError
from edgekit.metrics.user_metric import UserMetric

NAMES = ("boxes", "scores", "mask")


def metric(_outputs: Any, _targets: Any) -> float:
    return 0.0


@pytest.mark.parametrize(
    ("reads", "places"), [(None, (0, 1, 2)), ("scores", (1,)), (2, (2,)), (("mask", "boxes"), (2, 0))]
)
def test_a_metric_gets_the_outputs_that_it_reads(reads: Any, places: tuple[int, ...], monkeypatch: Any) -> None:
    if reads is not None:
        monkeypatch.setattr(metric, "reads", reads, raising=False)
    assert UserMetric("m.py:metric", metric).outputs_read(NAMES) == places


@pytest.mark.parametrize("reads", ["score", 3])
def test_an_output_that_is_not_there_is_reported(reads: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(metric, "reads", reads, raising=False)
    with pytest.raises(DataError) as raised:
        UserMetric("m.py:metric", metric).outputs_read(NAMES)
    assert raised.value.message == (
        f"The metric m.py:metric reads {reads!r}; the outputs are boxes, scores, mask. Name one of them in `reads`."
    )
