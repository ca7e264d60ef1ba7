"""Words and scales of the page."""

from __future__ import annotations

import pytest

from edgekit.html_report.charts import byte_scale, shorten
from edgekit.html_report.parts import UNKNOWN, band, count_text, figure, figure_text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (999, "999"), (999.6, "1 k"), (4_652_008, "4.65 M"), (3.858e8, "386 M"), (2e9, "2 G")],
)
def test_large_numbers_are_short(value: float, text: str) -> None:
    assert count_text(value) == text


@pytest.mark.parametrize(
    ("values", "scale"),
    [([], (1.0, "bytes")), ([999.0], (1.0, "bytes")), ([1.0, 1000.0], (1e3, "kB")), ([5e6], (1e6, "MB")),
     ([2e9, 1.0], (1e9, "GB"))],
)  # fmt: skip
def test_an_axis_of_bytes_has_the_unit_of_its_largest_value(values: list[float], scale: tuple[float, str]) -> None:
    assert byte_scale(values) == scale


def test_long_names_keep_their_end() -> None:
    assert shorten("a" * 26) == "a" * 26
    assert (
        shorten("encoder.layers.11.attention.output.dense")
        == "…1.attention.output.dense"[:1] + ("encoder.layers.11.attention.output.dense"[-25:])
    )


def test_what_is_not_known_is_a_dash_and_sorts_last() -> None:
    cell = figure(None, "bytes")
    assert (cell.text, cell.order) == (UNKNOWN, None)
    assert figure_text(1500, "bytes") == "1.5 kB"
    assert band(None, 2, "pp") == ""
    assert band(1, 2, "pp") == "1.00 pp to 2.00 pp"
