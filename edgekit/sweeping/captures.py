"""The job that captures models with their data: several in one process, each stage in a fork of it.

User code may depend on anything, so it runs in every sweep. What that costs is the start of the frameworks, once for
all models of a job: a fork of a process that has them loaded is as fresh as a new one, and starts in milliseconds.
"""

from __future__ import annotations

import importlib.util
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, final

from edgekit.errors import EdgekitError
from edgekit.exporting.stored_inputs import CapturedInputs, Failure
from edgekit.sweeping.task_text import TaskText, read_request, settings_of
from edgekit.workers.worker import Job, Progress

if TYPE_CHECKING:
    from edgekit.pipeline.settings import Settings

_LOADED: Final = (
    "torch", "torch._dynamo", "torch._functorch.aot_autograd", "torch.export._trace", "torch._inductor.ir",
    "torch.export.pt2_archive._package", "edgekit.sources.torch_factory", "edgekit.sources.open_capture",
    "edgekit.torch_program.canonical_program", "edgekit.torch_program.program_facts", "edgekit.analysis.analyze",
)  # fmt: skip
"""What a capture from torch imports: without one of them it is only slower."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ModelToCapture:
    """A model to capture, with its data.

    Attributes:
        name: In the matrix.
        task: The model's.
        device: Profile file of any of the devices.
        formats: Formats that will be made of it.
        as_torch: Techniques will change it.
    """

    name: str
    task: TaskText
    device: str
    formats: tuple[str, ...]
    as_torch: bool


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CapturesRequest:
    """Models to capture, one after the other."""

    models: tuple[ModelToCapture, ...]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """What came of a model: its inputs, or why there are none.

    Attributes:
        name: In the matrix.
        inputs: None where it could not be captured.
        failure: None where it was.
    """

    name: str
    inputs: CapturedInputs | None = None
    failure: Failure | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Captures:
    """What came of the models of a job, in their order."""

    found: tuple[Capture, ...]


def capture_in_worker(request: CapturesRequest, progress: Progress) -> Captures:
    """Captures models, reads their data and runs the float models on it. A failure is one model's alone."""
    return Captures(found=tuple(_captured(model, progress) for model in request.models))


def _captured(model: ModelToCapture, progress: Progress) -> Capture:
    from edgekit.exporting.inputs import read_inputs

    progress(f"capture of {model.name}", None)
    try:
        task = read_request(model.task, model.device, None, None, ()).task
        settings = _forking(settings_of(model.task), task.model)
        inputs = read_inputs(task, model.formats, settings, as_torch=model.as_torch)
    except EdgekitError as error:
        return Capture(name=model.name, failure=Failure.of(error))
    return Capture(name=model.name, inputs=CapturedInputs.of(inputs))


def _forking(settings: Settings, source: str) -> Settings:
    """Returns settings by which stages are forks of this process, where that is sound: torch, on Linux."""
    if sys.platform != "linux" or ":" not in source or importlib.util.find_spec("torch") is None:
        return settings
    for name in _LOADED:
        with suppress(ImportError):  # torch's own inner modules have other names in other versions
            importlib.import_module(name)
    return replace(settings, forks=True)


CAPTURE: Final = Job(work=capture_in_worker)
