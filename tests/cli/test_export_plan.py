"""`edgekit export --plan`: what is checked before a plan is carried out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekit.budget import Limit
from edgekit.cli.app import main
from edgekit.model import CapturedModel
from edgekit.planner.plan import ModelFacts, Plan
from edgekit.planner.recipes import steps_of
from edgekit.recipe import Candidate, Recipe, Step

RECIPE = Recipe(default="int8_static", overrides=(("head", "fp32"),))


def plan_of(chosen, digest="d" * 64, **more):
    facts = ModelFacts(
        name="net", source="net.py:build", digest=digest, parameters=1, macs=1, family="cnn", family_evidence="",
        embedded_default=False,
    )  # fmt: skip
    limits = (Limit(name="size", value=5e6, source="--max-size"),)
    return Plan(model=facts, device="pi4", device_title="Pi", limits=limits, feasible=True, chosen=chosen, **more)


def chosen(*before):
    return Candidate(runtime="onnx", recipe=RECIPE, steps=(*before, *steps_of(RECIPE)))


@pytest.fixture(autouse=True)
def capture(monkeypatch, tmp_path):
    model = CapturedModel(
        name="net", source="net.py:build", source_kind="torch", kind="pt2", path=tmp_path / "float.pt2", inputs=(),
        outputs=(), digest="d" * 64, parameters=1, macs=1, family="cnn",
    )  # fmt: skip
    monkeypatch.setattr("edgekit.trials.export_request.capture_model", lambda *_args, **_kwargs: model)
    monkeypatch.setattr("edgekit.trials.export_request.analyze_model", lambda *_args, **_kwargs: None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EDGEKIT_DEVICE", raising=False)


def write(plan):
    Path("plan.json").write_text(json.dumps(plan.to_json()))


def refused(capsys, *arguments):
    assert main(["export", "--plan", "plan.json", *arguments]) == 2
    return capsys.readouterr().err.removeprefix("edgekit: ").rstrip("\n")


def test_the_recipe_the_format_and_the_limits_are_the_plan_s(monkeypatch, capsys):
    write(plan_of(chosen()))
    seen = {}

    def fake_export(_inputs, candidates, **more):
        seen.update(candidates=candidates, **more)
        raise KeyboardInterrupt

    monkeypatch.setattr("edgekit.trials.export_request.read_inputs", lambda *_args, **_kwargs: None)
    monkeypatch.setattr("edgekit.trials.export_request.export_candidates", fake_export)
    assert main(["export", "--plan", "plan.json", "--max-memory", "9 MB"]) == 130
    assert capsys.readouterr().err == ("\nInterrupted. Finished work is kept: the same command goes on from there.\n")
    assert [(item.runtime, item.recipe) for item in seen["candidates"]] == [("onnx", RECIPE)]
    assert seen["device"] == "pi4"
    assert {limit.name: limit.value for limit in seen["budget"].limits} == {
        "size": 5e6,
        "memory": 9e6,
        "delegate_coverage": 90.0,
    }


def test_a_plan_for_another_device_is_refused(capsys):
    write(plan_of(chosen()))
    assert refused(capsys, "--device", "pi5") == (
        "plan.json was made for pi4, and --device names pi5. Leave --device away, or plan for that device."
    )


def test_a_plan_for_another_model_is_refused(capsys):
    write(plan_of(chosen(), digest="e" * 64))
    assert refused(capsys) == (
        "plan.json was made for net.py:build with digest eeeeeeeeeeee; the model is now net.py:build with digest "
        "dddddddddddd. Plan again, or give the model that the plan is for."
    )


def test_a_plan_without_a_choice_is_refused(capsys):
    write(plan_of(None))
    assert refused(capsys) == ("plan.json chose nothing: no format can hold this model. Plan again with other formats.")


def test_a_step_that_does_not_exist_is_refused(capsys):
    write(plan_of(chosen(Step(technique="fold_space"))))
    assert refused(capsys) == (
        "plan.json asks for fold_space, which this edgekit cannot do. "
        "Write the plan anew with: edgekit plan --device pi4 -o plan.json"
    )


def test_a_plan_that_is_not_there_is_named(capsys):
    assert refused(capsys) == "plan.json: no such file. Write a plan with: edgekit plan --device NAME -o plan.json"


def test_a_file_that_is_no_json_is_named(capsys):
    Path("plan.json").write_text("{")
    assert refused(capsys) == (
        "plan.json is not valid JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1). "
        "Write it anew with: edgekit plan --device NAME -o plan.json"
    )


def test_json_that_is_no_object_is_named(capsys):
    Path("plan.json").write_text("[]")
    assert refused(capsys) == "plan.json: not a plan. Write one with: edgekit plan --device NAME -o plan.json"


def test_an_unknown_effort_is_refused(capsys):
    assert main(["export", "--device", "pi4", "--effort", "heroic"]) == 2
    assert capsys.readouterr().err == (
        'edgekit: --effort "heroic" is not known: accepted are quick, default, thorough.\n'
    )


@pytest.mark.parametrize(
    "flags", [["--format", "tflite"], ["--precision", "fp16"], ["--effort", "default"]], ids=lambda flags: flags[0]
)
def test_flags_that_the_plan_has_decided_are_refused(capsys, flags):
    write(plan_of(chosen()))
    assert refused(capsys, *flags) == (
        "--plan has decided what --format, --precision and --effort are about: omit them."
    )
