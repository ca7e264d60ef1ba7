"""One call of the Python API: settings, progress, a scratch folder, and messages in the words of Python.

Nothing of the caller's process changes: no signal handler, no logging, no working folder, no state of a framework.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from edgekit.errors import InputError
from edgekit.files.faults import nearest
from edgekit.in_memory.options import Limits, Progress
from edgekit.pipeline.settings import DEFAULT_TIMEOUT_S, Settings, StageProgress, default_jobs, quiet
from edgekit.task.request import LIMIT_FLAGS
from edgekit.terminal.progress import StageDisplay
from edgekit.units import parse_bytes
from edgekit.workers.cache import Cache, cache_folder

_KEYWORDS: Final[Mapping[str, str]] = {
    "--format": "formats",
    "--technique": "techniques",
    "--example-inputs": "inputs",
    "--input": "inputs",
    "--from": "source",
    **{
        f"--{name.replace('_', '-')}": name
        for name in (
            *(
                "device",
                "config",
                "precision",
                "effort",
                "prefer",
                "io",
                "plan",
                "model",
                "calibration",
                "evaluation",
                "metric",
            ),
            *("output", "outputs", "data", "on", "baseline", "fail_on_missing_baseline", "max_regression"),
            *("optimizer", "learning_rate", "memory_limit", "without", "remeasure", *Limits.__annotations__),
        )
    },
}
"""Flag to the keyword that stands for it in Python."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What one call works with.

    Attributes:
        settings: How worker processes run.
        done: Callback that gets (stage, phrase) when a stage has ended.
        scratch: A folder that vanishes when the call returns.
        limits: Cost name to the text of its limit.
    """

    settings: Settings
    done: Callable[[str, str], None]
    scratch: Path
    limits: Mapping[str, str | None]


@contextmanager
def session(function: str, given: Mapping[str, Any], *, jobs: int = 0) -> Generator[Session, None, None]:
    """Yields what a call works with.

    Args:
        function: Its name, for messages.
        given: Its keywords of `Limits` and `Running`.
        jobs: Worker processes at a time, where `given` does not say.

    Raises:
        TypeError: a keyword that the function does not have.
        InputError: a value is wrong; flags in its message are written as keywords.
    """
    for name in given:
        if name not in Limits.__annotations__:
            hint = "".join(f' Did you mean "{near}"?' for near in nearest(name, tuple(Limits.__annotations__)))
            raise TypeError(f"{function}() got an unexpected keyword argument '{name}'.{hint}")
    try:
        with ExitStack() as stack:
            progress, done = _progress(given.get("progress", False), stack)
            memory = given.get("memory_limit")
            settings = Settings(
                cache=Cache(root=cache_folder(), reuse=given.get("cache", True)),
                timeout_s=given.get("timeout", DEFAULT_TIMEOUT_S),
                memory_limit_bytes=parse_bytes(memory, "memory_limit") if memory else None,
                jobs=given.get("jobs", 0) or jobs or default_jobs(),
                progress=progress,
            )
            limits = {cost: given.get(_KEYWORDS[flag]) for cost, flag in LIMIT_FLAGS.items()}
            scratch = stack.enter_context(settings.cache.scratch())
            yield Session(settings=settings, done=done, scratch=scratch, limits=limits)
    except InputError as error:
        raise type(error)(in_python_words(error.message)) from error


def in_python_words(message: str) -> str:
    """Returns a message with the flags of the command line as keywords.

    `--device NAME` becomes `device=NAME`, and `--input ids=1x16` becomes `inputs={"ids": (1, 16)}`.
    """

    def shape(found: re.Match[str]) -> str:
        sizes = ", ".join(found["sizes"].split("x"))
        sizes = f"({sizes}{'' if 'x' in found['sizes'] else ','})"
        return f'inputs={{"{found["name"]}": ' + (f'({sizes}, "{found["dtype"]}")' if found["dtype"] else sizes) + "}"

    def word(found: re.Match[str]) -> str:
        name = _KEYWORDS.get(found[1])
        return found[0] if name is None else f"{name}=" if found[2] else name

    message = re.sub(r"--input (?P<name>[\w.]+)=(?P<sizes>\d+(?:x\d+)*)(?::(?P<dtype>[a-z]+\d*))?", shape, message)
    return re.sub(r"(--[a-z]+(?:-[a-z]+)*)( (?=[A-Z]{2,}|\"))?", word, message)


def _progress(given: Progress, stack: ExitStack) -> tuple[StageProgress, Callable[[str, str], None]]:
    """Returns the callbacks for what runs and for what has ended."""
    if given is True:
        display = stack.enter_context(StageDisplay())
        return display, display.done
    if given is False:
        return quiet, lambda _stage, _phrase: None
    return given, lambda stage, phrase: given(stage, phrase, 1.0)
