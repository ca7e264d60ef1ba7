"""Which models are looked at for heads, and what is kept where they cannot be run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgekit.analysis.graph_builder import GraphBuilder
from edgekit.errors import ConversionError, EdgekitError, ModelError
from edgekit.model import CapturedModel, TensorSpec
from edgekit.pipeline.settings import Settings
from edgekit.planner.float_heads import FloatHead
from edgekit.recipe import Candidate, Recipe
from edgekit.samples import write_samples
from edgekit.simulation.head_ranges import JudgedHead, JudgedHeads
from edgekit.task.task import Task
from edgekit.trials import float_heads as module
from edgekit.trials.choice import Choice
from edgekit.trials.export_request import chosen_candidates
from edgekit.trials.float_heads import find_float_heads
from edgekit.workers.cache import Cache


def net(*, joined: bool, shape: tuple[int, ...] = (1, 4, 8, 8)) -> Any:
    """A stem with most of the work, and a layer `boxes` whose values are returned or joined with those of `scores`."""
    builder = GraphBuilder()
    builder.tensor("x", (1, 3, 8, 8), "float32")
    for name, macs in (("stem", 10_000), ("boxes", 100), ("scores", 100)):
        values = np.full((4, 3), macs, np.float32)
        builder.store(f"{name}.weight", values.shape, "float32", lambda values=values: values)
        builder.tensor(name, shape, "float32")
        builder.add(
            name=name, type="conv2d", kernel="dense_conv", module=name, reads=["x", f"{name}.weight"], outputs=[name],
            macs=macs, roles={f"{name}.weight": ("kernel", 4)},
        )  # fmt: skip
    if joined:
        builder.tensor("out", (1, 8, 8, 8), "float32")
        builder.add(
            name="out", type="cat", kernel="data_movement", module="", reads=["boxes", "scores"], outputs=["out"]
        )
    return builder.finish(["x"], ["out" if joined else "boxes"])


MODEL = CapturedModel(
    name="net", source="net.py:build", source_kind="torch", kind="pt2", path=Path("float.pt2"), inputs=(),
    outputs=(TensorSpec(name="found", shape=(1, 8, 8, 8), dtype="float32"),), digest="0" * 64, parameters=1,
    macs=None, family="cnn",
)  # fmt: skip


def task(metric: str = "cosine", calibration: str | None = "data.npz") -> Task:
    return Task(model="net.py:build", base=Path(), metric=metric, calibration=calibration)


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the worker says about the one head; `seen` counts how often it was asked."""
    state = SimpleNamespace(head=JudgedHead(position=0, joints=1, decodes=False, widths=(1.0, 640.0)), seen=0)

    def judge(*_: object) -> JudgedHeads | None:
        state.seen += 1
        return None if state.head is None else JudgedHeads(heads=(state.head,))

    monkeypatch.setattr(module, "_judge", judge)
    return state


def test_a_joint_of_members_that_are_far_apart_is_kept_with_its_widths(judged: Any) -> None:
    assert find_float_heads(task(), MODEL, net(joined=True), Settings()) == (
        FloatHead(
            position=0, output="found", decodes=True, layers=(),
            why="it has 1 joint of members whose ranges are 1 and 640 wide",
        ),
    )  # fmt: skip


def test_a_joint_of_members_of_like_ranges_is_not_kept(judged: Any) -> None:
    judged.head = JudgedHead(position=0, joints=1, decodes=False, widths=(1.0, 2.0))
    assert find_float_heads(task(), MODEL, net(joined=True), Settings()) == ()


def test_without_calibration_data_the_structure_decides(judged: Any) -> None:
    (found,) = find_float_heads(task(calibration=None), MODEL, net(joined=True), Settings())
    assert found.why == "it has 1 joint"
    assert judged.seen == 0


def test_a_model_that_torch_cannot_run_is_judged_by_its_structure(judged: Any) -> None:
    judged.head = None
    (found,) = find_float_heads(task(), MODEL, net(joined=True), Settings())
    assert found.decodes


@pytest.mark.parametrize(
    ("metric", "shape", "looked_at"),
    [
        ("top1", (1, 4), 0),
        ("top1", (1, 4, 8, 8), 0),
        ("cosine", (1, 1000), 0),
        ("cosine", (1, 1), 0),
        ("cosine", (1, 17), 0),
        ("cosine", (1, 16), 1),
        ("cosine", (1, 4, 8, 8), 1),
    ],
)
def test_outputs_of_layers_are_run_only_where_they_may_be_quantities(
    judged: Any, metric: str, shape: tuple[int, ...], looked_at: int
) -> None:
    judged.head = JudgedHead(position=0, joints=0, decodes=False)
    assert find_float_heads(task(metric), MODEL, net(joined=False, shape=shape), Settings()) == ()
    assert judged.seen == looked_at


def test_a_cheap_layer_whose_channels_are_far_apart_is_kept_and_a_large_one_is_not(judged: Any) -> None:
    judged.head = JudgedHead(position=0, joints=0, decodes=False, layers=("boxes",))
    (found,) = find_float_heads(task(), MODEL, net(joined=False), Settings())
    assert (found.decodes, found.layers) == (False, ("boxes",))
    assert found.why == "channels of boxes have ranges that one grid cannot hold"
    judged.head = JudgedHead(position=0, joints=0, decodes=False, layers=("stem",))
    assert find_float_heads(task(), MODEL, net(joined=False), Settings()) == ()


def test_layers_that_the_costed_graph_calls_otherwise_are_not_kept(judged: Any) -> None:
    judged.head = JudgedHead(position=0, joints=0, decodes=False, layers=("other.boxes",))
    assert find_float_heads(task(), MODEL, net(joined=False), Settings()) == ()


@pytest.mark.parametrize("error", [ConversionError("no graph"), ModelError("no file")])
def test_a_model_whose_graph_cannot_be_simplified_is_judged_by_its_structure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: EdgekitError
) -> None:
    samples = write_samples(tmp_path / "samples", ["x"], [(np.zeros((1, 3, 8, 8), "f4"),)])
    monkeypatch.setattr(module, "ready_to_simulate", lambda *_: (MODEL, samples))

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(Settings, "run", fail)
    (found,) = find_float_heads(task(), MODEL, net(joined=True), Settings(cache=Cache(root=tmp_path / "cache")))
    assert found.why == "it has 1 joint"


@pytest.mark.parametrize(("io", "kept"), [("float", (0,)), ("int8", ())])
def test_outputs_that_are_requested_in_integers_have_no_head_in_float(io: Any, kept: tuple[int, ...]) -> None:
    item = Candidate(runtime="tflite", recipe=Recipe(default="int8_static", float_heads=(0,)))
    choice = Choice(candidates=[item], rejected=(), plans=())
    (found,) = chosen_candidates(SimpleNamespace(techniques=()), choice, io)  # type: ignore[arg-type]  # a fake
    assert found.recipe.float_heads == kept
