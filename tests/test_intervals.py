import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.intervals import (
    Interval,
    bootstrap_interval,
    mean_interval,
    median_interval,
    normal_quantile,
    paired_difference_interval,
    smallest_paired_difference,
    wilson_interval,
)

counts = st.integers(1, 500)


@st.composite
def paired_counts(draw):
    n = draw(counts)
    b = draw(st.integers(0, n))
    return b, draw(st.integers(0, n - b)), n


def test_the_normal_quantile_is_the_textbook_one():
    assert normal_quantile() == pytest.approx(1.959964, abs=1e-6)


def test_an_interval_is_scaled_at_both_ends():
    assert Interval(low=-0.5, high=0.25).scaled(100) == Interval(low=-50, high=25)


@given(data=st.data(), n=counts)
def test_wilson_is_scipys(data, n):
    k = data.draw(st.integers(0, n))
    theirs = scipy.stats.binomtest(k, n).proportion_ci(method="wilson")
    ours = wilson_interval(k, n)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_wilson_knows_nothing_without_data():
    assert wilson_interval(0, 0) == Interval(low=0.0, high=1.0)


def test_wilson_keeps_its_width_where_nothing_was_seen():
    assert wilson_interval(0, 400).low == 0.0
    assert wilson_interval(0, 400).high == pytest.approx(0.00951, abs=1e-5)


@pytest.mark.parametrize("n", [1, 20, 400])
def test_the_paired_interval_keeps_its_width_where_no_difference_was_seen(n):
    z2 = 1.959964**2
    interval = paired_difference_interval(0, 0, n)
    assert (interval.low, interval.high) == pytest.approx((-z2 / (n + z2), z2 / (n + z2)), abs=1e-6)


@pytest.mark.parametrize(
    ("b", "c", "n"),
    [
        pytest.param(12, 2, 44, id="more lost than won"),
        pytest.param(3, 9, 60, id="more won than lost"),
        pytest.param(4, 0, 100, id="only lost"),
    ],
)
def test_the_paired_interval_has_the_score_statistic_at_its_ends(b, c, n):
    interval = paired_difference_interval(b, c, n)
    for end, z in ((interval.low, 1.959964), (interval.high, -1.959964)):
        # The constrained maximum likelihood estimate by brute force instead of the closed form.
        q = np.linspace(1e-9, (1 - abs(end)) / 2 - 1e-9, 400_001) + max(0.0, -end)
        parts = ((b, q + end), (c, q), (n - b - c, 1 - 2 * q - end))
        likelihood = sum(times * np.log(np.maximum(share, 1e-300)) for times, share in parts)
        best = q[np.argmax(likelihood)]
        statistic = (b - c - n * end) / math.sqrt(n * (2 * best + end * (1 - end)))
        assert statistic == pytest.approx(z, abs=2e-3)


@given(paired_counts())
@settings(deadline=None)
def test_the_paired_interval_holds_what_was_seen_and_stays_within_its_range(given_counts):
    b, c, n = given_counts
    interval = paired_difference_interval(b, c, n)
    assert -1 <= interval.low <= (b - c) / n + 1e-9
    assert (b - c) / n - 1e-9 <= interval.high <= 1
    assert interval.high - interval.low > 1e-4


@given(paired_counts())
@settings(deadline=None)
def test_swapping_the_answers_mirrors_the_paired_interval(given_counts):
    b, c, n = given_counts
    one, other = paired_difference_interval(b, c, n), paired_difference_interval(c, b, n)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-6)


def test_the_paired_interval_knows_nothing_without_data():
    assert paired_difference_interval(0, 0, 0) == Interval(low=-1.0, high=1.0)


@pytest.mark.parametrize(("b", "c", "n"), [pytest.param(5, 0, 5, id="all lost"), pytest.param(0, 5, 5, id="all won")])
def test_the_paired_interval_reaches_the_end_where_all_answers_differ_one_way(b, c, n):
    interval = paired_difference_interval(b, c, n)
    assert (interval.high if b else -interval.low) == 1.0


@pytest.mark.parametrize(
    ("n", "p_lost", "p_won"),
    [
        pytest.param(20, 0.02, 0.0, id="20 items, rare and one way"),
        pytest.param(20, 0.1, 0.1, id="20 items, no true drop"),
        pytest.param(50, 0.02, 0.0, id="50 items, rare and one way"),
        pytest.param(50, 0.05, 0.01, id="50 items, a drop of 4 points"),
        pytest.param(100, 0.01, 0.01, id="100 items, no true drop"),
        pytest.param(100, 0.03, 0.01, id="100 items, a drop of 2 points"),
    ],
)
def test_the_paired_interval_covers_the_truth_as_often_as_it_says(n, p_lost, p_won):
    """Exact: sums the probability of every outcome whose interval holds the true difference."""
    covered = 0.0
    rest = 1 - p_lost - p_won
    for b, c in itertools.product(range(n + 1), repeat=2):
        if b + c > n:
            continue
        probability = scipy.stats.multinomial.pmf([b, c, n - b - c], n, [p_lost, p_won, rest])
        if probability < 1e-7:
            continue
        interval = paired_difference_interval(b, c, n)
        if interval.low <= p_lost - p_won <= interval.high:
            covered += float(probability)
    assert covered >= 0.93


@given(n=counts, won=st.integers(0, 20))
@settings(deadline=None, max_examples=50)
def test_the_smallest_difference_is_the_first_whose_interval_excludes_none(n, won):
    smallest = smallest_paired_difference(won, n)
    if smallest is None:
        assert won >= n or paired_difference_interval(n - won, won, n).low <= 0
        return
    lost = round(smallest * n) + won
    assert paired_difference_interval(lost, won, n).low > 0
    assert paired_difference_interval(lost - 1, won, n).low <= 0


def test_the_mean_interval_is_students():
    values = np.array([1.0, 2.0, 4.0, 4.5])
    theirs = scipy.stats.t.interval(0.95, 3, loc=values.mean(), scale=scipy.stats.sem(values))
    ours = mean_interval(values)
    assert (ours.low, ours.high) == pytest.approx(theirs)


@pytest.mark.parametrize("count", [0, 1])
def test_the_mean_interval_has_no_limits_for_fewer_than_two_values(count):
    assert mean_interval(np.ones(count)) == Interval(low=-math.inf, high=math.inf)


def test_the_mean_interval_covers_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(0)
    draws = generator.normal(0.3, 1.0, (2000, 12))
    inside = sum(1 for row in draws if (i := mean_interval(row)).low <= 0.3 <= i.high)
    assert 0.935 <= inside / 2000 <= 0.965


def test_the_median_interval_is_the_binomial_tables():
    # n = 20: the 6th and the 15th value, 95.9 % (any table of sign test intervals)
    assert median_interval(np.arange(1.0, 21.0)) == Interval(low=6.0, high=15.0)


@pytest.mark.parametrize(
    ("count", "known"),
    [pytest.param(5, False, id="below"), pytest.param(6, True, id="first"), pytest.param(0, False, id="none")],
)
def test_the_median_interval_needs_six_values(count, known):
    assert math.isfinite(median_interval(np.arange(float(count))).low) is known


def test_the_median_interval_covers_the_truth_at_least_as_often_as_it_says():
    generator = np.random.default_rng(0)
    draws = generator.exponential(1.0, (2000, 25))
    inside = sum(1 for row in draws if (i := median_interval(row)).low <= math.log(2) <= i.high)
    assert inside / 2000 >= 0.945


def test_the_bootstrap_is_scipys_bca():
    generator = np.random.default_rng(3)
    values = generator.exponential(1.0, 80)
    theirs = scipy.stats.bootstrap((values,), np.mean, n_resamples=9999, method="BCa", rng=np.random.default_rng(1))
    ours = bootstrap_interval(lambda chosen: float(values[chosen].mean()), 80, resamples=9999)
    assert (ours.low, ours.high) == pytest.approx(
        (theirs.confidence_interval.low, theirs.confidence_interval.high), abs=0.02
    )


def test_the_bootstrap_gives_the_same_interval_for_the_same_seed():
    values = np.random.default_rng(0).normal(size=30)

    def run(seed):
        return bootstrap_interval(lambda chosen: float(np.median(values[chosen])), 30, resamples=200, seed=seed)

    assert run(0) == run(0)
    assert run(0) != run(1)


def test_the_bootstrap_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(5)
    inside = 0
    for _ in range(200):
        values = generator.exponential(1.0, 60)
        interval = bootstrap_interval(lambda chosen, v=values: float(v[chosen].mean()), 60, resamples=400)
        inside += interval.low <= 1.0 <= interval.high
    assert inside / 200 >= 0.90


@pytest.mark.parametrize(
    ("statistic", "count"),
    [
        pytest.param(lambda chosen: math.nan, 10, id="not a number"),
        pytest.param(
            lambda chosen: 1.0 if len(set(chosen.tolist())) > 6 else math.nan, 10, id="sometimes not a number"
        ),
        pytest.param(lambda chosen: 1.0, 1, id="one item"),
    ],
)
def test_the_bootstrap_has_no_limits_where_it_cannot_tell(statistic, count):
    assert bootstrap_interval(statistic, count, resamples=50) == Interval(low=-math.inf, high=math.inf)


def test_the_bootstrap_of_a_constant_is_that_constant():
    assert bootstrap_interval(lambda chosen: 2.5, 10, resamples=50) == Interval(low=2.5, high=2.5)


def test_the_bootstrap_survives_a_jackknife_that_is_not_a_number():
    values = np.arange(10.0)

    def statistic(chosen):
        return math.nan if len(chosen) < 10 else float(values[chosen].mean())

    assert math.isfinite(bootstrap_interval(statistic, 10, resamples=50).low)


@pytest.mark.parametrize(
    ("drop", "alarms"),
    # On the limit itself it is 2.5 %; a thousand trials know that to 1.5 % (three standard errors).
    [pytest.param(0.0, 0.01, id="no drop"), pytest.param(0.01, 0.04, id="exactly the limit")],
)
def test_noise_in_which_items_flip_is_seldom_called_a_drop_beyond_the_limit(drop: float, alarms: float) -> None:
    generator = np.random.default_rng(11)
    limit, items, trials, failures = 0.01, 500, 1000, 0
    for _ in range(trials):
        lost, won, _ = generator.multinomial(items, [0.03 + drop, 0.03, 0.94 - drop])
        failures += paired_difference_interval(int(lost), int(won), items).low > limit
    assert failures / trials <= alarms


def test_a_centred_bootstrap_holds_what_was_seen_where_repetition_raises_the_figure():
    values = np.arange(200.0)

    def distinct(chosen):
        return float(len(set(chosen.tolist())))  # every resample has fewer

    plain = bootstrap_interval(distinct, len(values))
    centred = bootstrap_interval(distinct, len(values), centred=True)
    assert not plain.low <= 200 <= plain.high
    assert centred.low < 200 < centred.high
    assert centred.high - centred.low == pytest.approx(4 * 200**0.5 * 0.31, rel=0.2)  # the spread of occupied cells
