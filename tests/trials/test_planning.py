"""Plans with more effort: what is simulated, mixed and exported, with fakes in the place of workers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edgekit.analysis.graph_builder import GraphBuilder
from edgekit.budget import Budget, read_limit
from edgekit.checks import judge
from edgekit.errors import ConversionError, ModelError
from edgekit.model import CapturedModel
from edgekit.pipeline.settings import Settings
from edgekit.planner.plan import LayerLoss
from edgekit.profiles.profile import DeviceProfile, Hardware
from edgekit.recipe import Prediction
from edgekit.simulation.jobs import SimulatedDrop, SimulatedRecipe
from edgekit.task.task import Task
from edgekit.trials import finalists, planning, simulation_data
from edgekit.trials.candidates import weighed
from edgekit.trials.planning import PlanRequest, plan
from edgekit.workers.cache import Cache

RNG = np.random.default_rng(0)
NOISE = {"a": 1e-3, "b": 1e-5}
DROPS = {"fp16": 0.5, "int8-static": 2.0, "int8-static+mixed": 0.2}


def two_layers():
    builder = GraphBuilder()
    builder.tensor("x", (1, 300, 4, 4), "float32")
    before = "x"
    for name in NOISE:
        builder.store(f"{name}.weight", (300, 300, 1, 1), "float32", lambda: RNG.standard_normal(90_000).astype("f4"))
        builder.tensor(name, (1, 300, 4, 4), "float32")
        builder.add(
            name=name, type="conv2d", kernel="pointwise_conv", module=name, reads=[before, f"{name}.weight"],
            outputs=[name], macs=1_440_000, roles={f"{name}.weight": ("kernel", 300)},
        )  # fmt: skip
        before = name
    return builder.finish(["x"], [before])


@pytest.fixture
def calls(monkeypatch):
    """Fakes for everything that would run in a worker; records what was requested."""
    seen = {"simulated": [], "layers": [], "exported": []}

    def simulate(candidates, *_rest):
        seen["simulated"] += [item.title for item in candidates]
        return tuple(
            SimulatedRecipe(
                sqnr_db=40.0 - 10 * (drop := DROPS[item.recipe.name]),
                drop=SimulatedDrop(metric="agreement", value=drop, low=drop * 0.8, high=drop * 1.2, count=9),
            )
            for item in candidates
        )

    def layers(base, precisions, *_rest):
        seen["layers"].append((base.title, precisions))
        return tuple(LayerLoss(module=name, precision=precisions[0], noise=noise) for name, noise in NOISE.items())

    def export(candidate, *_rest):
        seen["exported"].append(candidate.title)
        if candidate.recipe.name == "fp16":
            raise ConversionError("no kernel\nmore")
        return (
            judge("size", 1000.0, None, measured_on="file"),
            judge("accuracy_drop", 0.1, None, low=0.0, high=0.2, measured_on="host"),
            judge("latency", None, None),
        )

    monkeypatch.setattr(planning, "simulate_candidates", simulate)
    monkeypatch.setattr(planning, "measure_layers", layers)
    monkeypatch.setattr(finalists, "export_candidate", export)
    inputs = SimpleNamespace(task=SimpleNamespace(metric="agreement"))
    monkeypatch.setattr(planning, "read_inputs", lambda *_args, **_kwargs: inputs)
    monkeypatch.setattr(planning, "why_not_made", lambda *_: lambda _runtime, _recipe: None)
    monkeypatch.setattr(planning, "find_obstacles", lambda *_args, **_kwargs: ())
    monkeypatch.setattr(
        simulation_data,
        "prepare_samples",
        lambda task, *_rest: task.calibration and SimpleNamespace(items=270, count=9),
    )
    return seen


def two_products():
    """Two linear layers: 4 bits are for such."""
    builder = GraphBuilder()
    builder.tensor("x", (1, 4, 256), "float32")
    before = "x"
    for name in NOISE:
        builder.store(f"{name}.weight", (256, 256), "float32", lambda: RNG.standard_normal((256, 256)).astype("f4"))
        builder.tensor(name, (1, 4, 256), "float32")
        builder.add(
            name=name, type="linear", kernel="linear", module=name, reads=[before, f"{name}.weight"],
            outputs=[name], macs=262_144, roles={f"{name}.weight": ("kernel", 256)},
        )  # fmt: skip
        before = name
    return builder.finish(["x"], [before])


def ask(
    tmp_path, effort, *, kind="pt2", calibration="data.py:f", precision=None, float_types=(), branches=(),
    analysis=None, **limits,
):  # fmt: skip
    analysis = analysis or two_layers()
    model = CapturedModel(
        name="net", source="net.py:build", source_kind="torch", kind=kind, path=tmp_path / "float.pt2", inputs=(),
        outputs=(), digest="d", parameters=1, macs=1, family="cnn", float_types=float_types,
        settled_branches=branches,
    )  # fmt: skip
    profile = DeviceProfile(
        name="board", title="Board", kind="phone", runtimes=("tflite",), hardware=Hardware(cpu=(), features=()),
        path=Path("board.toml"),
    )  # fmt: skip
    return plan(
        PlanRequest(
            task=Task(base=tmp_path, model="net.py:build", calibration=calibration, metric="agreement"),
            model=model,
            analysis=analysis,
            profile=profile,
            budget=Budget().overridden_by(read_limit(name, text, f"--max-{name}") for name, text in limits.items()),
            precision=precision,
            effort=effort,
        ),
        Settings(cache=Cache(root=tmp_path / "cache"), jobs=1),
    )


def test_quick_runs_nothing(calls, tmp_path):
    made = ask(tmp_path, "quick", size="500 kB")
    assert calls == {"simulated": [], "layers": [], "exported": []}
    assert (made.effort, made.sensitivity) == ("quick", ())


def test_a_model_of_another_float_type_is_said_to_be_computed_in_float32(calls, tmp_path):
    (warning,) = ask(tmp_path, "quick", float_types=("bfloat16", "float64")).warnings
    assert warning == (
        "The model computes in bfloat16 and float64. Here it is computed in float32, and so it is compared; what a "
        "format computes in is its precision's choice."
    )
    assert ask(tmp_path, "quick").warnings == ()


def test_branches_that_sizes_decided_are_named(calls, tmp_path):
    (warning,) = ask(tmp_path, "quick", branches=("If_0 (then_branch)", "If_3 (else_branch)")).warnings
    assert warning == (
        "The sizes of the inputs decide If_0 (then_branch), If_3 (else_branch): the other side cannot run with them, "
        "and artifacts hold the one that can, whatever the condition says."
    )


def test_default_takes_the_mixture_that_keeps_the_accuracy(calls, tmp_path):
    made = ask(tmp_path, "default", size="500 kB", accuracy_drop="1 pp")
    assert made.chosen.title == "tflite int8-static+mixed"
    assert made.chosen.recipe.overrides == (("a", "fp32"),)
    assert calls["simulated"] == ["tflite int8-static", "tflite fp16", "tflite int8-static+mixed"]
    drop = made.chosen.prediction("accuracy_drop")
    assert (drop.value, drop.evidence, drop.basis) == (0.2, "simulated", "simulated on 270 calibration samples")
    assert [item.module for item in made.sensitivity] == ["a", "b"]
    rejected = {item.candidate: item.reason for item in made.rejected}
    assert rejected["tflite int8-static"] == "accuracy drop 1.86 pp exceeds 1.00 pp (--max-accuracy_drop) by 0.86 pp"


@pytest.mark.parametrize(("samples", "value", "low", "high"), [(30, 4.75, 1.0, 9.5), (270, 7.75, 1.8, 13.9)])
def test_a_drop_that_few_samples_say_is_brought_nearer_to_what_other_models_lost(samples, value, low, high):
    def drop(value, low, high, evidence, basis):
        return Prediction(
            name="accuracy_drop", value=value, low=low, high=high, unit="pp", basis=basis, evidence=evidence
        )

    parity = Prediction(name="parity", value=20.0, low=None, high=None, unit="dB", basis="", evidence="simulated")
    made = drop(8.5, 2.0, 15.0, "simulated", f"simulated on {samples} calibration samples")
    expected = drop(1.0, 0.0, 4.0, "expected", "expected from a net")
    same, found = weighed((parity, made), expected, samples)
    assert same is parity
    assert (found.value, found.low, found.high) == pytest.approx((value, low, high))
    assert found.evidence == "simulated"
    share = f"{samples / (samples + 30):.0%}"
    assert found.basis == (
        f"simulated on {samples} calibration samples (8.50 pp), which count {share} beside what other models lost"
    )


def test_a_drop_stays_where_nothing_was_expected():
    made = Prediction(
        name="accuracy_drop", value=8.0, low=1.0, high=15.0, unit="pp", basis="simulated", evidence="simulated"
    )
    assert weighed((made,), None, 9) == (made,)
    assert weighed((made,), replace(made, value=None, evidence="expected"), 9) == (made,)
    assert weighed((made,), replace(made, evidence="measured"), 9) == (made,)


def test_what_breaks_a_limit_is_not_simulated(calls, tmp_path):
    ask(tmp_path, "default", size="250 kB")
    assert "tflite fp16" not in calls["simulated"]


def test_a_forced_precision_is_not_mixed(calls, tmp_path):
    ask(tmp_path, "default", size="500 kB", precision="int8")
    assert calls["layers"] == []


@pytest.mark.parametrize(
    ("limits", "chosen", "kept"),
    [
        pytest.param({}, "int4+mixed", ("a",), id="no-limit"),
        pytest.param({"parity": "30 dB"}, "int4+mixed", ("a",), id="a-limit"),
        pytest.param({"parity": "8 dB"}, "int4", (), id="near-enough"),
        pytest.param({"size": "83 kB"}, "int4", (), id="no-room"),
    ],
)
def test_four_bits_that_are_forced_keep_8_where_they_would_be_too_far_from_float(
    calls, tmp_path, monkeypatch, limits, chosen, kept
):
    noises = {"int4_weights": {"a": 0.09, "b": 1e-4}, "int8_dynamic": {"a": 1e-5, "b": 1e-6}}
    monkeypatch.setattr(
        planning,
        "measure_layers",
        lambda _base, precisions, *_: tuple(
            LayerLoss(module=m, precision=p, noise=noise) for p in precisions for m, noise in noises[p].items()
        ),
    )
    monkeypatch.setitem(DROPS, "int4", 2.8)  # 12 dB: see `simulate`
    monkeypatch.setitem(DROPS, "int4+mixed", 0.3)
    made = ask(tmp_path, "default", precision="int4", analysis=two_products(), **limits)
    assert made.chosen.recipe.name == chosen
    assert made.chosen.recipe.overrides == tuple((module, "int8_dynamic") for module in kept)
    assert calls["simulated"][0] == "tflite int4"


def test_thorough_exports_three_and_decides_by_what_was_measured(calls, tmp_path):
    made = ask(tmp_path, "thorough", size="500 kB", accuracy_drop="5 pp")
    assert len(calls["exported"]) == 3
    assert {item.candidate: item.reason for item in made.rejected}["tflite fp16"] == "no kernel"
    drop = made.chosen.prediction("accuracy_drop")
    assert (drop.value, drop.evidence, drop.basis) == (0.1, "measured", "measured on host")
    assert made.chosen.prediction("size").value == 1000


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (
            {"calibration": None},
            "the task has no calibration data; give --calibration, or [data] calibration in edgekit.toml",
        ),
        (
            {"kind": "keras"},
            "a keras file cannot be run layer by layer here; give the torch or ONNX model that it was made from",
        ),
    ],
    ids=["no calibration", "keras"],
)
def test_where_nothing_can_be_simulated_the_plan_says_why(calls, tmp_path, more, reason):
    made = ask(tmp_path, "default", size="2 MB", **more)
    assert calls["simulated"] == []
    assert made.warnings[-1] == f"nothing was simulated: {reason}"
    assert made.chosen is not None


def test_an_onnx_file_that_cannot_become_torch_is_planned_by_arithmetic(calls, tmp_path, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise ModelError("no importer for Loop\nmore")

    monkeypatch.setattr(simulation_data, "capture_model", refuse)
    made = ask(tmp_path, "default", kind="onnx", size="2 MB")
    assert made.warnings[-1] == "nothing was simulated: no importer for Loop"
