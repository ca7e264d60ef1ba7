"""Which figures a record may hold (edited records: tests/robustness/test_edited_records.py)."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.checks import judge
from edgekit.errors import ArtifactError
from edgekit.measurements.figure_schema import CheckRecord, check_record


def read(name: str, value: float) -> None:
    check_record(Path("r.json"), judge(name, value, None).to_json(), CheckRecord, ArtifactError, "Export again.")


@pytest.mark.parametrize("value", [-20.0, 250.0])
def test_a_metric_may_have_any_value(value: float) -> None:
    read("accuracy", value)


@pytest.mark.parametrize(
    ("value", "reported"),
    [
        (-20.0, "-20 % was given; expected a number that is not negative"),
        (250.0, "250 % was given; expected at most 100 %"),
    ],
)
def test_a_share_lies_between_0_and_100_percent(value: float, reported: str) -> None:
    with pytest.raises(ArtifactError, match=reported):
        read("integer_coverage", value)
