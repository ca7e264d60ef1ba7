"""The table by stage: which stage cost most, and what is said where that is not known. Plain values."""

from __future__ import annotations

import json
import math

import pytest

from edgekit.exporting.stage_table import StageRow, StageTable


def stage(name, drop=None, *, kind="technique", low=None, **more):
    return StageRow(name=name, kind=kind, parameters=10, macs=20, drop=drop, low=low, **more)


def table(*stages, warning=""):
    return StageTable(techniques="a b", metric="top1", stages=stages, warning=warning)


FLOAT = stage("float model", 0.0, kind="float")


def test_the_stage_after_which_the_drop_grew_most_is_named():
    made = table(FLOAT, stage("a", 0.5, low=0.2), stage("b", 2.0, low=1.5), stage("onnx int8", 2.2, kind="artifact"))
    assert made.sentence == "b cost the most accuracy: 1.50 pp of top1."


def test_artifacts_share_the_stage_that_they_were_made_from():
    made = table(
        FLOAT, stage("a", 1.0, low=0.9), stage("tflite int8", 1.2, kind="artifact"),
        stage("onnx int8", 3.0, kind="artifact", low=2.0),
    )  # fmt: skip
    assert made.sentence == "onnx int8 cost the most accuracy: 2.00 pp of top1."


def test_a_cost_within_its_own_interval_may_be_chance():
    made = table(FLOAT, stage("a", 0.4, low=-0.1))
    assert made.sentence == (
        "a cost the most accuracy: 0.40 pp of top1; its interval reaches back to the stage before, so that may be "
        "chance."
    )


def test_stages_that_gain_cost_nothing():
    made = table(FLOAT, stage("a", -0.3))
    assert made.sentence == "No stage cost accuracy (top1)."
    assert made.to_json()["costliest"] is None


@pytest.mark.parametrize(
    ("unknown", "reason"),
    [
        (stage("a", None, reason="the task names no evaluation data."), "the task names no evaluation data."),
        (stage("a", math.nan), "outputs are not finite"),
    ],
    ids=["no data", "not finite"],
)
def test_a_stage_without_a_drop_leaves_the_question_open(unknown, reason):
    made = table(FLOAT, unknown)
    assert made.sentence == f"Which stage cost the most accuracy is not known: {reason}"


def test_the_json_holds_no_nan():
    data = table(FLOAT, stage("a", math.nan), warning="other way round").to_json()
    json.dumps(data, allow_nan=False)
    assert data["stages"][1]["drop"] is None
    assert (data["techniques"], data["warning"]) == ("a b", "other way round")
