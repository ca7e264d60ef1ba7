"""Another INT8 in the place of one that came out far from the float model, with fakes in the place of workers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgekit.analysis.graph_builder import GraphBuilder
from edgekit.artifact import Artifact
from edgekit.budget import Budget
from edgekit.checks import Check, Verdict
from edgekit.errors import ConversionError, WorkerError
from edgekit.exporting.format_result import FormatResult
from edgekit.exporting.inputs import Inputs
from edgekit.model import CapturedModel
from edgekit.pipeline.settings import Settings
from edgekit.planner.candidates import with_predictions
from edgekit.profiles.profile import DeviceProfile, Hardware
from edgekit.recipe import Candidate, Recipe, Step
from edgekit.samples import Samples, write_samples
from edgekit.task.task import Task
from edgekit.trials import export_request, nearer_integers
from edgekit.trials.nearer_integers import is_far, is_measured, nearer_candidate
from edgekit.workers.cache import Cache

if TYPE_CHECKING:
    from edgekit.analysis.graph import Analysis

STATIC = Recipe(default="int8_static")


def check(name: str, value: float | None, verdict: Verdict = "pass") -> Check:
    return Check(name=name, verdict=verdict, value=value, limit=None, unit="dB", basis="measured")


def result(*checks: Check, **changes: Any) -> FormatResult:
    return replace(FormatResult(runtime="onnx", recipe=STATIC, checks=checks), **changes)


@pytest.mark.parametrize(
    ("made", "far"),
    [
        pytest.param(result(check("parity", 14.9)), True, id="far"),
        pytest.param(result(check("parity", 15.0)), False, id="near"),
        pytest.param(result(check("parity", float("nan"))), True, id="nan"),
        pytest.param(result(check("parity", None, "not_run")), True, id="not-measured"),
        pytest.param(result(check("parity", 9.0), check("accuracy_drop", 0.2)), False, id="no-loss"),
        pytest.param(result(check("parity", 9.0), check("accuracy_drop", 9.0, "fail")), True, id="a-loss"),
        pytest.param(
            result(check("parity", 30.0), check("accuracy_drop", 0.2), check("outputs_alive", 88.0, "fail")),
            True,
            id="dead-outputs",
        ),
        pytest.param(result(check("parity", 9.0), recipe=Recipe(default="fp16")), False, id="float"),
        pytest.param(result(check("parity", 9.0), steps=(Step(technique="qat"),)), False, id="with-techniques"),
        pytest.param(result(check("parity", 9.0), error=ConversionError("no")), False, id="not-made"),
    ],
)
def test_what_is_looked_at_again(made: FormatResult, far: bool) -> None:
    assert is_far(made) is far


def test_only_a_figure_says_that_parity_was_measured() -> None:
    assert is_measured(result(check("parity", 3.0)))
    assert not is_measured(result(check("parity", None, "not_run")))


@pytest.fixture
def analysis() -> Analysis:
    builder = GraphBuilder()
    builder.store("w", (64, 64), "float32", lambda: np.ones((64, 64), "f4"))
    for name in ("x", "y"):
        builder.tensor(name, (1, 64), "float32")
    builder.add(
        name="y", type="linear", kernel="linear", module="y", reads=["x", "w"], outputs=["y"], macs=4096,
        roles={"w": ("kernel", 64)},
    )  # fmt: skip
    return builder.finish(["x"], ["y"])


class World:
    """Figures of each recipe, by default precision or by ranges, and what was made with how many samples."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.figures: dict[str, float] = {}
        self.made: list[tuple[str, int]] = []
        self.settings = Settings(cache=Cache(root=folder / "cache"))
        self._folder = folder
        monkeypatch.setattr(nearer_integers, "convert", self._convert)
        monkeypatch.setattr(nearer_integers, "judge_artifact", self._judge)
        monkeypatch.setattr(nearer_integers, "reference_outputs", lambda _model, samples, _settings: samples)
        monkeypatch.setattr(nearer_integers, "artifact_metadata", lambda *_: {})
        monkeypatch.setattr(nearer_integers, "why_not_made", lambda *_: lambda _runtime, _recipe: None)

    def _key(self, recipe: Recipe) -> str:
        return recipe.ranges if recipe.default == "int8_static" else recipe.default

    def _convert(self, _model: Any, _runtime: str, recipe: Recipe, samples: Samples, *_: Any, **__: Any) -> Any:
        if self._key(recipe) not in self.figures:
            raise ConversionError("it has no kernel.\nmore")
        self.made.append((self._key(recipe), samples.count))
        return SimpleNamespace(artifact=None)

    def _judge(self, _artifact: Any, _inputs: Inputs, recipe: Recipe, *_: Any, **__: Any) -> Any:
        return (check("parity", self.figures[self._key(recipe)]),), {}

    def nearer(self, analysis: Analysis, count: int = 20, *, known: bool = True) -> nearer_integers.Nearer:
        rows = ((np.full((1, 64), index, "f4"),) for index in range(count))
        samples = write_samples(self._folder / f"samples{count}", ["x"], rows)
        model = CapturedModel(
            name="net", source="net.py:build", source_kind="torch", kind="pt2", path=self._folder / "float.pt2",
            inputs=(), outputs=(), digest="", parameters=1, macs=1, family="mlp",
        )  # fmt: skip
        task = Task(base=self._folder, model="net.py:build", calibration="data.py:f", metric="agreement")
        inputs = Inputs(
            task=task, model=model, torch_model=model, calibration=samples, evaluation=None, reference=None
        )  # fmt: skip
        profile = DeviceProfile(
            name="board", title="Board", kind="phone", runtimes=("onnx",), hardware=Hardware(cpu=(), features=()),
            path=Path("board.toml"),
        )  # fmt: skip
        request: Any = SimpleNamespace(profile=profile, budget=Budget())
        candidate = with_predictions(Candidate(runtime="onnx", recipe=STATIC), analysis, profile)
        return nearer_candidate(candidate, request, inputs, analysis, self.settings, known=known)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path, monkeypatch)
    monkeypatch.setattr(Inputs, "image_for", lambda _self, _runtime: None)
    return made


def test_the_first_that_is_near_is_made_instead_and_the_words_say_what_it_costs(
    world: World, analysis: Analysis
) -> None:
    world.figures = {"minmax": 8.0, "percentile": 8.2, "mse": 8.3, "int8_hybrid": 40.0, "int8_dynamic": 41.0}
    found = world.nearer(analysis)
    assert found.candidate.recipe.default == "int8_hybrid"
    assert [step.technique for step in found.candidate.steps] == ["quantize_hybrid"]
    assert found.words.startswith(
        "onnx int8-static: its outputs are 8.0 dB from the float model's on 5 held-out calibration samples, and "
        "int8-hybrid, which was made instead, has 40.0 dB"
    )
    assert found.words.endswith("(ranges=percentile 8.2 dB, ranges=mse 8.3 dB).")
    assert world.made == [("minmax", 15), ("percentile", 15), ("mse", 15), ("int8_hybrid", 15)]


def test_other_ranges_are_distinct_from_what_was_made(world: World, analysis: Analysis) -> None:
    world.figures = {"minmax": 8.0, "percentile": 30.0}
    found = world.nearer(analysis)
    assert found.candidate.recipe == replace(STATIC, ranges="percentile")
    assert found.words == (
        "onnx int8-static ranges=minmax: its outputs are 8.0 dB from the float model's on 5 held-out calibration "
        "samples, and ranges=percentile, which was made instead, has 30.0 dB."
    )


def test_what_was_tried_in_vain_is_said_with_a_way_out(world: World, analysis: Analysis) -> None:
    world.figures = {"minmax": 8.0, "percentile": 8.2, "int8_weights": 9.0}
    found = world.nearer(analysis)
    assert found.candidate.recipe == STATIC
    assert found.words == (
        "onnx other INT8: int8-static is 8.0 dB from the float model on 5 held-out calibration samples, and no other "
        "INT8 is much nearer: ranges=percentile 8.2 dB, int8-weights 9.0 dB. edgekit debug shows where it departs, "
        "and --precision fp16 keeps it near."
    )


def test_few_samples_are_not_cut_and_the_words_say_so(world: World, analysis: Analysis) -> None:
    world.figures = {"minmax": 8.0, "int8_weights": 30.0}
    found = world.nearer(analysis, 15)
    assert "from the float model's on the 15 calibration samples themselves, and int8-weights" in found.words
    assert world.made == [("minmax", 15), ("int8_weights", 15)]


def test_one_that_is_near_on_calibration_samples_stays_unless_evaluation_data_said_otherwise(
    world: World, analysis: Analysis
) -> None:
    world.figures = {"minmax": 20.0, "int8_hybrid": 40.0}
    assert world.nearer(analysis, known=False) == nearer_integers.Nearer(
        candidate=world.nearer(analysis, known=False).candidate
    )
    assert world.nearer(analysis, known=True).candidate.recipe.default == "int8_hybrid"


def test_a_float_model_that_cannot_be_run_there_leaves_what_was_made(
    world: World, analysis: Analysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise WorkerError("the runner crashed.\nmore")

    monkeypatch.setattr(nearer_integers, "reference_outputs", fails)
    found = world.nearer(analysis)
    assert (found.candidate.recipe, found.words) == (
        STATIC,
        "onnx other INT8: nothing could be tried: the runner crashed.",
    )


def made_at(path: Path) -> FormatResult:
    path.write_bytes(b"artifact")
    artifact = Artifact(path=path, runtime="onnx", precision="int8", size_bytes=8, download_bytes=8, sha256="")
    return result(artifact=artifact)


def test_where_the_other_int8_fails_the_first_one_stays(tmp_path: Path) -> None:
    first = made_at(tmp_path / "net-int8-static.onnx")
    failed = result(error=ConversionError("no"))
    assert export_request._replacing(first, failed) is first
    assert (tmp_path / "net-int8-static.onnx").exists()


def test_the_first_int8_goes_when_the_other_is_there(tmp_path: Path) -> None:
    first, second = made_at(tmp_path / "net-int8-static.onnx"), made_at(tmp_path / "net-int8-dynamic.onnx")
    assert export_request._replacing(first, second) is second
    assert [path.name for path in tmp_path.iterdir()] == ["net-int8-dynamic.onnx"]


def test_another_int8_of_the_same_name_is_not_removed_with_the_first(tmp_path: Path) -> None:
    first, second = (made_at(tmp_path / "net-int8-static.onnx") for _ in range(2))
    assert export_request._replacing(first, second) is second
    assert (tmp_path / "net-int8-static.onnx").exists()
