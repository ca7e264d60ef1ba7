"""Quantities with units: text in, text out."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit import units
from edgekit.errors import InputError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("6 MB", 6_000_000),
        ("6MB", 6_000_000),
        ("6 mb", 6_000_000),
        (" 6 MB ", 6_000_000),
        ("64 MiB", 67_108_864),
        ("800 kB", 800_000),
        ("1.5 GB", 1_500_000_000),
        ("2 TB", 2_000_000_000_000),
        ("1 KiB", 1024),
        ("12 bytes", 12),
        ("12 B", 12),
        ("1,000,000 B", 1_000_000),
        ("1_000 kB", 1_000_000),
        ("1e3 kB", 1_000_000),
        (".5 MB", 500_000),
        ("+3 MB", 3_000_000),
        ("0 B", 0),
    ],
    ids=str,
)
def test_sizes_are_read_in_whole_bytes(text: str, expected: int) -> None:
    assert units.parse_bytes(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30 ms", 30.0),
        ("900 us", 0.9),
        ("900 \u00b5s", 0.9),
        ("900 \u03bcs", 0.9),
        ("1.5 s", 1500.0),
        ("2 min", 120_000.0),
    ],
    ids=str,
)
def test_durations_are_read_in_milliseconds(text: str, expected: float) -> None:
    assert units.parse_milliseconds(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("parse", "text", "expected"),
    [
        (units.parse_points, "0.5 pp", 0.5),
        (units.parse_points, "2 points", 2.0),
        (units.parse_decibels, "20 dB", 20.0),
        (units.parse_share, "95 %", 95.0),
        (units.parse_share, "95%", 95.0),
    ],
    ids=lambda value: str(value) if not callable(value) else value.__name__,
)
def test_points_levels_and_shares_are_read(parse: Callable[[str], float], text: str, expected: float) -> None:
    assert parse(text) == expected


SIZES = '"800 kB", "6 MB" or "64 MiB"'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("6", f'size "6" has no unit: write it as {SIZES}.'),
        ("6 parsecs", f'size "6 parsecs" has the unit "parsecs": accepted are {SIZES}.'),
        ("6 ms", f'size "6 ms" has the unit "ms": accepted are {SIZES}.'),
        ("-6 MB", f'size "-6 MB" must be a finite number that is not negative, such as {SIZES}.'),
        ("1e999 MB", f'size "1e999 MB" must be a finite number that is not negative, such as {SIZES}.'),
        ("", f'size "" is not a quantity: write a number and a unit, such as {SIZES}.'),
        ("MB", f'size "MB" is not a quantity: write a number and a unit, such as {SIZES}.'),
        ("six MB", f'size "six MB" is not a quantity: write a number and a unit, such as {SIZES}.'),
        ("6 MB 5", f'size "6 MB 5" is not a quantity: write a number and a unit, such as {SIZES}.'),
        ("1,5 MB", f'size "1,5 MB" is not a quantity: write a number and a unit, such as {SIZES}.'),
        ("nan MB", f'size "nan MB" is not a quantity: write a number and a unit, such as {SIZES}.'),
        ("6 MB\n7", f'size "6 MB\n7" is not a quantity: write a number and a unit, such as {SIZES}.'),
    ],
    ids=lambda value: value[:12] or "empty",
)
def test_a_wrong_size_is_refused_with_what_is_accepted(text: str, message: str) -> None:
    with pytest.raises(InputError) as raised:
        units.parse_bytes(text)
    assert raised.value.message == message


@pytest.mark.parametrize(
    ("parse", "message"),
    [
        (units.parse_milliseconds, 'latency "3 x" has the unit "x": accepted are "900 us", "30 ms" or "1.5 s".'),
        (units.parse_points, 'accuracy drop "3 x" has the unit "x": accepted are "0.5 pp" or "2 pp".'),
        (units.parse_decibels, 'parity "3 x" has the unit "x": accepted are "20 dB".'),
        (units.parse_share, 'share "3 x" has the unit "x": accepted are "95 %".'),
    ],
    ids=["latency", "points", "decibels", "share"],
)
def test_each_kind_of_quantity_names_its_own_units(parse: Callable[[str], float], message: str) -> None:
    with pytest.raises(InputError) as raised:
        parse("3 x")
    assert raised.value.message == message


def test_a_percent_sign_is_no_percentage_point() -> None:
    with pytest.raises(InputError) as raised:
        units.parse_points("1 %")
    assert raised.value.message == 'accuracy drop "1 %" has the unit "%": accepted are "0.5 pp" or "2 pp".'


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (999.4, "999 B"),
        (999.5, "1 kB"),
        (1000, "1 kB"),
        (999_499, "999 kB"),
        (999_500, "1 MB"),
        (5_123_456, "5.12 MB"),
        (-5_123_456, "-5.12 MB"),
        (25_300_000_000, "25.3 GB"),
        (1_234_000_000_000, "1.23 TB"),
    ],
    ids=str,
)
def test_sizes_are_written_with_three_digits(value: float, expected: str) -> None:
    assert units.format_bytes(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0123, "0.0123 ms"),
        (31.24, "31.2 ms"),
        (999.4, "999 ms"),
        (999.5, "1 s"),
        (12_345, "12.3 s"),
        (999_499, "999 s"),
        (999_500, "1000 s"),
        (3_600_000, "3600 s"),
    ],
    ids=str,
)
def test_durations_are_written_for_people(value: float, expected: str) -> None:
    assert units.format_milliseconds(value) == expected


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (5_123_456, "bytes", "5.12 MB"),
        (31.24, "ms", "31.2 ms"),
        (0.25, "pp", "0.25 pp"),
        (-0.001, "pp", "0.00 pp"),
        (19.46, "dB", "19.5 dB"),
        (98.25, "%", "98.2 %"),
        (3.14159, "", "3.14"),
        (math.nan, "ms", "nan"),
        (math.inf, "dB", "inf"),
    ],
    ids=str,
)
def test_values_are_written_in_their_unit(value: float, unit: str, expected: str) -> None:
    assert units.format_value(value, unit) == expected


FACTORS = st.sampled_from(["B", "kB", "MB", "GB", "KiB", "MiB", "GiB"])


@given(st.integers(0, 10**15), FACTORS)
def test_whole_numbers_of_a_unit_are_read_exactly(number: int, unit: str) -> None:
    expected = number * int(units.BYTES[unit.lower()])
    # Beyond 2**53 a float has no room for every byte.
    assert units.parse_bytes(f"{number} {unit}") == pytest.approx(expected, rel=1e-15, abs=0)


@given(st.floats(0, 1e14), st.sampled_from([units.format_bytes, units.format_milliseconds]))
def test_what_is_written_is_read_back_within_its_rounding(value: float, write: Callable[[float], str]) -> None:
    read = units.parse_bytes if write is units.format_bytes else units.parse_milliseconds
    # Three digits are off by 0.5 % at most; below a byte, and below a thousandth of a millisecond, all is rounding.
    assert read(write(value)) == pytest.approx(value, rel=0.0051, abs=0.51 if read is units.parse_bytes else 1e-9)


@given(st.floats(1.0, 1e14))
def test_no_size_is_written_with_an_exponent(value: float) -> None:
    assert "e" not in units.format_bytes(value)


@given(st.floats(1.0, 1e14), st.floats(1.0, 1e14))
def test_a_larger_size_never_reads_as_a_smaller_one(one: float, two: float) -> None:
    small, large = sorted((one, two))
    assert units.parse_bytes(units.format_bytes(small)) <= units.parse_bytes(units.format_bytes(large))


@given(st.text(max_size=20))
def test_any_text_is_a_size_or_a_clear_error(text: str) -> None:
    try:
        outcome: object = units.parse_bytes(text)
    except InputError as error:
        outcome = error.message
    assert (isinstance(outcome, int) and outcome >= 0) or str(outcome).startswith(f'size "{text}" ')


@pytest.mark.parametrize(
    ("text", "seconds"), [("90 s", 90.0), ("20 min", 1200.0), ("2 h", 7200.0), ("1.5 d", 129600.0)]
)
def test_a_duration_is_read_in_seconds(text: str, seconds: float) -> None:
    assert units.parse_duration(text) == seconds
