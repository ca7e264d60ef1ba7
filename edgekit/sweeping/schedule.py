"""The order of a sweep's jobs: what is needed first, what is ready, what follows from a failure.

This is all of the driver: it starts nothing itself and knows no model. Its time a job is constant, because jobs are
handed over one for one as others end.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, final

from edgekit.engines.engine import Ended, Engine, Work
from edgekit.errors import EdgekitError, InternalError

_LOOK_S: Final = 0.5
"""Seconds between two looks at the clock and at Ctrl-C while nothing ends."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A job of the graph.

    Attributes:
        name: Unique.
        rank: Of what is ready, the lower comes first: what many others wait for.
        needs: Names of the jobs whose results it is made from.
    """

    name: str
    rank: int = 0
    needs: tuple[str, ...] = ()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A result that is there already, or why there is none.

    Attributes:
        value: The result.
        error: Why there is none; None where there is.
    """

    value: Any = None
    error: EdgekitError | None = None


class Stages(Protocol):
    """What the jobs are about."""

    def prepare(self, name: str, results: Mapping[str, Any]) -> Work | Found:
        """Returns the work, made from the results of what it needs, or the result that is there already."""
        ...

    def started(self, name: str) -> None:
        """Called when a job was handed over."""
        ...

    def ended(self, name: str, ended: Ended, *, found: bool) -> None:
        """Called when a job has ended, was found done, or will not run because one that it needs has failed."""
        ...


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class JobBudget:
    """After what nothing more is started.

    Attributes:
        time_s: Seconds since the start; None for no limit.
        jobs: Jobs; None for no limit.
    """

    time_s: float | None = None
    jobs: int | None = None


@final
@dataclass(slots=True)
class _State:
    """What is still to come."""

    nodes: Mapping[str, Node]
    followers: Mapping[str, list[str]]
    missing: dict[str, int]
    ready: list[tuple[int, int, str]] = field(default_factory=list[tuple[int, int, str]])
    order: Mapping[str, int] = field(default_factory=dict[str, int])
    results: dict[str, Any] = field(default_factory=dict[str, Any])
    over: set[str] = field(default_factory=set[str])

    def push(self, name: str) -> None:
        heapq.heappush(self.ready, (self.nodes[name].rank, self.order[name], name))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Driven:
    """What a run of the graph has done.

    Attributes:
        started: Jobs that were handed over.
        left: Jobs that the budget left undone.
    """

    started: int
    left: int


def drive(
    nodes: Iterable[Node],
    stages: Stages,
    engine: Engine,
    budget: JobBudget = JobBudget(),
    clock: Callable[[], float] = time.monotonic,
) -> Driven:
    """Runs a graph to its end, or to that of the budget; what runs then is waited for.

    A failure is reported for the job and for all that need it, and the others go on.

    Raises:
        InternalError: a job needs one that is not there, or jobs need each other.
        KeyboardInterrupt: passed on; the caller ends what runs by `engine.cancel`.
    """
    state = _initial(nodes)
    begun, started, running = clock(), 0, 0
    while True:
        while state.ready and running < engine.slots and _may_start(budget, started, clock() - begun):
            name = heapq.heappop(state.ready)[2]
            work = stages.prepare(name, state.results)
            if isinstance(work, Found):
                _finish(state, stages, Ended(name=name, value=work.value, error=work.error), found=True)
                continue
            engine.submit(work)
            stages.started(name)
            started, running = started + 1, running + 1
        if not running:
            return Driven(started=started, left=len(state.nodes) - len(state.over))
        for ended in engine.wait(_LOOK_S):
            running -= 1
            _finish(state, stages, ended, found=False)


def _may_start(budget: JobBudget, started: int, elapsed_s: float) -> bool:
    in_time = budget.time_s is None or elapsed_s < budget.time_s
    return in_time and (budget.jobs is None or started < budget.jobs)


def _initial(nodes: Iterable[Node]) -> _State:
    known = {node.name: node for node in nodes}
    followers: dict[str, list[str]] = {name: [] for name in known}
    for node in known.values():
        for need in node.needs:
            if need not in known:
                raise InternalError(f"The job {node.name} needs {need}, which the sweep does not have.")
            followers[need].append(node.name)
    state = _State(
        nodes=known,
        followers=followers,
        missing={node.name: len(node.needs) for node in known.values()},
        order={name: i for i, name in enumerate(known)},
    )
    _refuse_circles(state)
    for name, count in state.missing.items():
        if not count:
            state.push(name)
    return state


def _refuse_circles(state: _State) -> None:
    """Raises InternalError where jobs need each other: none of them would ever start (Kahn, 1962)."""
    missing = dict(state.missing)
    reached = [name for name, count in missing.items() if not count]
    for name in reached:
        for follower in state.followers[name]:
            missing[follower] -= 1
            if not missing[follower]:
                reached.append(follower)
    if len(reached) < len(state.nodes):
        names = ", ".join(sorted(set(state.nodes) - set(reached)))
        raise InternalError(f"Jobs of the sweep need each other: {names}.")


def _finish(state: _State, stages: Stages, ended: Ended, *, found: bool) -> None:
    state.over.add(ended.name)
    stages.ended(ended.name, ended, found=found)
    if ended.error is not None:
        _fail_followers(state, stages, ended.name, ended.error)
        return
    state.results[ended.name] = ended.value
    for follower in state.followers[ended.name]:
        state.missing[follower] -= 1
        if not state.missing[follower] and follower not in state.over:
            state.push(follower)


def _fail_followers(state: _State, stages: Stages, name: str, error: EdgekitError) -> None:
    """Reports the failure for every job that needs it, directly or not."""
    waiting = list(state.followers[name])
    while waiting:
        follower = waiting.pop()
        if follower in state.over:
            continue
        state.over.add(follower)
        stages.ended(follower, Ended(name=follower, error=error), found=False)
        waiting += state.followers[follower]
