"""One format's artifact, converted in a worker process or found in the cache."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, final

from edgekit.artifact import Artifact, measure_files
from edgekit.converters.base import Conversion, ConversionRequest, IoType
from edgekit.converters.base import converter as find_converter
from edgekit.formats.table import find_format
from edgekit.model import CapturedModel
from edgekit.pipeline.analysis import analyze_model
from edgekit.pipeline.settings import Settings
from edgekit.recipe import Recipe
from edgekit.samples import Samples
from edgekit.task.image_input import IMAGE_INPUT_KEY, ImageInput
from edgekit.validators.requested import requested_metadata
from edgekit.workers.kept_downloads import measure_with_cache
from edgekit.workers.request_key import FormatName, Place
from edgekit.workers.structure import read_value, write_value
from edgekit.workers.worker import Job, Progress

if TYPE_CHECKING:
    from edgekit.analysis.graph import Analysis

_RECORD: Final = "conversion.json"


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
        made = find_format(runtime)
        reasons = (
            converter.why_not(made.kind_from(model.kind), recipe),
            converter.why_not_open(model),
            converter.why_not_graph(analysis),
        )
        if reason := next(filter(None, reasons), None):
            return reason
        if missing := made.missing():
            return f"{', '.join(missing)} is not installed: {made.install}"
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


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactRequest:
    """Which artifact to make, and where.

    Attributes:
        runtime: The format.
        model: The captured float model.
        recipe: Precision of each part.
        calibration: Samples; None where the recipe needs none.
        io: See `ConversionRequest`.
        metadata: Text to embed.
        image: See `ConversionRequest`.
        output: Where the artifact goes.
        scratch: Folder for intermediate files.
    """

    runtime: FormatName
    model: CapturedModel
    recipe: Recipe
    calibration: Samples | None
    io: IoType
    metadata: Mapping[str, str]
    image: ImageInput | None
    output: Place
    scratch: Place


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionRecord:
    """What lies beside an artifact in the cache.

    Attributes:
        conversion: What the converter said.
        seconds: Wall-clock seconds that it took.
        cpu_seconds: CPU seconds.
        peak_memory_bytes: Largest resident set of the worker.
    """

    conversion: Conversion
    seconds: float
    cpu_seconds: float
    peak_memory_bytes: int


def convert(
    model: CapturedModel,
    runtime: str,
    recipe: Recipe,
    calibration: Samples | None,
    settings: Settings,
    *,
    io: IoType = "float",
    metadata: Mapping[str, str] | None = None,
    image: ImageInput | None = None,
) -> Converted:
    """Returns the artifact of one format, converted in a worker process or found in the cache.

    Raises:
        ConversionError: the format cannot hold this model with this recipe.
        DataError: the recipe needs calibration data and there is none.
        MissingDependencyError: a package is missing.
        ResourceError: out of time, memory or disk.
        WorkerError: the converter crashed.
    """
    made = find_format(runtime)
    pixels = {IMAGE_INPUT_KEY: image.to_text()} if image else {}
    analysis = analyze_model(model, settings) if recipe.tells_layers_apart else None
    embedded = {**(metadata or {}), **pixels, **requested_metadata(recipe, io, analysis)}
    used = recipe.needs_calibration or not recipe.precisions.isdisjoint(find_converter(runtime).gains_by_samples)
    samples = calibration if used else None
    request = ArtifactRequest(
        runtime=runtime,
        model=model,
        recipe=recipe,
        calibration=samples,
        io=io,
        metadata=embedded,
        image=image,
        output=Path(),
        scratch=Path(),
    )
    key = CONVERT.key(request, tools=tuple(made.needs.values()))
    cached = settings.cache.find("artifacts", key) is not None
    name = f"model{made.suffix}"
    folder = settings.cache.make("artifacts", key, lambda place: _build_artifact(place, name, request, settings))
    record = read_value(folder / _RECORD, ConversionRecord)
    measured = measure_with_cache(folder / name, settings.cache)
    embedded |= record.conversion.metadata
    artifact = artifact_at(
        folder / name, runtime, recipe.name, conversion=record.conversion, metadata=embedded, measured=measured
    )
    return Converted(artifact=artifact, conversion=record.conversion, seconds=record.seconds, cached=cached)


def _build_artifact(place: Path, name: str, request: ArtifactRequest, settings: Settings) -> None:
    """Converts in a worker process; leaves the artifact and its record in `place`."""
    result = settings.run(
        f"conversion to {request.runtime} {request.recipe.name}",
        CONVERT,
        replace(request, output=place / name, scratch=place / "scratch"),
        settings.stage(request.runtime),
    )
    shutil.rmtree(place / "scratch", ignore_errors=True)
    record = ConversionRecord(
        conversion=result.value,
        seconds=result.wall_s,
        cpu_seconds=result.cpu_s,
        peak_memory_bytes=result.peak_memory_bytes,
    )
    write_value(place / _RECORD, record)


def convert_in_worker(request: ArtifactRequest, progress: Progress) -> Conversion:
    """Converts: the worker process's side of `convert`."""
    request.scratch.mkdir(parents=True)
    requested = ConversionRequest(
        model=request.model,
        recipe=request.recipe,
        calibration=request.calibration.folder if request.calibration else None,
        io=request.io,
        metadata=request.metadata,
        image=request.image,
        scratch=request.scratch,
    )
    made = find_converter(request.runtime).run(requested, request.output, progress)
    return replace(made, notes=(*_head_notes(request), *made.notes))


def _head_notes(request: ArtifactRequest) -> tuple[str, ...]:
    """Returns which outputs are computed in float behind integer layers, a sentence."""
    names = [request.model.outputs[position].name for position in request.recipe.float_heads]
    if not names:
        return ()
    return (f"In float by rule, from the last layers on: {', '.join(names)} (decoding and joints).",)


CONVERT: Final = Job(work=convert_in_worker)


def artifact_at(
    path: Path,
    runtime: str,
    precision: str,
    *,
    conversion: Conversion | None = None,
    metadata: Mapping[str, str] | None = None,
    measured: tuple[int, int, str] | None = None,
) -> Artifact:
    """Returns the facts of an artifact on disk; `measured` is what `measure_files` gives, where that is known."""
    size, download, digest = measured or measure_files(path)
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
        states=conversion.states if conversion else (),
    )
