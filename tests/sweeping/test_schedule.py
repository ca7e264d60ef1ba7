"""The order of jobs, with engines and stages that only count."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from edgekit.engines.engine import Ended, Engine, Work
from edgekit.errors import ConversionError, InternalError
from edgekit.sweeping.schedule import Driven, Found, JobBudget, Node, drive
from edgekit.workers.worker import Job, JobOptions, Progress

GRAPH = (
    Node(name="capture", rank=0),
    Node(name="convert a", rank=1, needs=("capture",)),
    Node(name="convert b", rank=1, needs=("capture",)),
    Node(name="judge a1", rank=2, needs=("capture", "convert a")),
    Node(name="judge a2", rank=2, needs=("capture", "convert a")),
    Node(name="judge b1", rank=2, needs=("capture", "convert b")),
)


def nothing(request: JobOptions, _progress: Progress) -> JobOptions:
    return request


class CountingEngine(Engine):
    """Ends its jobs in the order in which they came, one a wait."""

    def __init__(self, slots: int, failing: frozenset[str] = frozenset()) -> None:
        super().__init__(slots)
        self.queue: list[str] = []
        self.submitted: list[str] = []
        self.most = 0
        self.failing = failing

    def submit(self, work: Work) -> None:
        self.queue.append(work.name)
        self.submitted.append(work.name)
        self.most = max(self.most, len(self.queue))

    def wait(self, timeout_s: float | None) -> tuple[Ended, ...]:
        name = self.queue.pop(0)
        if name in self.failing:
            return (Ended(name=name, error=ConversionError(f"{name} fails")),)
        return (Ended(name=name, value=f"result of {name}", wall_s=1.0),)

    def cancel(self) -> None:
        self.queue.clear()


class CountingStages:
    def __init__(self, found: frozenset[str] = frozenset()) -> None:
        self.found = found
        self.seen: dict[str, dict[str, Any]] = {}
        self.over: list[tuple[str, str, bool]] = []
        self.begun: list[str] = []

    def prepare(self, name: str, results: Mapping[str, Any]) -> Work | Found:
        self.seen[name] = dict(results)
        if name in self.found:
            return Found(value=f"{name} from before")
        return Work(name=name, job=Job(work=nothing), request=None, options=JobOptions(title=name))

    def started(self, name: str) -> None:
        self.begun.append(name)

    def ended(self, name: str, ended: Ended, *, found: bool) -> None:
        self.over.append((name, "" if ended.error is None else ended.error.message, found))


def test_a_job_starts_after_what_it_needs_and_gets_the_results() -> None:
    engine, stages = CountingEngine(2), CountingStages()
    assert drive(GRAPH, stages, engine) == Driven(started=6, left=0)
    assert engine.submitted == ["capture", "convert a", "convert b", "judge a1", "judge a2", "judge b1"]
    assert stages.seen["judge b1"]["convert b"] == "result of convert b"
    assert stages.begun == engine.submitted


def test_no_more_jobs_run_than_the_engine_has_slots() -> None:
    engine = CountingEngine(2)
    drive([Node(name=f"job {i}") for i in range(9)], CountingStages(), engine)
    assert engine.most == 2


def test_what_others_wait_for_comes_before_what_is_last() -> None:
    engine = CountingEngine(1)
    nodes = (Node(name="late", rank=2), Node(name="early", rank=0))
    drive(nodes, CountingStages(), engine)
    assert engine.submitted == ["early", "late"]


def test_what_is_found_is_not_run_and_its_followers_go_on() -> None:
    engine, stages = CountingEngine(2), CountingStages(frozenset({"capture", "convert a", "judge a1"}))
    assert drive(GRAPH, stages, engine) == Driven(started=3, left=0)
    assert sorted(engine.submitted) == ["convert b", "judge a2", "judge b1"]
    assert ("judge a1", "", True) in stages.over


def test_a_failure_is_reported_for_all_that_need_it_and_the_others_go_on() -> None:
    engine, stages = CountingEngine(2, frozenset({"convert a"})), CountingStages()
    assert drive(GRAPH, stages, engine) == Driven(started=4, left=0)
    failed = sorted(name for name, message, _ in stages.over if message == "convert a fails")
    assert failed == ["convert a", "judge a1", "judge a2"]
    assert ("judge b1", "", False) in stages.over


def test_a_job_whose_needs_fail_twice_is_reported_once() -> None:
    nodes = (Node(name="x"), Node(name="y"), Node(name="z", needs=("x", "y")))
    stages = CountingStages()
    drive(nodes, stages, CountingEngine(2, frozenset({"x", "y"})))
    assert [name for name, _, _ in stages.over].count("z") == 1


@pytest.mark.parametrize(("jobs", "started"), [(1, 1), (2, 2), (6, 6), (7, 6)])
def test_a_budget_of_jobs_ends_the_sweep_after_so_many(jobs: int, started: int) -> None:
    made = drive(GRAPH, CountingStages(), CountingEngine(2), JobBudget(jobs=jobs))
    assert made == Driven(started=started, left=6 - started)


def test_a_budget_of_time_starts_nothing_more_and_waits_for_what_runs() -> None:
    ticks = iter(range(100))
    engine, stages = CountingEngine(1), CountingStages()
    made = drive(GRAPH, stages, engine, JobBudget(time_s=3.0), clock=lambda: float(next(ticks)))
    assert made == Driven(started=2, left=4)
    assert [name for name, _, _ in stages.over] == engine.submitted


def test_jobs_that_need_each_other_are_refused() -> None:
    nodes = (Node(name="x", needs=("y",)), Node(name="y", needs=("x",)), Node(name="z"))
    with pytest.raises(InternalError, match=r"^Jobs of the sweep need each other: x, y\.$"):
        drive(nodes, CountingStages(), CountingEngine(1))


def test_a_need_that_is_not_there_is_refused() -> None:
    message = re.escape("The job x needs y, which the sweep does not have.")
    with pytest.raises(InternalError, match=f"^{message}$"):
        drive((Node(name="x", needs=("y",)),), CountingStages(), CountingEngine(1))
