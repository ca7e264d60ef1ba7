"""Profiles of Qualcomm AI Hub jobs."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import DataError
from edgekit.measurements.ai_hub_profile import is_ai_hub_profile, parse_ai_hub_profile


def test_the_single_timings_give_a_median_and_not_the_hubs_estimate(ai_hub_profile: Any) -> None:
    profile = parse_ai_hub_profile(ai_hub_profile(), "job.json")
    assert (profile.latency.value_ms, profile.latency.statistic, profile.latency.runs) == (0.4495, "median", 100)
    assert profile.load_ms == 300.0
    assert profile.units == ("CPU", "NPU")
    assert profile.memory is not None
    assert profile.memory.above_empty_bytes == 21_000_000


def test_an_older_job_has_an_estimate_and_a_single_peak(ai_hub_profile: Any) -> None:
    data = ai_hub_profile()
    del data["execution_summary"]["all_inference_times"]
    data["execution_summary"]["inference_memory_peak_range"] = None
    profile = parse_ai_hub_profile(data, "job.json")
    assert (profile.latency.value_ms, profile.latency.statistic, profile.latency.low_ms) == (0.4, "estimate", None)
    assert profile.memory is not None
    assert profile.memory.above_empty_bytes == 20_000_000


def test_a_job_may_tell_nothing_but_the_time() -> None:
    profile = parse_ai_hub_profile({"execution_summary": {"estimated_inference_time": 7}}, "job.json")
    assert (profile.latency.value_ms, profile.load_ms, profile.memory, profile.units) == (0.007, None, None, ())


@given(times=st.lists(st.integers(1, 10**9), min_size=1, max_size=100))
def test_every_list_of_timings_is_read_in_microseconds(times: list[int], ai_hub_profile: Any) -> None:
    latency = parse_ai_hub_profile(ai_hub_profile(all_inference_times=times), "job.json").latency
    assert latency.samples_ms == pytest.approx([time / 1e3 for time in times])


@pytest.mark.parametrize(
    ("summary", "message"),
    [
        pytest.param(
            {"all_inference_times": [], "estimated_inference_time": None},
            "job.json: the AI Hub profile has no inference time: expected estimated_inference_time or "
            "all_inference_times (microseconds) in execution_summary. The job may have failed: look at its page.",
            id="no time",
        ),
        pytest.param(
            {"all_inference_times": [5, -1]},
            "job.json: execution_summary.all_inference_times holds -1; expected positive numbers. "
            "Download the profile again.",
            id="a negative time",
        ),
        pytest.param(
            {"first_load_time": "soon"},
            "job.json: execution_summary.first_load_time holds 'soon'; expected positive numbers. "
            "Download the profile again.",
            id="text",
        ),
    ],
)
def test_wrong_figures_are_reported(summary: dict[str, Any], message: str, ai_hub_profile: Any) -> None:
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        parse_ai_hub_profile(ai_hub_profile(**summary), "job.json")


@pytest.mark.parametrize("data", [[], {}, {"execution_summary": 1}, "x"], ids=repr)
def test_other_json_is_no_profile(data: object) -> None:
    assert not is_ai_hub_profile(data)
