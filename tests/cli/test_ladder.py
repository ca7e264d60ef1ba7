"""`edgekit ladder`: its words and its errors from plain values, and one climb through real converters and runtimes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgekit.budget import Budget, Limit
from edgekit.checks import judge
from edgekit.cli.app import main
from edgekit.cli.ladder_text import LadderText
from edgekit.model import CapturedModel
from edgekit.pipeline.settings import Settings
from edgekit.planner.cliff import LayerShare
from edgekit.planner.recipes import steps_of
from edgekit.profiles.profile import find_profile
from edgekit.recipe import Candidate, Recipe, Step
from edgekit.task.request import Request
from edgekit.task.task import Task
from edgekit.trials.ladder_rungs import Cliff, Ladder, LadderRequest, Rung
from edgekit.workers.worker import JobResult

LIMIT = Limit(name="accuracy_drop", value=1.0, source="--max-drop")


def rung(name, default, drop, size, **recipe):
    made = Recipe(default=default, **recipe)
    steps = (Step(technique="equalize"), *steps_of(made))
    return Rung(
        name=name,
        candidate=Candidate(runtime="onnx", recipe=made, steps=steps),
        checks=(
            judge("size", size, None, measured_on="file"),
            judge("accuracy_drop", drop, LIMIT, low=drop - 0.3, high=drop + 0.3),
        ),
    )


FP16 = rung("fp16", "fp16", 0.1, 2e6)
INT8 = rung("int8", "int8_dynamic", 0.9, 1e6)
INT4 = rung("int4", "int4_weights", 5.0, 5e5)
MIXED = rung("int4, 1 layer at int8", "int4_weights", 0.4, 6e5, overrides=(("a", "int8_dynamic"),))
CLIFF = Cliff(
    rung="int4", precision="int4_weights", kept=("a",), kept_precision="int8_dynamic",
    layers=(LayerShare(module="a", noise=0.9, share=0.9), LayerShare(module="b", noise=0.1, share=0.1)),
)  # fmt: skip


def story(tmp_path, *rungs, **more):
    task = Task(base=tmp_path, model="net.py:build", calibration="data.py:c", evaluation="data.py:e", metric="cosine")
    model = CapturedModel(
        name="net", source="net.py:build", source_kind="torch", kind="pt2", path=tmp_path, inputs=(), outputs=(),
        digest="d", parameters=10**6, macs=None, family="transformer",
    )  # fmt: skip
    profile, budget = find_profile("pi4", tmp_path), Budget(limits=(LIMIT,))
    requested = LadderRequest(
        task=task, model=model, profile=profile, budget=budget, runtime="onnx", techniques=(Step(technique="equalize"),)
    )
    made = Ladder(request=requested, limit=LIMIT, rungs=rungs, **more)
    request = Request(task=task, profile=profile, budget=budget, formats=("onnx",), precision=None)
    text = LadderText(ladder=made, request=request)
    lines = [str(part) for part in text.story(verbose=False)]
    return " ".join(" ".join(lines).split()), str(next(iter(text.verdict())))


def test_the_cliff_its_layers_and_the_mixture_are_reported_in_words(tmp_path):
    words, verdict = story(tmp_path, FP16, INT8, INT4, MIXED, cliff=CLIFF)
    assert "int4 is the cliff: accuracy drop 5.00 pp exceeds 1.00 pp by 4.00 pp (limit from --max-drop)" in words
    assert "1 layer makes 90 % of its error, of 2 (each simulated alone on calibration data): a 90 %" in words
    assert "int4, 1 layer at int8: the drop is 0.40 pp again. Kept: a" in words
    assert verdict == "Rung     int4, 1 layer at int8, onnx for pi4"


def test_the_next_command_of_a_mixture_is_the_ladder_itself(tmp_path):
    words, _ = story(tmp_path, FP16, INT8, INT4, MIXED, cliff=CLIFF)
    assert words.endswith(
        "Next edgekit ladder net.py:build --device pi4 --format onnx --technique equalize --max-drop '1 pp' "
        "--calibration data.py:c --evaluation data.py:e --metric cosine -o out"
    )


def test_the_next_command_of_a_preset_is_an_export_and_an_unsure_drop_is_reported(tmp_path):
    words, _ = story(tmp_path, FP16, INT8)
    assert "edgekit export net.py:build --device pi4 --format onnx --precision int8 --technique equalize" in words
    assert "none: no rung that was measured breaks the limit" in words
    assert "its drop is inconclusive: the interval crosses the limit; more evaluation data decides it" in words


def test_where_no_rung_keeps_the_budget_each_ones_miss_is_reported(tmp_path):
    words, verdict = story(
        tmp_path, INT4, left=("int8",), cliff=Cliff(rung="int4", precision="int4_weights", reason="x")
    )
    assert "no mixture: x" in words
    assert "of onnx for pi4 keeps the budget: int4: accuracy drop 5.00 pp exceeds 1.00 pp" in " ".join(verdict.split())


def test_one_format_at_a_time(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("edgekit.trials.ladder_request.capture_model", lambda *_args, **_kwargs: None)
    monkeypatch.setattr("edgekit.trials.ladder_request.refuse_techniques", lambda *_: None)
    assert main(["ladder", "net.onnx", "--device", "pi4", "--format", "tflite,onnx"]) == 2
    assert capsys.readouterr().err == (
        "edgekit: A ladder is about one format, and tflite, onnx were named. Give one with --format.\n"
    )


@pytest.fixture
def jobs_here(monkeypatch):
    """Jobs run in this process, which costs a tenth of a worker."""

    def run(self, title, job, request, progress=lambda *_: None, **_):
        del self, title
        value = job.work(request, progress)
        return JobResult(value=value, wall_s=0.1, cpu_s=0.1, peak_memory_bytes=0)

    monkeypatch.setattr(Settings, "run", run)


def write_net(folder: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    generator = np.random.default_rng(0)
    names, width = ["x", "h1", "h2", "y"], 64
    nodes = [helper.make_node("MatMul", [names[i], f"w{i}"], [names[i + 1]]) for i in range(3)]
    weights = [(generator.standard_normal((width, width)) / 8).astype("f4") for _ in nodes]
    ends = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, width))] for name in ("x", "y")]
    held = [numpy_helper.from_array(array, f"w{i}") for i, array in enumerate(weights)]
    graph = helper.make_graph(nodes, "net", *ends, held)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), folder / "net.onnx")
    for name, count in (("calibration", 16), ("evaluation", 40)):
        np.savez(folder / f"{name}.npz", x=generator.standard_normal((count, width)).astype("f4"))


@pytest.mark.runtime
@pytest.mark.filterwarnings("ignore")  # torch warns while it exports
def test_a_small_network_goes_down_to_its_cliff_and_a_mixture_brings_it_back(tmp_path, monkeypatch, capsys, jobs_here):
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    write_net(tmp_path)
    flags = ["--calibration", "calibration.npz", "--evaluation", "evaluation.npz", "--metric", "cosine"]
    limit = ["--max-drop", "0.8 pp"]
    assert main(["ladder", "net.onnx", "--device", "pi4", "--format", "onnx", *flags, *limit, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    names = [item["name"] for item in data["rungs"]]
    assert names[:3] == ["fp16", "int8", "int4"]
    drops, parities = (
        [next(check["value"] for check in item["checks"] if check["name"] == name) for item in data["rungs"]]
        for name in ("accuracy_drop", "parity")
    )
    assert drops[:2] == sorted(drops[:2])
    assert drops[2] > 0.8 >= drops[-1]
    assert len(names) > 3
    # The layers that are kept at 8 bits are so in the artifact too.
    assert parities[-1] > parities[2] + 1
    assert sum(item["share"] for item in data["cliff"]["layers"]) == pytest.approx(1)
    assert {item["module"] for item in data["cliff"]["layers"]} == {"MatMul_h1", "MatMul_h2", "MatMul_y"}
    assert data["chosen"] == names[-1]
    assert names[-1].startswith("int4, ")
    assert names[-1].endswith(" at int8")
