"""The model, captured in a worker process or found in the cache: user code runs once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, final

from edgekit.errors import ModelError, UsageError
from edgekit.model import CapturedModel
from edgekit.pipeline.analysis import write_analysis
from edgekit.pipeline.convert import convert
from edgekit.pipeline.scratch import move_contents
from edgekit.pipeline.settings import Settings
from edgekit.recipe import Recipe
from edgekit.sources.base import CaptureRequest
from edgekit.sources.captured_file import open_captured
from edgekit.task.reference_digest import reference_digest
from edgekit.task.task import Task
from edgekit.workers.request_key import SourceName, content_digest, request_key
from edgekit.workers.worker import Job, Progress

_FILE_SUFFIXES: Final = frozenset(
    (".py", ".pt2", ".pt", ".ptl", ".torchscript", ".onnx", ".keras", ".h5", ".hdf5", ".pb", ".tflite", ".lite")
)

_LEAVE_OPEN: Final = ("torch", "pt2", "torchscript")
"""Kinds of sources whose models can be captured with open sizes."""

_TENSORFLOW: Final = ("keras", "savedmodel", "frozengraph")
"""Kinds of sources that only TensorFlow reads."""


def capture_model(task: Task, settings: Settings, *, as_torch: bool = False) -> CapturedModel:
    """Returns the task's model, captured: user code runs once, in a worker.

    Files and the embedded default never change under one name, so they are found in the cache by content or version. A
    factory can depend on anything, so it is called every time, and only what comes after it is cached.

    Args:
        task: What to capture.
        settings: How to run.
        as_torch: Capture a file of another framework as an exported program, for the formats that start from torch. A
            TensorFlow model takes two steps: float ONNX, and from there into torch as any ONNX file.

    Raises:
        ModelError: the source cannot be read, captured or exported.
        DataError: example inputs are missing or wrong.
    """
    request = _request(task, as_torch=as_torch)
    if as_torch and request.kind in _TENSORFLOW:
        return _through_onnx(task, settings)
    key = _capture_key(request)
    if key is not None and (found := settings.cache.find("captured", key)):
        return open_captured(found)
    if task.embedded_default:
        from edgekit.task.default_model import check_installed

        check_installed()
    with settings.cache.scratch() as scratch:
        output = scratch / "captured"
        made = settings.run(
            "capture of the model", CAPTURE, replace(request, output=output), settings.stage("model")
        ).value
        key = key or request_key(CapturedContent(kind=request.kind, model=made), code=(__name__,))
        return open_captured(settings.cache.make("captured", key, lambda place: move_contents(output, place)))


def _through_onnx(task: Task, settings: Settings) -> CapturedModel:
    """Returns a TensorFlow model as an exported program, under its own name.

    Raises:
        ModelError: it cannot be read, or the importer into torch does not know an operator.
        ConversionError: ONNX cannot hold it.
    """
    model = capture_model(task, settings)
    made = convert(model, "onnx", Recipe(default="fp32"), None, settings).artifact.path
    file = replace(task, model=str(made), model_file=None, model_from="", example_inputs=None, input_sizes=())
    try:
        imported = capture_model(file, settings, as_torch=True)
    except ModelError as error:
        raise ModelError(error.message.replace(str(made), model.source)) from error
    return replace(imported, name=model.name, source=model.source, source_kind=model.source_kind)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CapturedContent:
    """What user code gave: that, and not the code, is what is found again.

    Attributes:
        kind: The source that has read it.
        model: What came.
    """

    kind: SourceName
    model: CapturedModel


def _request(task: Task, *, as_torch: bool) -> CaptureRequest:
    """Returns what to capture; where it goes is not known yet."""
    from edgekit.sources.table import classify

    source = str(task.model_file or task.model)
    kind = "torch" if task.embedded_default else classify(source, task.base, task.model_from)
    if task.dimensions and kind not in _LEAVE_OPEN:
        raise UsageError(
            f"{task.model} is captured as {kind}, and sizes stay open only in models that come from torch: "
            "model.py:build, a .pt2 or a TorchScript file. Give numbers in --input or [inputs], and omit the "
            f"dimension {task.dimensions[0].name}."
        )
    return CaptureRequest(
        source=task.model,
        base=task.base,
        output=Path(),
        kind=kind,
        name=task.metadata.get("name") or short_name(task.model),
        example_inputs=task.example_inputs,
        calibration=task.calibration,
        input_sizes=task.input_sizes,
        dimensions=task.dimensions,
        metadata={key: value for key, value in task.metadata.items() if key != "name"},
        state_pairs=task.state_pairs,
        # Outputs are split in torch programs.
        as_torch=as_torch or task.split_outputs,
        split_outputs=task.split_outputs,
        embedded_default=task.embedded_default,
        file=task.model_file,
    )


def _capture_key(request: CaptureRequest) -> str | None:
    """Returns the cache key of a source whose content can be known without running it, else None."""
    if request.embedded_default:
        from edgekit.task.default_model import DISTRIBUTIONS

        return CAPTURE.key(request, tools=DISTRIBUTIONS)
    if request.kind == "torch" or request.example_inputs is not None:
        return None
    calibration = request.calibration
    known = replace(
        request,
        source_sha256=content_digest(request.path),
        calibration_sha256=None if calibration is None else reference_digest(calibration, request.base),
    )
    return CAPTURE.key(known)


def capture_in_worker(request: CaptureRequest, progress: Progress) -> CapturedModel:
    """Captures a model and analyses it: the worker process's side of `capture_model`.

    The framework is loaded here anyway, so the analysis costs little; in a process of its own it would cost seconds.
    """
    from edgekit.sources import capture

    model = capture.run(request, progress)
    if model.kind in ("pt2", "onnx", "tflite"):
        write_analysis(model, progress)
    return model


CAPTURE: Final = Job(work=capture_in_worker, tools=("torch", "onnx", "tensorflow-cpu", "tensorflow"))


def short_name(source: str) -> str:
    """Returns a name for files and tables: `net` for `models/net.onnx` and `models/net.py:build`."""
    head = source.partition(":")[0].rstrip("/")
    return Path(head).stem if "/" in head or Path(head).suffix in _FILE_SUFFIXES else head.rpartition(".")[2]
