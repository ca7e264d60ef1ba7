"""Runs jobs that do not wait for each other: the trials of a search, the finalists of a plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from edgekit.engines.engine import Work, find_engine
from edgekit.errors import EdgekitError
from edgekit.pipeline.settings import LOCAL, Settings

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

_LOOK_S: Final = 0.5
"""Seconds between two looks at Ctrl-C while nothing ends."""


def run_all(
    items: Sequence[ItemT],
    settings: Settings,
    *,
    here: Callable[[ItemT], ResultT],
    work: Callable[[ItemT], Work],
    over: Callable[[ItemT, ResultT | EdgekitError], None] = lambda _item, _result: None,
) -> list[ResultT | EdgekitError]:
    """Returns what each item gave, in their order; an error is a result.

    One job at a time on this machine needs no engine: it is done in this process, whose stages are workers already.

    Args:
        items: What to do.
        settings: The engine, its address, jobs at a time.
        here: Does an item in this process.
        work: Returns the job that does the same elsewhere. The name of each must be another one.
        over: Called with an item and its result as soon as it has ended.

    Raises:
        InputError: no such engine, or its address is wrong.
        MachineError: the engine's machines cannot be used.
        KeyboardInterrupt: after every job was ended.
    """
    if settings.jobs == 1 and settings.engine == LOCAL:
        return [_over(item, _done(here, item), over) for item in items]
    return _on_engine(items, settings, work, over)


def _done(here: Callable[[ItemT], ResultT], item: ItemT) -> ResultT | EdgekitError:
    try:
        return here(item)
    except EdgekitError as error:
        return error


def _over(
    item: ItemT, result: ResultT | EdgekitError, over: Callable[[ItemT, ResultT | EdgekitError], None]
) -> ResultT | EdgekitError:
    over(item, result)
    return result


def _on_engine(
    items: Sequence[ItemT],
    settings: Settings,
    work: Callable[[ItemT], Work],
    over: Callable[[ItemT, ResultT | EdgekitError], None],
) -> list[ResultT | EdgekitError]:
    engine = find_engine(settings.engine, settings.jobs, settings.address)
    results: dict[int, ResultT | EdgekitError] = {}
    running: dict[str, int] = {}
    waiting = iter(range(len(items)))
    try:
        while len(results) < len(items):
            while len(running) < engine.slots and (number := next(waiting, None)) is not None:
                made = work(items[number])
                running[made.name] = number
                engine.submit(made)
            for ended in engine.wait(_LOOK_S):
                number = running.pop(ended.name)
                results[number] = _over(items[number], ended.error or ended.value, over)
            if settings.cancelled.is_set():
                raise KeyboardInterrupt
    finally:
        engine.cancel()
    return [results[number] for number in range(len(items))]
