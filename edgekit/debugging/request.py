"""What to compare inside an artifact: how model, task file and data become one request."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgekit.artifact import runtime_of
from edgekit.errors import UsageError
from edgekit.task.request import make_task
from edgekit.task.task import find_config

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgekit.debugging.debug import DebugRequest
    from edgekit.task.input_sizes import InputSizes
    from edgekit.task.task import Task

SAMPLES: Final = 16
"""How many samples are run, where nobody says."""


def request_debug(
    artifact: Path,
    *,
    model: str | None = None,
    config: Path | None = None,
    overrides: Mapping[str, str | None],
    input_sizes: tuple[InputSizes, ...] = (),
    data: str | None = None,
    samples: int = SAMPLES,
    device: str | None = None,
    task: Task | None = None,
) -> DebugRequest:
    """Returns the request that artifact, model, task file and data make together.

    Args:
        artifact: Its path.
        model: MODEL as the user wrote it; None takes the task file's, else the one that the artifact leads to.
        config: Task file; None takes the current folder's, where there is one.
        overrides: Task fields (`calibration`, `evaluation`, `example_inputs`) to their texts.
        input_sizes: Sizes of the model's free inputs.
        data: `calibration`, `evaluation`, or None for the first of them that the task has.
        samples: How many to run.
        device: For the commands that are shown; None takes the one in report.json.
        task: The task, where it is known already.

    Raises:
        InputError: any of them is wrong.
    """
    if data not in (None, "calibration", "evaluation"):
        raise UsageError(f'--data "{data}" is not known: accepted are calibration, evaluation.')
    runtime_of(artifact)
    cwd = Path.cwd()
    named = model is not None or config is not None or find_config(cwd) is not None
    if task is None and named:
        task = make_task(model, config, overrides, cwd, input_sizes)
    from edgekit.debugging.debug import DebugRequest

    return DebugRequest(
        artifact=artifact,
        task=task,
        data=data,
        samples=samples,
        device=device,
        model=model,
        config=config,
        calibration=overrides.get("calibration"),
        cwd=cwd,
    )
