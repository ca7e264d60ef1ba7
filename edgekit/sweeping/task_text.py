"""A model's task as it travels to the processes that work with it: text, for user code is read where it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from edgekit.pipeline.settings import Settings
    from edgekit.task.request import Request


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TaskText:
    """Where a model's task comes from, as text: user code is read in the process that works with it.

    Attributes:
        source: The model; None takes that of the task file.
        config: The task file; None takes the one in `folder`, where there is one.
        folder: What paths start from.
        overrides: Task fields to their texts.
        limits: Cost name to the text of its limit.
        timeout_s: Limit of each stage.
        memory_limit_bytes: Limit of each stage; None for no limit.
    """

    source: str | None
    config: Path | None
    folder: Path
    overrides: Mapping[str, str] = field(default_factory=dict[str, str])
    limits: Mapping[str, str] = field(default_factory=dict[str, str])
    timeout_s: float
    memory_limit_bytes: int | None = None


def read_request(
    task: TaskText, device: str, formats: str | None, precision: str | None, pipeline: tuple[str, ...]
) -> Request:
    """Returns the request that a task makes for a device.

    Raises:
        InputError: the task, a technique or a limit is wrong.
    """
    from edgekit.task.request import make_request

    made = make_request(
        model=task.source,
        device=device,
        config=task.config,
        formats=formats,
        precision=precision,
        techniques=pipeline,
        limits=task.limits,
        overrides=task.overrides,
        cwd=task.folder,
    )
    # Devices share artifacts, so what they take follows from no device.
    stated = made.task.image_input and made.task.image_input_stated
    return replace(made, task=replace(made.task, image_input=stated))


def settings_of(task: TaskText) -> Settings:
    """Returns how a job's stages run: one at a time, for the sweep runs many jobs."""
    from edgekit.pipeline.settings import Settings

    return Settings(timeout_s=task.timeout_s, memory_limit_bytes=task.memory_limit_bytes, jobs=1)
