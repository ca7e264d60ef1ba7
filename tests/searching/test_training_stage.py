"""Successive halving with made-up training: who goes on, what is kept, what is found again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgekit.engines import batch
from edgekit.engines.engine import Ended, Engine, Work
from edgekit.errors import ConfigError, DataError, MachineError, TechniqueError
from edgekit.model import CapturedModel
from edgekit.pipeline.settings import Settings
from edgekit.recipe import Candidate, Prediction, Recipe
from edgekit.searching.grid import Variant
from edgekit.searching.survey import UntrainedVariant, costs_of
from edgekit.searching.training_stage import train_variants
from edgekit.searching.worker_entry import TrainRequest, TrainResult
from edgekit.sources.captured_file import write_captured
from edgekit.task.task import Task, Training
from edgekit.training.schedule import Schedule
from edgekit.workers.cache import Cache
from edgekit.workers.structure import structure, unstructure
from edgekit.workers.worker import types_of

SCHEDULE = Schedule(epochs=6, learning_rate=0.1)


def untrained(index: int, latency: float | None) -> UntrainedVariant:
    model = CapturedModel(
        name=f"v{index}", source=f"n.py:f(i={index})", source_kind="torch", kind="pt2", path=Path("float.pt2"),
        inputs=(), outputs=(), digest=f"d{index}", parameters=1, macs=100 - index, family="cnn",
    )  # fmt: skip
    made = Prediction(name="latency", value=latency, low=None, high=None, unit="ms", basis="")
    return UntrainedVariant(
        variant=Variant(name=f"v{index}", arguments=(("i", index),)),
        task=Task(model=model.source, base=Path(), training=Training(batches="n.py:b", loss="n.py:l")),
        references={"factory": model.source},
        model=model,
        candidate=Candidate(runtime="onnx", recipe=Recipe(), predictions=(made,)),
        training="t",
        reason="",
    )


UNTRAINED = [untrained(index, float(index)) for index in range(8)]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What was trained until which epoch. Odd variants are good, each epoch makes them better; v5 fails."""
    done: list[tuple[str, int]] = []

    def run(self: Settings, title: str, job: Any, request: TrainRequest, progress: Any, **_: Any) -> Any:
        done.append((request.name, request.until))
        index = int(request.name[1:])
        if index == 5:
            raise TechniqueError("no number")
        history = [{"loss": 1.0, "accuracy": None, "score": index % 2 + 0.1 * epoch} for epoch in range(request.until)]
        if request.output:
            request.output.mkdir()
            model = UNTRAINED[index].model
            assert model is not None
            write_captured(replace(model, digest="trained"), request.output)
        return SimpleNamespace(value=TrainResult(best=history[-1], history=tuple(history)), wall_s=2.0)

    monkeypatch.setattr(Settings, "run", run)
    return done


def test_the_better_half_goes_on_and_one_that_fails_does_not_stop_the_others(trained: list[Any], tmp_path: Path):
    settings = Settings(cache=Cache(root=tmp_path), jobs=1)
    reported: list[str] = []
    halving = train_variants(UNTRAINED, SCHEDULE, 0, settings, reported.append)
    assert reported[3] == "rung 1 of 2, variant 4 of 8 (i=3): held-out loss 1.000"
    assert reported[5] == "rung 1 of 2, variant 6 of 8 (i=5): could not be trained: no number"
    assert [(rung.trials, rung.epochs) for rung in halving.rungs] == [(8, 2), (4, 6)]
    assert [name for name, until in trained if until == 2] == [f"v{i}" for i in range(8)]
    # Nothing dominates v0 (the cheapest) and v1; of those behind, the earlier front comes first.
    finalists = [name for name, until in trained if until == 6]
    assert finalists[:2] == ["v0", "v1"]
    assert len(finalists) == 4
    by_name = {trial.untrained.variant.name: trial for trial in halving.trials}
    assert by_name["v5"].is_failed
    assert by_name["v5"].reason == "could not be trained: no number"
    assert by_name["v1"].model is not None
    assert (by_name["v1"].epochs, by_name["v1"].seconds, by_name["v1"].held_out["score"]) == (6, 4.0, 1.5)
    dropped = [trial for trial in halving.trials if trial.reason and not trial.is_failed]
    assert len(dropped) == 3
    assert {trial.reason for trial in dropped} == {"behind others in held-out score and predicted cost after 2 epochs"}


def test_what_was_trained_to_the_end_is_found_on_another_ladder(trained: list[Any], tmp_path: Path):
    settings = Settings(cache=Cache(root=tmp_path), jobs=1)
    few = [UNTRAINED[1], UNTRAINED[3]]
    train_variants(few, SCHEDULE, 0, settings)
    assert trained == [("v1", 6), ("v3", 6)]
    again = train_variants(UNTRAINED, SCHEDULE, 0, settings)
    assert not {("v1", 2), ("v3", 2)} & set(trained)
    early = next(trial for trial in again.trials if trial.untrained.variant.name == "v3")
    assert early.held_out["score"] == pytest.approx(1.1 if early.reason else 1.5)
    # Finished variants leave no checkpoint; those that were dropped keep theirs.
    assert len(list((tmp_path / "searches").iterdir())) == 8 - len([t for t in again.trials if t.model])


def test_another_seed_or_schedule_is_trained_anew(trained: list[Any], tmp_path: Path):
    settings = Settings(cache=Cache(root=tmp_path), jobs=1)
    for seed, schedule in ((0, SCHEDULE), (0, SCHEDULE), (1, SCHEDULE), (0, replace(SCHEDULE, learning_rate=0.2))):
        train_variants(UNTRAINED[:1], schedule, seed, settings)
    assert trained == [("v0", 6)] * 3


def test_where_every_variant_fails_the_search_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def fail(*_: Any, **__: Any) -> Any:
        raise DataError("no batches")

    monkeypatch.setattr(Settings, "run", fail)
    with pytest.raises(DataError, match=r"^no batches$"):
        train_variants(UNTRAINED[:2], SCHEDULE, 0, Settings(cache=Cache(root=tmp_path), jobs=1))


def test_costs_are_latencies_where_all_have_one_else_work():
    assert costs_of(UNTRAINED[:2]) == ("predicted latency", (0.0, 1.0))
    assert costs_of([UNTRAINED[0], untrained(1, None)]) == ("multiply-accumulates", (100.0, 99.0))


def test_a_variant_without_training_data_is_no_variant_of_a_search():
    alone = replace(UNTRAINED[0], task=replace(UNTRAINED[0].task, training=None))
    message = r"^A search trains every variant, and the task has no \[training\] batches and loss\.$"
    with pytest.raises(ConfigError, match=message):
        _ = alone.trained_on


class JsonEngine(Engine):
    """Runs jobs in this process, the last first, on requests and results that went through JSON as elsewhere."""

    def __init__(self) -> None:
        super().__init__(3)
        self.running: list[Work] = []

    def submit(self, work: Work) -> None:
        self.running.append(work)

    def wait(self, timeout_s: float | None) -> tuple[Ended, ...]:
        work = self.running.pop()
        kinds = types_of(work.job.work)
        request: Any = structure(json.loads(json.dumps(unstructure(work.request))), kinds[0], "request")
        try:
            value = json.loads(json.dumps(unstructure(work.job.work(request, work.progress))))
        except TechniqueError as error:
            return (Ended(name=work.name, error=error),)
        return (Ended(name=work.name, value=structure(value, kinds[1], "result")),)

    def cancel(self) -> None:
        self.running.clear()


@pytest.mark.parametrize("reuse", [True, False], ids=["cache", "no cache"])
def test_an_engine_trains_what_this_process_would(
    trained: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reuse: bool
) -> None:
    found: list[Any] = []
    for jobs in (1, 3):
        root = tmp_path / str(jobs)
        monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(root))
        monkeypatch.setattr(batch, "find_engine", lambda *_: JsonEngine())
        settings = Settings(cache=Cache(root=root, reuse=reuse), jobs=jobs)
        halving = train_variants(UNTRAINED, SCHEDULE, 0, settings)
        paths = {"path": Path()}
        found.append([replace(trial, model=trial.model and replace(trial.model, **paths)) for trial in halving.trials])
    assert found[0] == found[1]
    assert sorted(trained[: len(trained) // 2]) == sorted(trained[len(trained) // 2 :])


def test_what_another_machine_has_kept_to_itself_is_its_fault(
    trained: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setattr(batch, "find_engine", lambda *_: JsonEngine())
    message = (
        r"^What another machine has trained \(trials \w{8}\) is not on this one\. Give every machine the same "
        r"EDGEKIT_CACHE_DIR in a shared folder, or --cache URL --cache-write\.$"
    )
    with pytest.raises(MachineError, match=message):
        train_variants(UNTRAINED[:1], SCHEDULE, 0, Settings(cache=Cache(root=tmp_path / "here"), jobs=2))
