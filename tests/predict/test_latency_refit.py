"""Refitting rates on a few measurements."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.predict.latency_refit import Doubt, Observation, doubt_of, refit

MODELS = ((8.0, 1.0), (1.0, 6.0), (4.0, 4.0), (2.0, 0.5), (10.0, 7.0), (0.5, 3.0))


def observations(*true: float, count: int = len(MODELS)) -> list[Observation]:
    """Models whose two kinds of work take `true` times what is predicted."""
    return [
        Observation(
            name=f"model {i}",
            parts_ms={"dense": dense, "depthwise": depthwise},
            measured_ms=dense * true[0] + depthwise * true[1],
        )
        for i, (dense, depthwise) in enumerate(MODELS[:count])
    ]


@settings(max_examples=25, deadline=None)
@given(dense=st.floats(0.5, 2.0), depthwise=st.floats(0.5, 2.0))
def test_rates_that_are_wrong_get_better(dense: float, depthwise: float) -> None:
    found = refit(observations(dense, depthwise), spread=0.4)
    assert found.error_after <= found.error_before + 1e-6
    assert found.error_left_out is not None
    if found.error_before > 0.1:
        assert found.error_left_out < found.error_before


def test_a_common_factor_is_found_for_work_that_was_not_measured_apart() -> None:
    found = refit(observations(1.5, 1.5), spread=0.4)
    assert found.factors["dense"] == pytest.approx(1.5, rel=0.02)
    assert found.factors["depthwise"] == pytest.approx(1.5, rel=0.02)
    assert found.error_before == pytest.approx(1 / 3)
    assert found.error_after < 0.02


def test_work_that_no_measured_model_had_gets_the_common_factor() -> None:
    found = refit(observations(1.5, 1.5), spread=0.4)
    assert found.common == pytest.approx(1.5, rel=0.1)
    assert refit(observations(1.0, 1.0), spread=0.4).common == pytest.approx(1.0, abs=1e-6)


def test_right_rates_stay_as_they_are() -> None:
    found = refit(observations(1.0, 1.0), spread=0.2)
    assert found.factors == pytest.approx({"dense": 1.0, "depthwise": 1.0}, abs=1e-6)
    assert found.spread == pytest.approx(0.2 * math.sqrt(5 / 11))


def test_one_measurement_moves_the_rates_a_part_of_the_way_and_leaves_the_band() -> None:
    found = refit(observations(2.0, 2.0, count=1), spread=0.15)
    assert 1.3 < found.factors["dense"] < 2.0
    assert (found.spread, found.error_left_out) == (0.15, None)


def test_rates_that_were_known_well_move_less() -> None:
    well, hardly = (refit(observations(2.0, 2.0, count=2), spread=spread).factors["dense"] for spread in (0.1, 0.8))
    assert well < hardly <= 2.0 + 1e-9


def test_one_broken_measurement_does_not_decide() -> None:
    good = observations(1.2, 1.2)
    broken = Observation(name="broken", parts_ms=good[0].parts_ms, measured_ms=100 * good[0].measured_ms)
    found = refit([*good, broken], spread=0.2)
    assert found.factors["dense"] == pytest.approx(1.2, rel=0.15)


def test_work_at_other_rates_is_left_alone() -> None:
    one = Observation(name="a", parts_ms={"dense": 1.0}, fixed_ms=9.0, measured_ms=11.0)
    found = refit([one] * 4, spread=5.0)
    assert found.factors["dense"] == pytest.approx(2.0, rel=0.05)
    assert one.predicted_ms(found.factors) == pytest.approx(11.0, rel=0.01)


@pytest.mark.parametrize(("count", "known"), [(2, False), (3, True)], ids=["below", "on"])
def test_a_model_is_left_out_from_three_measurements_on(count: int, known: bool) -> None:
    assert (refit(observations(1.3, 1.1, count=count), spread=0.3).error_left_out is not None) == known


def test_a_kind_of_work_that_is_in_doubt_moves_more_than_one_that_is_known() -> None:
    doubt = Doubt(common=0.01, other=0.4, terms={"dense": 0.05})
    found = refit(observations(1.5, 1.5), 0.3, doubt)
    assert abs(math.log(found.factors["depthwise"])) > 2 * abs(math.log(found.factors["dense"]))


def test_a_table_without_doubt_has_that_of_its_spread() -> None:
    assert doubt_of({"spread": 0.4}) == Doubt(common=0.4, other=0.2)
    table = {"spread": 0.4, "doubt": {"common": 0.3, "dense": 0.1}}
    assert doubt_of(table) == Doubt(common=0.3, other=0.1, terms={"dense": 0.1})
