"""One format's artifact, converted in a worker process or found in the cache."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, final

from edgekit.artifact import Artifact, measure_files
from edgekit.converters.base import Conversion, ConversionRequest, IoType
from edgekit.converters.base import converter as find_converter
from edgekit.model import CapturedKind, CapturedModel
from edgekit.pipeline.settings import Settings
from edgekit.recipe import Recipe
from edgekit.samples import Samples
from edgekit.validators.requested import requested_metadata
from edgekit.workers.cache import code_fingerprint, content_key, versions
from edgekit.workers.worker import Progress

if TYPE_CHECKING:
    from edgekit.analysis.graph import Analysis


def why_not_made(
    model: CapturedModel, analysis: Analysis, obstacles: Mapping[str, str] = MappingProxyType({})
) -> Callable[[str, Recipe], str | None]:
    """Returns a function that says why this model cannot become a format with a recipe, or None if it can.

    It asks the source, the converter (about the kind of model and its graph) and what is installed; it imports no
    framework.

    Args:
        model: The captured model.
        analysis: Its costed graph.
        obstacles: Format to why it cannot be made at any precision, where that was tried.
    """
    from edgekit.sources.table import reach

    reachable = reach(model.source_kind)

    def refuse(runtime: str, recipe: Recipe) -> str | None:
        if reason := reachable.get(runtime) or obstacles.get(runtime):
            return reason
        converter = find_converter(runtime)
        # Formats other than ONNX start from the exported program that the importer makes of an ONNX file.
        kind: CapturedKind = "pt2" if model.kind == "onnx" and runtime != "onnx" else model.kind
        if reason := converter.why_not(kind, recipe) or converter.why_not_graph(analysis):
            return reason
        if missing := converter.missing():
            return f"{', '.join(missing)} is not installed: pip install -e '.[{converter.extra}]'"
        return None

    return refuse


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
    converter = find_converter(runtime)
    embedded = {**(metadata or {}), **requested_metadata(recipe, io)}
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
    artifact = artifact_at(folder / name, runtime, recipe.name, conversion=conversion, metadata=embedded)
    return Converted(artifact=artifact, conversion=conversion, seconds=record["seconds"], cached=cached)


def _build_artifact(place: Path, name: str, title: str, payload: Mapping[str, Any], settings: Settings) -> None:
    """Converts in a worker process; leaves the artifact and `conversion.json` in `place`."""
    result = settings.run(
        title,
        "edgekit.pipeline.convert:convert_in_worker",
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
    return find_converter(payload["runtime"]).run(request, Path(payload["output"]), progress).to_json()


def artifact_at(
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
