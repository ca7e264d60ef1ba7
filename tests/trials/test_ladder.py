"""The climb with fakes in the place of workers: what is made, what is skipped, which layers a mixture keeps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edgekit.analysis.graph_builder import GraphBuilder
from edgekit.budget import Budget, read_limit
from edgekit.checks import judge
from edgekit.errors import ConversionError, UsageError
from edgekit.exporting.inputs import Inputs
from edgekit.model import CapturedModel
from edgekit.pipeline.settings import Settings
from edgekit.planner.plan import LayerLoss
from edgekit.profiles.profile import DeviceProfile, Hardware
from edgekit.task.task import Task
from edgekit.trials import ladder as module
from edgekit.trials.candidates import LayerNoises
from edgekit.trials.ladder import ladder
from edgekit.trials.ladder_rungs import LadderRequest
from edgekit.workers.cache import Cache

NOISE = {"a": 0.05, "b": 0.03, "c": 0.01, "d": 0.01}
ABOVE = 1e-4


def four_layers(kernel="linear"):
    builder = GraphBuilder()
    builder.tensor("x", (1, 64), "float32")
    before = "x"
    for name in NOISE:
        builder.store(f"{name}.weight", (64, 64), "float32", lambda: np.ones((64, 64), "f4"))
        builder.tensor(name, (1, 64), "float32")
        builder.add(
            name=name, type=kernel, kernel=kernel, module=name, reads=[before, f"{name}.weight"], outputs=[name],
            macs=4096, roles={f"{name}.weight": ("kernel", 64)},
        )  # fmt: skip
        before = name
    return replace(builder.finish(["x"], [before]), family="transformer")


@pytest.fixture
def world(monkeypatch, tmp_path):
    """Fakes; `world.drop` gives the drop of a recipe, `world.made` what was exported."""
    seen = SimpleNamespace(
        made=[], analysis=four_layers(), refuse=lambda _runtime, _recipe: None, ready=("model", "samples"),
        drop=lambda recipe: {"fp16": 0.0, "int8-dynamic": 0.1}.get(recipe.name, 4.0 - len(kept(recipe))),
    )  # fmt: skip

    def kept(recipe):
        return [name for name in NOISE if recipe.word_of(name) != "int4_weights"]

    def export(candidate, _inputs, _settings, _changed):
        seen.made.append((candidate.recipe.name, kept(candidate.recipe)))
        drop = seen.drop(candidate.recipe)
        if isinstance(drop, Exception):
            raise drop
        size = {"fp16": 200.0, "int8-dynamic": 100.0, "int4": 50.0}.get(candidate.recipe.name, 60.0)
        return (
            judge("size", size, None, measured_on="file"),
            judge("accuracy_drop", drop, None, low=drop - 0.05, high=drop + 0.05),
            judge("latency", None, None),
        )

    def noise(_base, precisions, *_rest):
        layers = [
            LayerLoss(module=name, precision=item, noise=value if item == "int4_weights" else ABOVE)
            for name, value in NOISE.items()
            for item in precisions
        ]
        return LayerNoises(layers=tuple(layers), margins=None)

    def read(task, _runtimes, _settings, *, model, **_more):
        return Inputs(task=task, model=model, torch_model=model, calibration=None, evaluation=None, reference=None)

    monkeypatch.setattr(module, "export_candidate", export)
    monkeypatch.setattr(module, "measure_noise", noise)
    monkeypatch.setattr(module, "read_inputs", read)
    monkeypatch.setattr(module, "analyze_model", lambda *_: seen.analysis)
    monkeypatch.setattr(module, "why_not_made", lambda *_: seen.refuse)
    monkeypatch.setattr(module, "ready_to_simulate", lambda *_: seen.ready)
    seen.ask = lambda **more: ladder(request(tmp_path, **more), Settings(cache=Cache(root=tmp_path)), lambda *_: None)
    return seen


def request(tmp_path, *, evaluation="data.py:f", max_drop="1 pp", max_size=None, strict=False):
    profile = DeviceProfile(
        name="board", title="Board", kind="phone", runtimes=("tflite",), hardware=Hardware(cpu=(), features=()),
        path=Path("board.toml"),
    )  # fmt: skip
    model = CapturedModel(
        name="net", source="net.py:build", source_kind="torch", kind="pt2", path=tmp_path / "float.pt2", inputs=(),
        outputs=(), digest="d", parameters=1, macs=1, family="transformer",
    )  # fmt: skip
    texts = {"accuracy_drop": max_drop, "size": max_size}
    limits = [read_limit(name, text, f"--max-{name}") for name, text in texts.items() if text]
    return LadderRequest(
        task=Task(base=tmp_path, model="net.py:build", evaluation=evaluation, metric="cosine"), model=model,
        profile=profile, budget=Budget().overridden_by(limits), runtime="tflite", strict=strict,
    )  # fmt: skip


def test_the_layers_that_the_limit_asks_for_stay_at_the_precision_above(world):
    world.drop = lambda recipe: {"int4": 4.0, "int4+mixed": 0.8}.get(recipe.name, 0.1)
    made = world.ask()
    # A quarter of the noise is allowed: a and b take 0.08 of 0.1 away.
    assert world.made == [("fp16", [*NOISE]), ("int8-dynamic", [*NOISE]), ("int4", []), ("int4+mixed", ["a", "b"])]
    assert [rung.name for rung in made.rungs] == ["fp16", "int8", "int4", "int4, 2 layers at int8"]
    assert (made.cliff.kept, made.cliff.kept_precision, made.cliff.reason) == (("a", "b"), "int8_dynamic", "")
    assert [item.module for item in made.cliff.layers] == ["a", "b", "c", "d"]
    assert (made.chosen.name, made.exit_code) == ("int4, 2 layers at int8", 0)


def test_a_mixture_that_is_not_enough_is_followed_by_one_with_more_layers(world):
    world.drop = lambda recipe: {"int4": 1.9, "int4+mixed": 1.5}.get(recipe.name, 0.1)
    made = world.ask()
    assert [kept for name, kept in world.made if name == "int4+mixed"] == [["a"], ["a", "b"], ["a", "b", "c"]]
    assert made.cliff.reason == "3 mixtures were measured and none is inside the limit"
    assert made.chosen.name == "int8"


def test_where_every_layer_would_have_to_stay_there_is_no_mixture(world):
    world.drop = lambda recipe: 50.0 if recipe.name == "int4" else 0.1
    assert world.ask().cliff.reason == "every layer that helps would have to stay at int8"


def test_no_cliff_leaves_no_rung_out(world):
    made = world.ask(max_drop="9 pp")
    assert (made.cliff, made.left, made.chosen.name) == (None, (), "int4")


def test_the_cliff_leaves_what_is_below_it_untried(world):
    world.drop = lambda _recipe: 3.0
    made = world.ask()
    assert (made.left, made.chosen, made.exit_code) == (("int8", "int4"), None, 1)
    assert made.cliff.reason == "only integer precisions are simulated layer by layer"


def test_a_mixture_that_the_format_cannot_hold_gives_way_to_float(world):
    def refuse(_runtime, recipe):
        return "no" if any(precision == "int8_dynamic" for _, precision in recipe.overrides) else None

    world.refuse = refuse
    made = world.ask()
    assert made.cliff.kept_precision == "fp32"
    assert made.rungs[-1].name.endswith("layers at fp32")


def test_where_nothing_mixes_the_layers_are_reported_all_the_same(world):
    world.refuse = lambda _runtime, recipe: "no" if recipe.overrides else None
    made = world.ask()
    assert made.cliff.reason == "tflite cannot mix int4 with what is above it"
    assert len(made.cliff.layers) == 4


def test_without_a_simulation_the_reason_is_reported(world):
    world.ready = "the task has no calibration data"
    assert world.ask().cliff.reason == "the task has no calibration data"


def test_a_rung_that_fails_does_not_end_the_climb(world):
    world.drop = lambda recipe: ConversionError("no such operator") if recipe.name == "fp16" else 0.1
    made = world.ask()
    assert [rung.measured for rung in made.rungs] == [False, True, True]
    assert made.rungs[0].error.message == "no such operator"


def test_four_bits_are_skipped_where_their_kernels_have_no_work(world):
    world.analysis = four_layers("conv2d")
    world.analysis = replace(
        world.analysis, operators=tuple(replace(item, kernel="dense_conv") for item in world.analysis.operators)
    )
    made = world.ask()
    assert made.rungs[2].skipped == (
        "tflite has 4-bit kernels for linear layers only, and these do 0.0 % of the work: the rest would stay at 8 "
        "bits and compute in float"
    )


def test_without_evaluation_data_there_is_no_ladder(world):
    with pytest.raises(UsageError) as caught:
        world.ask(evaluation=None)
    assert caught.value.message == (
        "A ladder is judged by measured accuracy, and the task names no evaluation data. Give it as --evaluation DATA "
        "or [data] evaluation in edgekit.toml: a function, an .npz file or a folder of images."
    )


def test_a_format_without_any_rung_is_an_error_with_the_reasons(world):
    world.refuse = lambda _runtime, _recipe: "it cannot"
    with pytest.raises(UsageError) as caught:
        world.ask()
    assert caught.value.message == (
        "net.py:build has no rung in tflite:\n  fp16: it cannot\n  int8: it cannot\n  int4: it cannot\n"
        "Name another format with --format."
    )
