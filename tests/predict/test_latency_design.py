"""Which models to measure: each step leaves the least doubt about all of them."""

from __future__ import annotations

import pytest

from edgekit.predict.latency_design import Candidate, propose
from edgekit.predict.latency_refit import Doubt

DOUBT = Doubt(common=0.3, other=0.3)
DENSE = Candidate(name="dense", parts_ms={"dense_macs": 9.0, "operators": 1.0})
TWIN = Candidate(name="twin", parts_ms={"dense_macs": 18.0, "operators": 2.0})
DEEP = Candidate(name="deep", parts_ms={"depthwise_macs": 9.0, "operators": 1.0})


def test_a_model_of_another_kind_comes_before_the_twin_of_one_that_was_chosen() -> None:
    assert [one.name for one in propose([DENSE, TWIN, DEEP], DOUBT, 2)] == ["dense", "deep"]


def test_what_was_measured_before_is_not_proposed_again_in_another_size() -> None:
    assert propose([TWIN, DEEP], DOUBT, 1, measured=[DENSE])[0].name == "deep"


def test_each_measurement_leaves_less_doubt() -> None:
    spreads = [one.spread for one in propose([DENSE, TWIN, DEEP], DOUBT, 3)]
    assert spreads == sorted(spreads, reverse=True)
    assert spreads[-1] < 0.2 < spreads[0]


def test_no_more_are_proposed_than_there_are() -> None:
    assert len(propose([DENSE, DEEP], DOUBT, 9)) == 2
    assert propose([DENSE], DOUBT, 0) == ()


def test_work_whose_rate_is_known_is_not_worth_a_measurement() -> None:
    doubt = Doubt(common=0.01, other=0.5, terms={"dense_macs": 0.01, "operators": 0.01})
    assert propose([DENSE, DEEP], doubt, 1)[0].name == "deep"


def test_the_spread_of_one_measured_model_is_what_its_own_error_leaves() -> None:
    doubt = Doubt(common=0.3, other=1e-6)
    found = propose([DENSE], doubt, 1)
    assert found[0].spread == pytest.approx((0.3**2 * 0.1**2 / (0.3**2 + 0.1**2)) ** 0.5, rel=1e-3)
