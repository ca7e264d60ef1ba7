"""What runs the jobs of sweeps, searches and plans: one interface, one file an engine.

An engine is handed jobs that may start at once, runs as many of them as it can, and says which have ended. It knows
nothing of models, rows or the order of work.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Final, final

from edgekit.errors import EdgekitError, UsageError
from edgekit.plugins import load_plugin
from edgekit.registry import engine_targets
from edgekit.workers.worker import Job, JobOptions, Progress, silent

JOB_TIMEOUT_S: Final = 7 * 86400.0
"""Limit of a job that runs stages: they have the time limit, and the job as a whole may train."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A job that may start now.

    Attributes:
        name: Unique among the jobs of its engine.
        job: What to do: a function of a module, so that any process finds it.
        request: A frozen dataclass; it travels as JSON.
        options: How to run it.
        memory_bytes: Predicted peak of all its processes; 0 where nothing is known. An engine may reserve it.
        progress: Callback that gets what the job is doing, where the engine's machines can say so.
    """

    name: str
    job: Job[Any, Any]
    request: Any
    options: JobOptions
    memory_bytes: int = 0
    progress: Progress = silent


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A job that has ended.

    Attributes:
        name: The work's.
        value: What the job returned; None where it failed.
        error: Why it failed; None where it did not.
        wall_s: Seconds that it took.
    """

    name: str
    value: Any = None
    error: EdgekitError | None = None
    wall_s: float = 0.0


class Engine(ABC):
    """Runs jobs somewhere. Made with the number of jobs that run at a time, and the address where it has one."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        """Jobs at a time. The sweep hands over no more than these, so that what is urgent need not wait in a queue."""

    @abstractmethod
    def submit(self, work: Work) -> None:
        """Starts a job; returns at once."""

    @abstractmethod
    def wait(self, timeout_s: float | None) -> tuple[Ended, ...]:
        """Returns the jobs that have ended since the last call, in the order in which they did.

        Args:
            timeout_s: Returns nothing after so long without an end; None waits on.
        """

    @abstractmethod
    def cancel(self) -> None:
        """Ends everything that runs, and returns when it is gone. Called once, at the end of every sweep."""


def find_engine(name: str, slots: int, address: str | None = None) -> Engine:
    """Returns the engine of that name, ready for work.

    Args:
        name: Its name.
        slots: Jobs at a time, where the engine does not know better.
        address: Where its machines are; None for what the engine takes by itself.

    Raises:
        UsageError: no such engine, or one that has no address.
        MachineError: its machines cannot be used.
        PluginError: a third party's engine cannot be loaded.
    """
    targets = engine_targets()
    if name not in targets:
        raise UsageError(f'--engine "{name}" is not known: accepted are {", ".join(targets)}.')
    made: Engine = load_plugin("engine", name, targets[name])(slots, address)
    return made
