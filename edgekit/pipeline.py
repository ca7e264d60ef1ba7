"""The pipeline: the one place that knows sources, converters and validators, and runs them in order.

Every stage runs in a worker process and is kept in the cache under a hash of all that it depends on, so a run that was
interrupted goes on where it stopped, and a second run finds its work done.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from edgekit import registry
from edgekit.artifact import Artifact, measure_files
from edgekit.cache import Cache, cache_folder, code_fingerprint, content_key, versions
from edgekit.converters.base import Conversion, ConversionRequest, IoType
from edgekit.errors import EdgekitError
from edgekit.model import CapturedKind, CapturedModel, SourceKind
from edgekit.plan import Recipe
from edgekit.samples import Samples
from edgekit.task import Task
from edgekit.validators.asked import asked_metadata
from edgekit.worker import Job, JobResult, Progress, run_job, silent

if TYPE_CHECKING:
    from edgekit.analysis.graph import Analysis

DEFAULT_TIMEOUT_S: Final = 1800.0
_ANALYSIS_NAME: Final = "analysis.json"
_FILE_SUFFIXES: Final = (".py", ".pt2", ".onnx", ".keras", ".h5", ".hdf5", ".tflite", ".lite")

StageProgress = Callable[[str, str, float | None], None]
"""Told (stage, phrase, share done): one line of a progress display for each stage."""


def quiet(stage: str, phrase: str, share: float | None = None) -> None:
    """A `StageProgress` that tells nobody."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the pipeline runs, apart from what it works on.

    Attributes:
        cache: Where finished work is kept.
        timeout_s: Limit of each worker process.
        memory_limit_bytes: Limit of each worker process; None for no limit.
        jobs: Worker processes at a time.
        threads: Threads of a runtime whose latency is timed.
        progress: Told what is going on.
        cancelled: Once set, running workers are ended and KeyboardInterrupt is raised on their threads.
    """

    cache: Cache = field(default_factory=lambda: Cache(root=cache_folder()))
    timeout_s: float = DEFAULT_TIMEOUT_S
    memory_limit_bytes: int | None = None
    jobs: int = 2
    threads: int = 1
    progress: StageProgress = quiet
    cancelled: threading.Event = field(default_factory=threading.Event)

    def stage(self, name: str) -> Progress:
        """Returns a `Progress` that speaks for the stage `name`."""

        def tell(phrase: str, share: float | None = None) -> None:
            self.progress(name, phrase, share)

        return tell

    def run(self, title: str, entry: str, payload: Mapping[str, Any], progress: Progress = silent) -> JobResult:
        """Runs one worker process under these settings (see `edgekit.worker.run_job`)."""
        return run_job(
            Job(
                title=title,
                entry=entry,
                payload=payload,
                timeout_s=self.timeout_s,
                memory_limit_bytes=self.memory_limit_bytes,
            ),
            progress,
            self.cancelled,
        )


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

    kind = classify(task.model, task.base)
    key = _capture_key(task, kind, as_torch=as_torch)
    if key is not None and (found := settings.cache.find("captured", key)):
        return read_capture(found)
    if task.embedded_default:
        from edgekit.default_model import check_installed

        check_installed()
    with _scratch(settings) as scratch:
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
        )
        settings.run(
            "capture of the model", "edgekit.pipeline:capture_in_worker", request.to_json(), settings.stage("model")
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


def write_analysis(record: Mapping[str, Any], folder: Path, progress: Progress) -> None:
    """Analyses the captured model that `record` describes, and leaves its costed graph beside it. Runs in a worker."""
    from edgekit.analysis.analyze import analyze
    from edgekit.analysis.graph_json import analysis_to_json

    progress("reading the graph", None)
    try:
        analysis = analyze(record["kind"], folder / record["file"])
    except EdgekitError:
        # `analyze_model` will meet it again, where it can be told; a capture is of use without an analysis.
        return
    (folder / _ANALYSIS_NAME).write_text(json.dumps(analysis_to_json(analysis)))


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
        from edgekit.default_model import DISTRIBUTIONS

        return content_key({**facts, "default": versions(DISTRIBUTIONS)})
    if kind == "torch" or task.example_inputs is not None:
        return None
    path = task.base / task.model
    return content_key({**facts, "source": task.model, "sha256": measure_files(path)[2]})


def read_capture(folder: Path) -> CapturedModel:
    """Returns the captured model of a cache entry."""
    return CapturedModel.from_json(json.loads((folder / "model.json").read_text()), folder)


@contextmanager
def _scratch(settings: Settings) -> Generator[Path, None, None]:
    """Yields an empty folder beside the cache (so that moving into it is a rename), removed afterwards."""
    root = settings.cache.root / "scratch"
    root.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def analyze_model(model: CapturedModel, settings: Settings) -> Analysis:
    """Returns the model's costed graph, read in a worker process or found in the cache."""
    from edgekit.analysis.analyze import ENTRY
    from edgekit.analysis.graph_json import analysis_from_json

    beside = model.path.parent / _ANALYSIS_NAME
    if beside.exists():
        return analysis_from_json(json.loads(beside.read_text()))
    key = content_key({"code": code_fingerprint(), "kind": model.kind, "digest": model.digest})

    def build(place: Path) -> None:
        payload = {"kind": model.kind, "path": str(model.path)}
        result = settings.run("analysis of the model", ENTRY, payload, settings.stage("analysis"))
        (place / _ANALYSIS_NAME).write_text(json.dumps(result.record))

    folder = settings.cache.make("analyses", key, build)
    return analysis_from_json(json.loads((folder / _ANALYSIS_NAME).read_text()))


def refusal_of(model: CapturedModel, analysis: Analysis) -> Callable[[str, Recipe], str | None]:
    """Returns a function that says why this model cannot become a format with a recipe, or None if it can.

    It asks the source, the converter (about the kind of model and its graph) and what is installed; it imports no
    framework.
    """
    from edgekit.sources.table import reach

    reachable = reach(model.source_kind)

    def refuse(runtime: str, recipe: Recipe) -> str | None:
        if reason := reachable.get(runtime):
            return reason
        converter = registry.converter(runtime)
        # Formats other than ONNX start from the exported program that the importer makes of an ONNX file.
        kind: CapturedKind = "pt2" if model.kind == "onnx" and runtime != "onnx" else model.kind
        if reason := converter.why_not(kind, recipe) or converter.why_not_graph(analysis):
            return reason
        if missing := converter.missing():
            return f"{', '.join(missing)} is not installed: pip install -e '.[{converter.extra}]'"
        return None

    return refuse


def prepare_samples(task: Task, model: CapturedModel, purpose: str, settings: Settings) -> Samples | None:
    """Returns the task's calibration or evaluation data as samples, or None where it names none.

    Raises:
        DataError: empty, wrong shape or dtype, NaN and so on.
    """
    reference = task.calibration if purpose == "calibration" else task.evaluation
    if reference is None:
        return None
    facts: dict[str, Any] = {"code": code_fingerprint(), "inputs": [spec.to_json() for spec in model.inputs]}
    key: str | None = None
    if task.embedded_default:
        from edgekit.default_model import DISTRIBUTIONS

        key = content_key({**facts, "purpose": purpose, "default": versions(DISTRIBUTIONS)})
        if found := settings.cache.find("samples", key):
            return Samples.open(found)
    payload = {
        "reference": reference,
        "base": str(task.base),
        "purpose": purpose,
        "inputs": facts["inputs"],
        "metric": task.metric,
        "preprocessing": task.preprocessing.to_json(),
    }
    with _scratch(settings) as scratch:
        folder = scratch / "samples"
        settings.run(
            f"reading of the {purpose} data",
            "edgekit.data:materialize",
            {**payload, "folder": str(folder)},
            settings.stage("data"),
        )
        samples = Samples.open(folder)
        key = key or content_key({**facts, "sha256": samples.sha256})
        return Samples.open(settings.cache.make("samples", key, lambda place: move_contents(folder, place)))


def move_contents(source: Path, target: Path) -> None:
    """Moves everything that lies in one folder into another on the same disk."""
    for item in source.iterdir():
        item.rename(target / item.name)


def reference_outputs(model: CapturedModel, samples: Samples, settings: Settings) -> Samples:
    """Returns the float model's outputs on `samples`, computed once in a runner process."""
    from edgekit.validators.execution import RunSettings, run_reference

    key = content_key({"code": code_fingerprint(), "model": model.digest, "samples": samples.sha256})
    run_settings = RunSettings(timeout_s=settings.timeout_s, memory_limit_bytes=settings.memory_limit_bytes)

    def build(folder: Path) -> None:
        run_reference(model, samples, folder, settings=run_settings, progress=settings.stage("reference"))

    return Samples.open(settings.cache.make("reference", key, build))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """An artifact in the cache, and how it was made.

    Attributes:
        artifact: The file and its facts.
        conversion: What the converter said.
        seconds: Wall-clock seconds of the conversion; from the first time, where it was found in the cache.
        cached: True where it was found in the cache.
    """

    artifact: Artifact
    conversion: Conversion
    seconds: float
    cached: bool


def convert(
    model: CapturedModel,
    runtime: str,
    recipe: Recipe,
    calibration: Samples | None,
    settings: Settings,
    *,
    io: IoType = "float",
    metadata: Mapping[str, str] | None = None,
) -> Converted:
    """Returns the artifact of one format, converted in a worker process or found in the cache.

    Raises:
        ConversionError: the format cannot hold this model with this recipe.
        DataError: the recipe needs calibration data and there is none.
        MissingDependencyError: a package is missing.
        ResourceError: out of time, memory or disk.
        WorkerError: the converter crashed.
    """
    converter = registry.converter(runtime)
    embedded = {**(metadata or {}), **asked_metadata(recipe, io)}
    # In 16 bits calibration is optional: it tells which values would overflow.
    samples = calibration if recipe.needs_calibration or recipe.default == "fp16" else None
    facts = {
        "code": code_fingerprint(),
        "runtime": runtime,
        "model": model.digest,
        "inputs": [spec.to_json() for spec in (*model.inputs, *model.outputs)],
        "recipe": recipe.to_json(),
        "calibration": samples.sha256 if samples else None,
        "io": io,
        "metadata": embedded,
        "versions": versions(converter.needs),
    }
    key = content_key(facts)
    cached = settings.cache.find("artifacts", key) is not None
    payload = {
        "runtime": runtime,
        "model": model.to_json(),
        "folder": str(model.path.parent),
        "recipe": recipe.to_json(),
        "calibration": str(samples.folder) if samples else None,
        "io": io,
        "metadata": embedded,
    }
    title = f"conversion to {runtime} {recipe.name}"
    name = f"model{converter.suffix}"
    folder = settings.cache.make("artifacts", key, lambda place: _build_artifact(place, name, title, payload, settings))
    record = json.loads((folder / "conversion.json").read_text())
    conversion = Conversion.from_json(record["conversion"])
    artifact = _artifact_at(folder / name, runtime, recipe.name, conversion=conversion, metadata=embedded)
    return Converted(artifact=artifact, conversion=conversion, seconds=record["seconds"], cached=cached)


def _build_artifact(place: Path, name: str, title: str, payload: Mapping[str, Any], settings: Settings) -> None:
    """Converts in a worker process; leaves the artifact and `conversion.json` in `place`."""
    result = settings.run(
        title,
        "edgekit.pipeline:convert_in_worker",
        {**payload, "output": str(place / name), "scratch": str(place / "scratch")},
        settings.stage(payload["runtime"]),
    )
    shutil.rmtree(place / "scratch", ignore_errors=True)
    facts = {
        "conversion": result.record,
        "seconds": result.wall_s,
        "cpu_seconds": result.cpu_s,
        "peak_memory_bytes": result.peak_memory_bytes,
    }
    (place / "conversion.json").write_text(json.dumps(facts))


def convert_in_worker(payload: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Converts: the worker process's side of `convert`."""
    scratch = Path(payload["scratch"])
    scratch.mkdir(parents=True)
    request = ConversionRequest(
        model=CapturedModel.from_json(payload["model"], Path(payload["folder"])),
        recipe=Recipe.from_json(payload["recipe"]),
        calibration=Path(payload["calibration"]) if payload["calibration"] else None,
        io=payload["io"],
        metadata=payload["metadata"],
        scratch=scratch,
    )
    return registry.converter(payload["runtime"]).run(request, Path(payload["output"]), progress).to_json()


def _artifact_at(
    path: Path,
    runtime: str,
    precision: str,
    *,
    conversion: Conversion | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Artifact:
    """Returns the facts of an artifact on disk."""
    size, download, digest = measure_files(path)
    return Artifact(
        path=path,
        runtime=runtime,
        precision=precision,
        size_bytes=size,
        download_bytes=download,
        sha256=digest,
        inputs=conversion.inputs if conversion else (),
        outputs=conversion.outputs if conversion else (),
        metadata=dict(metadata or {}),
    )
