"""A user's copy of a profile, with other latency tables."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import ResourceError
from edgekit.profiles.profile_copy import with_latency_tables, write_profile

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TEXT = """\
# A comment that stays.
schema = 1
[budget]
size = "6 MB"  # so does this one
[latency_model.tflite.fp32]
spread = 0.2
[latency_model.tflite.fp32.ns]
macs = 1.0
# Between the tables.
[ latency_model . tflite . int8_static ]
spread = 0.3
[latency_model.tflite.fp32x]
spread = 0.4
[sources]
"budget.size" = "somebody"
"""


def test_the_named_tables_are_replaced_and_everything_else_stays() -> None:
    table = {"spread": 0.1, "untested": [], "sources": ['a "quoted" text'], "ns": {"macs": 2.5, "operators": 16700.0}}
    made = with_latency_tables(TEXT, {("tflite", "fp32"): table})
    data = tomllib.loads(made)
    expected = tomllib.loads(TEXT)
    expected["latency_model"]["tflite"]["fp32"] = table
    assert data == expected
    assert "# A comment that stays." in made
    assert "# so does this one" in made


NUMBERS = st.floats(1e-9, 1e9)
TABLES = st.fixed_dictionaries(
    {
        "unit": st.sampled_from(["cpu", "gpu"]),
        "rows": st.integers(0, 1000),
        "spread": NUMBERS,
        "sources": st.lists(st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=20), max_size=3),
        "ns": st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), NUMBERS, min_size=1),
    }
)


@given(TABLES, TABLES)
def test_whatever_is_written_is_read_again_to_six_digits(first: dict[str, Any], second: dict[str, Any]) -> None:
    groups = {("tflite", "fp32"): first, ("onnx", "int8_static"): second}
    model = tomllib.loads(with_latency_tables(TEXT, groups))["latency_model"]
    for (runtime, precision), table in groups.items():
        found = model[runtime][precision]
        assert found["ns"] == pytest.approx(table["ns"], rel=1e-5)
        assert {**found, "ns": 0, "spread": 0} == {**table, "ns": 0, "spread": 0}
        assert found["spread"] == pytest.approx(table["spread"], rel=1e-5)
    assert with_latency_tables(with_latency_tables(TEXT, groups), groups) == with_latency_tables(TEXT, groups)


def test_a_profile_is_written_whole_into_a_new_folder(tmp_path: Path) -> None:
    write_profile(tmp_path / "device_profiles" / "a.toml", TEXT)
    assert [path.name for path in (tmp_path / "device_profiles").iterdir()] == ["a.toml"]
    assert (tmp_path / "device_profiles" / "a.toml").read_text() == TEXT


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "device_profiles").write_text("a file")
    path = tmp_path / "device_profiles" / "a.toml"
    message = f"The profile {path} cannot be written: File exists. Run this in a folder that you may write."
    with pytest.raises(ResourceError, match=f"^{re.escape(message)}$"):
        write_profile(path, TEXT)
