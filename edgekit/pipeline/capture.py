"""The model, captured in a worker process or found in the cache: user code runs once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from edgekit.artifact import measure_files
from edgekit.model import CapturedModel, SourceKind
from edgekit.pipeline.analysis import write_analysis
from edgekit.pipeline.scratch import move_contents
from edgekit.pipeline.settings import Settings
from edgekit.task.task import Task
from edgekit.workers.cache import code_fingerprint, content_key, versions
from edgekit.workers.worker import Progress

_FILE_SUFFIXES: Final = (".py", ".pt2", ".onnx", ".keras", ".h5", ".hdf5", ".tflite", ".lite")


def capture_model(task: Task, settings: Settings, *, as_torch: bool = False) -> CapturedModel:
    """Returns the task's model, captured: user code runs once, in a worker.

    Files and the embedded default never change under one name, so they are found in the cache by content or version. A
    factory can depend on anything, so it is called every time, and only what comes after it is cached.

    Args:
        task: What to capture.
        settings: How to run.
        as_torch: Capture an .onnx file as an exported program, for the formats that start from torch.

    Raises:
        ModelError: the source cannot be read, captured or exported.
        DataError: example inputs are missing or wrong.
    """
    from edgekit.sources.base import CaptureRequest
    from edgekit.sources.table import classify

    kind = classify(str(task.model_file or task.model), task.base)
    key = _capture_key(task, kind, as_torch=as_torch)
    if key is not None and (found := settings.cache.find("captured", key)):
        return read_capture(found)
    if task.embedded_default:
        from edgekit.task.default_model import check_installed

        check_installed()
    with settings.cache.scratch() as scratch:
        request = CaptureRequest(
            source=task.model,
            base=task.base,
            output=scratch / "captured",
            name=task.metadata.get("name") or short_name(task.model),
            example_inputs=task.example_inputs,
            calibration=task.calibration,
            metadata={key: value for key, value in task.metadata.items() if key != "name"},
            as_torch=as_torch,
            embedded_default=task.embedded_default,
            file=task.model_file,
        )
        settings.run(
            "capture of the model",
            "edgekit.pipeline.capture:capture_in_worker",
            request.to_json(),
            settings.stage("model"),
        )
        model = read_capture(request.output)
        key = key or content_key({"digest": model.digest, "facts": portable_facts(model), "code": code_fingerprint()})
        return read_capture(settings.cache.make("captured", key, lambda place: move_contents(request.output, place)))


def capture_in_worker(payload: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Captures a model and analyses it: the worker process's side of `capture_model`.

    The framework is loaded here anyway, so the analysis costs little; in a process of its own it would cost seconds.
    """
    from edgekit.sources import capture

    record = capture.run(payload, progress)
    if record["kind"] in ("pt2", "onnx", "tflite"):
        write_analysis(record, Path(payload["output"]), progress)
    return record


def short_name(source: str) -> str:
    """Returns a name for files and tables: `net` for `models/net.onnx` and `models/net.py:build`."""
    head = source.partition(":")[0].rstrip("/")
    return Path(head).stem if "/" in head or Path(head).suffix in _FILE_SUFFIXES else head.rpartition(".")[2]


def portable_facts(model: CapturedModel) -> dict[str, Any]:
    """Returns what tells two captures with equal digests apart."""
    return {key: value for key, value in model.to_json().items() if key not in ("digest", "file")}


def _capture_key(task: Task, kind: SourceKind, *, as_torch: bool) -> str | None:
    """Returns the cache key of a source whose content can be known without running it, else None."""
    facts: dict[str, Any] = {
        "code": code_fingerprint(),
        "as_torch": as_torch,
        "metadata": dict(task.metadata),
        "versions": versions(("torch", "onnx", "tensorflow-cpu", "tensorflow")),
    }
    if task.embedded_default:
        from edgekit.task.default_model import DISTRIBUTIONS

        return content_key({**facts, "default": versions(DISTRIBUTIONS)})
    if kind == "torch" or task.example_inputs is not None:
        return None
    path = task.model_file or task.base / task.model
    return content_key({**facts, "source": task.model, "sha256": measure_files(path)[2]})


def read_capture(folder: Path) -> CapturedModel:
    """Returns the captured model of a cache entry."""
    return CapturedModel.from_json(json.loads((folder / "model.json").read_text()), folder)
