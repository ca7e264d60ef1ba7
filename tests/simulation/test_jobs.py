"""Simulation and sensitivity as worker processes run them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from edgekit.recipe import Recipe
from edgekit.simulation import jobs


def silent(phrase, share=None):
    pass


def request(runtime, **recipe):
    made = Recipe(**recipe)
    return {"key": f"{runtime}-{made.name}-{len(made.overrides)}", "runtime": runtime, "recipe": made.to_json()}


def simulated(payload, *requests):
    found = jobs.simulate({**payload, "requests": requests}, silent)["results"]
    return [found[item["key"]] for item in requests]


def test_the_float_recipe_changes_nothing(payload):
    (found,) = simulated(payload, request("tflite", default="fp32"))
    assert found["sqnr_db"] == jobs.LARGEST_DB
    assert found["drop"]["value"] == 0


def test_fewer_bits_lose_more(payload):
    found = simulated(
        payload,
        request("onnx", default="fp16"),
        request("onnx", default="int8_weights"),
        request("onnx", default="int8_static"),
    )
    ratios = [item["sqnr_db"] for item in found]
    assert ratios == sorted(ratios, reverse=True)
    assert 25 < ratios[2] < 60


def test_a_layer_that_stays_float_makes_the_outputs_better(payload):
    plain, mixed = simulated(
        payload,
        request("tflite", default="int8_static"),
        request("tflite", default="int8_static", overrides=(("head", "fp32"),)),
    )
    assert mixed["sqnr_db"] > plain["sqnr_db"]


def test_the_score_is_paired_with_the_float_model(payload):
    (found,) = simulated(payload, request("tflite", default="int8_static"))
    assert found["metric"] == "agreement"
    assert found["drop"]["count"] == 48
    assert found["drop"]["low"] <= found["drop"]["value"] <= found["drop"]["high"]


def test_without_targets_top1_is_replaced_by_agreement(payload):
    (found,) = simulated({**payload, "metric": "top1"}, request("tflite", default="fp16"))
    assert (found["metric"], found["reason"]) == ("agreement", "")


def test_each_layer_is_measured_and_the_sum_is_near_the_whole(payload):
    common = Recipe().to_json()
    found = jobs.measure({**payload, "runtime": "onnx", "recipe": common, "precisions": ["int8_static"]}, silent)
    assert [item["module"] for item in found["layers"]] == ["stem", "depthwise", "project", "head"]
    assert len(found["margins"]) == 48
    whole = simulated(payload, request("onnx", default="int8_static"))[0]["sqnr_db"]
    summed = -10 * math.log10(sum(item["noise"] for item in found["layers"]))
    assert summed == pytest.approx(whole, abs=3)


def test_a_run_that_was_killed_goes_on_where_it_stopped(payload):
    wanted = {**payload, "runtime": "onnx", "recipe": Recipe().to_json(), "precisions": ["int8_static"]}
    seen = []

    def stop_at_the_third(phrase, share=None):
        if phrase.startswith("measuring"):
            seen.append(phrase)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jobs.measure(wanted, stop_at_the_third)
    journal = Path(payload["journal"])
    assert len(list(journal.glob("layer-*.json"))) == 2
    # What was saved is taken as it is and not measured again.
    marked = next(path for path in journal.glob("layer-*.json") if json.loads(path.read_text())["module"] == "stem")
    marked.write_text(json.dumps({**json.loads(marked.read_text()), "noise": 0.125}))
    found = jobs.measure(wanted, silent)
    assert found["layers"][0]["noise"] == 0.125
    assert len(found["layers"]) == 4
    assert not list(journal.glob(".partial-*"))
