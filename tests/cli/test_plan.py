"""`edgekit plan`: its story, its JSON, its exit codes. The model is a fake: nothing is captured or converted."""

from __future__ import annotations

import json
from typing import ClassVar

import numpy as np
import pytest

from edgekit.analysis.graph_builder import GraphBuilder
from edgekit.cli.app import main
from edgekit.model import CapturedModel
from edgekit.planner.plan import Plan
from edgekit.task.request import parse_technique

RNG = np.random.default_rng(0)


def small_cnn():
    """A 3x3 and a 1x1 convolution with 1,009,000 weights."""
    builder = GraphBuilder()
    shapes = {"stem.weight": (1000, 1, 3, 3), "head.weight": (1000, 1000, 1, 1)}
    for name, shape in shapes.items():
        builder.store(name, shape, "float32", lambda shape=shape: RNG.standard_normal(shape).astype("f4"))
    for name, channels in (("x", 1), ("a", 1000), ("y", 1000)):
        builder.tensor(name, (1, channels, 8, 8), "float32")
    for name, kernel, reads, output in (
        ("stem", "dense_conv", ["x", "stem.weight"], "a"),
        ("head", "pointwise_conv", ["a", "head.weight"], "y"),
    ):
        weight = reads[1]
        builder.add(
            name=name,
            type="conv2d",
            kernel=kernel,
            module=name,
            reads=reads,
            outputs=[output],
            macs=64 * int(np.prod(shapes[weight])),
            roles={weight: ("kernel", 1000)},
        )
    return builder.finish(["x"], ["y"])


class FakeConverter:
    reasons: ClassVar[dict[str, str]] = {}

    def __init__(self, runtime):
        self.runtime = runtime

    def why_not(self, _kind, _recipe):
        return self.reasons.get(self.runtime)

    def why_not_graph(self, _analysis):
        return None

    def why_not_open(self, _model):
        return None

    def missing(self):
        return ()


@pytest.fixture(autouse=True)
def model(monkeypatch, tmp_path):
    """A captured model and its analysis, as if from the cache."""
    analysis = small_cnn()
    captured = CapturedModel(
        name="net",
        source="edgekit.task.default_model:build",
        source_kind="torch",
        kind="pt2",
        path=tmp_path / "float.pt2",
        inputs=(),
        outputs=(),
        digest="d",
        parameters=analysis.parameters,
        macs=analysis.macs,
        family="cnn",
        embedded_default=True,
    )
    monkeypatch.setattr("edgekit.pipeline.capture.capture_model", lambda *_args, **_kwargs: captured)
    monkeypatch.setattr("edgekit.pipeline.analysis.analyze_model", lambda *_args: analysis)
    monkeypatch.setattr("edgekit.pipeline.convert.find_converter", FakeConverter)
    monkeypatch.setattr(FakeConverter, "reasons", {})
    monkeypatch.setattr("edgekit.trials.planning.find_obstacles", lambda *_args, **_kwargs: ())
    monkeypatch.chdir(tmp_path)
    for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR", "EDGEKIT_MAX_SIZE", "EDGEKIT_DEVICE"):
        monkeypatch.delenv(name, raising=False)
    return captured


def lines(capsys):
    out = capsys.readouterr().out
    assert "\x1b" not in out
    return [line.rstrip() for line in out.splitlines()]


def test_a_plan_that_fits_tells_its_story_in_forty_lines(capsys):
    assert main(["plan", "--device", "pi4"]) == 0
    found = lines(capsys)
    assert len(found) <= 44
    assert max(map(len, found)) <= 100
    text = "\n".join(found)
    assert "Model    net: 1.01 M parameters, 64.6 M MACs, cnn" in found
    assert "No model was given: this is the embedded default. Yours: edgekit plan model.py:build -d" in text
    assert found[0].startswith("Model")
    assert "Device   Raspberry Pi 4 Model B (4 GB) (pi4): 4 x Cortex-A72 1.8 GHz; neon" in found
    assert "Next     edgekit export --device pi4 --format tflite --precision int8 -o out" in found
    assert any(line.split()[:4] == ["size", "20", "MB", "profile"] and line.endswith("pass") for line in found)
    assert any(line.startswith("latency") and line.endswith("pass") for line in found)
    assert any(line.startswith("accuracy drop  10.00 pp") and line.endswith("pass") for line in found)
    assert "More     quick: nothing was run. --effort default simulates the recipes on calibration data," in text


def test_every_limit_says_who_set_it(capsys, monkeypatch):
    monkeypatch.setenv("EDGEKIT_MAX_SIZE", "9 MB")
    assert main(["plan", "--device", "pi4", "--max-memory", "99 MB"]) == 0
    words = {line.split()[0]: line for line in lines(capsys) if line[:1] != " " and line}
    assert "9 MB  EDGEKIT_MAX_SIZE" in words["size"]
    assert "99 MB  --max-memory" in words["peak"]
    assert "10.00 pp  demo task" in words["accuracy"]


def test_a_plan_that_does_not_fit_names_the_nearest_and_what_would_make_it_fit(capsys):
    assert main(["plan", "--device", "pi4", "--format", "tflite", "--max-size", "500 kB"]) == 1
    found = lines(capsys)
    assert "No plan  keeps every budget" in found
    assert any(line.startswith("         size 1.0") and "exceeds 500 kB (--max-size) by" in line for line in found)
    assert 'To fit   --max-size "1.1 MB" makes tflite int8-static fit' in found
    assert any(line.startswith("size") and line.endswith("FAIL") for line in found)
    assert not [line for line in found if line.startswith("Next")]


def test_quiet_prints_one_line(capsys):
    assert main(["plan", "--device", "pi4", "-q"]) == 0
    assert lines(capsys) == ["Plan     tflite int8-static for pi4"]


def test_quiet_says_what_is_missed(capsys):
    assert main(["plan", "--device", "pi4", "-q", "--format", "tflite", "--max-size", "500 kB"]) == 1
    text = " ".join(" ".join(lines(capsys)).split())
    assert text.startswith("No plan for pi4; nearest: tflite int8-static: size 1.0")


def test_json_is_the_plan_and_nothing_else(capsys):
    assert main(["plan", "--device", "pi4", "--precision", "int8", "--json"]) == 0
    captured = capsys.readouterr()
    data = json.loads(captured.out)
    assert (data["command"], data["device"], data["runtime"], data["feasible"]) == ("plan", "pi4", "tflite", True)
    assert data["steps"][0]["technique"] == "quantize_static"
    assert data["model"]["embedded_default"] is True
    assert {check["name"] for check in data["checks"]} == {"size", "download", "memory", "latency", "accuracy_drop"}
    assert captured.err == ""


def test_the_plan_is_written_for_export(capsys, tmp_path):
    assert main(["plan", "--device", "pi4", "-o", "plan.json"]) == 0
    made = Plan.from_json(json.loads((tmp_path / "plan.json").read_text()))
    assert made.chosen.title == "tflite int8-static"
    found = lines(capsys)
    assert "Next     edgekit export --plan plan.json -o out" in found
    assert "Written  plan.json" in found


def test_the_next_command_repeats_limits_that_were_given_as_flags(capsys):
    assert main(["plan", "--device", "pi4", "--max-size", "6.5 MB", "--max-drop", "2 pp"]) == 0
    text = "\n".join(lines(capsys))
    assert "--precision int8 --max-size '6.5 MB' --max-drop '2 pp' -o out" in text


def test_a_plan_that_cannot_be_written_is_one_message(capsys):
    assert main(["plan", "--device", "pi4", "-o", "no/such/plan.json"]) == 3
    assert capsys.readouterr().err == (
        "edgekit: no/such/plan.json: the plan cannot be written: No such file or directory. "
        "Name a file in a folder that exists and is writable.\n"
    )


def test_an_unknown_effort_is_refused(capsys):
    assert main(["plan", "--device", "pi4", "--effort", "heroic"]) == 2
    assert (
        capsys.readouterr().err == 'edgekit: --effort "heroic" is not known: accepted are quick, default, thorough.\n'
    )


def test_what_a_converter_refuses_is_turned_down_with_its_reason(capsys, monkeypatch):
    monkeypatch.setattr(FakeConverter, "reasons", {"tflite": "no bridge from here"})
    assert main(["plan", "--device", "pi4"]) == 0
    found = lines(capsys)
    assert "         - tflite fp32, fp16, int8-static: no bridge from here" in found
    assert any(line.startswith("Next     edgekit export --device pi4 --format onnx") for line in found)


def test_without_any_format_there_is_no_plan(capsys, monkeypatch):
    monkeypatch.setattr(
        FakeConverter, "reasons", dict.fromkeys(("tflite", "onnx", "executorch"), "a finished artifact")
    )
    assert main(["plan", "--device", "pi4"]) == 1
    found = lines(capsys)
    assert "No plan  no format can be made from this model: see below" in found
    assert (
        "         - tflite fp32, fp16, int8-static; onnx fp32, fp16, int8-static; executorch fp32, fp16,"
        in "\n".join(found)
    )


def test_verbose_shows_every_candidate_in_its_own_row(capsys):
    main(["plan", "--device", "pi4", "-v"])
    found = lines(capsys)
    assert "         - executorch fp16: pi4 prefers tflite" in found


def test_why_shows_which_layers_lose_most_where_they_were_measured(capsys, monkeypatch):
    from dataclasses import replace

    from edgekit.planner.plan import LayerLoss
    from edgekit.trials import planning

    losses = tuple(
        LayerLoss(module=module, precision="int8_static", noise=noise, points=points)
        for module, noise, points in (("stem", 0.001, None), ("head", 0.003, 0.25))
    )
    make = planning.plan
    monkeypatch.setattr(planning, "plan", lambda *args: replace(make(*args), sensitivity=losses))
    assert main(["plan", "--device", "pi4", "--why"]) == 0
    found = [" ".join(line.split()) for line in lines(capsys)]
    assert "latency: predicted milliseconds on pi4 of" in found
    start = found.index("accuracy: the output noise of one layer alone")
    rows = [line for line in found[start:] if line.startswith(("head", "stem"))]
    assert rows == ["head int8_static 25.2 dB 75.0 % 0.25 pp", "stem int8_static 30.0 dB 25.0 % -"]


def test_why_shows_the_operators_that_cost_most(capsys):
    assert main(["plan", "--device", "pi4", "--why"]) == 0
    found = lines(capsys)
    start = found.index("size: the weights of")
    assert found[start + 1].split() == ["operator", "module", "output", "cost", "share"]
    assert found[start + 2].split() == ["conv2d", "head", "1x1000x8x8", "1.01", "MB", "98.0", "%"]
    assert "memory: float activations alive at" in found
    spent = found.index("latency: predicted milliseconds on pi4 of")
    assert found[spent + 2].split()[:3] == ["conv2d", "head", "1x1000x8x8"]
    work = found.index("work: the MACs of")
    assert found[work + 2].split() == ["conv2d", "head", "1x1000x8x8", "64", "M", "99.1", "%"]


def test_python_has_the_operators_and_asks_for_trial_conversions_too(monkeypatch):
    import edgekit
    from edgekit.trials import planning

    make, trials = planning.plan, []
    monkeypatch.setattr(planning, "plan", lambda wanted, *rest: (trials.append(wanted.trial), make(wanted, *rest))[1])
    plan = edgekit.plan(device="pi4")
    assert [operator.module for operator in plan.analysis.operators] == ["stem", "head"]
    monkeypatch.setattr(planning, "plan", lambda wanted, *_: (trials.append(wanted.trial), plan.plan)[1])
    edgekit.plan(device="pi4", why=True)
    assert trials == [False, True]


@pytest.mark.parametrize("flag", [[], ["--no-color"]], ids=["pipe", "no color"])
def test_nothing_is_coloured_in_a_pipe(flag, capsys):
    main(["plan", "--device", "pi4", *flag])
    lines(capsys)


def test_planning_twice_gives_the_same_bytes(capsys):
    main(["plan", "--device", "pi4", "--json"])
    first = capsys.readouterr().out
    main(["plan", "--device", "pi4", "--json"])
    assert capsys.readouterr().out == first


def test_a_plan_of_a_user_s_model_names_it_in_the_next_command(capsys, monkeypatch, model, tmp_path):
    from dataclasses import replace

    mine = replace(model, source="model.py:build", embedded_default=False)
    monkeypatch.setattr("edgekit.pipeline.capture.capture_model", lambda *_args, **_kwargs: mine)
    (tmp_path / "model.py").write_text("")
    assert main(["plan", "model.py:build", "--device", "pi4", "--calibration", "cal.npz"]) == 0
    found = lines(capsys)
    expected = (
        "edgekit export model.py:build --device pi4 --format tflite --precision int8 --calibration cal.npz -o out"
    )
    assert f"Next     {expected}" in found
    assert not [line for line in found if "embedded default" in line]


def test_the_next_command_repeats_the_task_file_and_the_data_that_were_named(capsys, monkeypatch, model, tmp_path):
    from dataclasses import replace

    mine = replace(model, source="model.py:build", embedded_default=False)
    monkeypatch.setattr("edgekit.pipeline.capture.capture_model", lambda *_args, **_kwargs: mine)
    (tmp_path / "model.py").write_text("")
    (tmp_path / "task.toml").write_text('[model]\nsource = "model.py:build"\n')
    assert main(["plan", "--device", "pi4", "-c", "task.toml"]) == 0
    end = "--device pi4 --format tflite --precision int8"
    assert f"Next     edgekit export --config task.toml {end} --calibration YOUR_DATA -o out" in lines(capsys)
    data = ["--example-inputs", "model.py:inputs(size=8)", "--calibration", "cal.npz"]
    assert main(["plan", "model.py:build", "--device", "pi4", *data]) == 0
    named = "--example-inputs 'model.py:inputs(size=8)' --calibration cal.npz"
    assert f"Next     edgekit export model.py:build {end} {named} -o out" in lines(capsys)


def test_the_next_command_names_the_techniques_of_a_task_that_can_train(capsys, tmp_path):
    (tmp_path / "data.py").write_text("")
    (tmp_path / "edgekit.toml").write_text(
        '[model]\nsource = "net.py:build"\n[data]\ncalibration = "data.py:calibration"\n'
        '[training]\nbatches = "data.py:batches"\nloss = "data.py:loss"\n'
    )
    assert main(["plan", "--device", "pi4", "--max-size", "600 kB", "--max-drop", "5 pp"]) == 0
    text = "\n".join(lines(capsys))
    assert "Plan     prune channels, then quantize weights" in text
    command = next(line for line in text.splitlines() if line.startswith("Next"))
    assert "--precision int8 --technique prune_channels:ratio=0.5 --max-size '600000 B'" in command
    assert parse_technique("prune_channels:ratio=0.5", "--technique").settings["ratio"] == 0.5
