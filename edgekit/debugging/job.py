"""The worker process's side of a debug run: reads, matches, measures and explains."""

from __future__ import annotations

import importlib
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from edgekit.debugging.causes import explain
from edgekit.debugging.float_graph import FloatGraphRun
from edgekit.debugging.inspector import ArtifactInspector, open_inside
from edgekit.debugging.layer_replay import LayerReplay
from edgekit.debugging.matching import Match, Matcher
from edgekit.debugging.measure import LayerTotals, Totals, measure_sample
from edgekit.debugging.report import DebugReport, LayerReport, Suspect, decibels
from edgekit.errors import ERRORS_BY_NAME, ArtifactError
from edgekit.formats.table import find_format
from edgekit.model import CapturedModel
from edgekit.samples import Samples, write_samples
from edgekit.simulation.score import score
from edgekit.validators.runners import opened_artifact
from edgekit.workers.request_key import Contents, Place
from edgekit.workers.worker import Job, Progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Row = tuple[NDArray[Any], ...]

_MATCHED_SAMPLES: Final = 3
"""Samples on which tensors are matched and causes tried; their values are all in memory at once."""
_CARRIED_SAMPLES: Final = 2
"""Samples on which each layer's own error is carried to the outputs."""
_FAULT: Final = 6.0
"""Times ordinary rounding noise (8 dB) from which a layer's own error is a fault. Sound exports of EfficientNet-Lite0
lie below 2 in all four formats (see tests/debugging)."""
_MOST_SUSPECTS: Final = 5
_LEAST_SHARE: Final = 0.01
_SHOWN_ROUNDING: Final = 3


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonRequest:
    """What to compare inside.

    Attributes:
        model: The float model.
        source: What the user calls it.
        artifact: The file or package.
        runtime: Its format.
        precision: Its precision as the file reports it; "unknown" for one made elsewhere.
        samples: What both run on.
        samples_from: `calibration` or `evaluation`.
        count: Samples to take.
        threads: Threads of both.
        metric: The task's.
        base: Folder of a `metrics.py:function`.
    """

    model: CapturedModel
    source: str
    artifact: Contents
    runtime: str
    precision: str
    samples: Samples
    samples_from: str
    count: int
    threads: int
    metric: str
    base: Place


def run(request: ComparisonRequest, progress: Progress) -> DebugReport:
    """Returns what was found, without remedies: what to do depends on how the user called."""
    import torch

    torch.set_num_threads(request.threads)
    progress("reading the float model", None)
    graph = FloatGraphRun(request.model)
    progress("opening the artifact", None)
    path = request.artifact
    inside = open_inside(request.runtime, path, request.threads)
    rows = _rows(request.samples, request.count)
    try:
        values = [inside.run(row) for row in rows[:_MATCHED_SAMPLES]]
    except opened_artifact.RunError as error:
        raise ERRORS_BY_NAME.get(error.kind, ArtifactError)(error.message) from error
    progress("matching tensors", None)
    matches = Matcher(graph, inside, rows[:_MATCHED_SAMPLES], values).match()
    tensors = {tensor.name: tensor for tensor in inside.tensors}
    totals = _measure(graph, inside, matches, rows, progress)
    progress("explaining", None)
    replay = LayerReplay(graph, matches, tensors, rows[:_MATCHED_SAMPLES], values)
    bits = weight_bits(request.precision)
    layers = tuple(_layer(i, match, replay, totals, bits) for i, match in enumerate(matches.values()))
    layers = tuple(
        replace(layer, error_share=share) for layer, share in zip(layers, _shares(totals, layers), strict=True)
    )
    agreement, notes = _agreement(request.runtime, path, inside, rows[0], values[0], request.threads)
    metric, points = _loss(request, rows, totals)
    return DebugReport(
        artifact=str(path),
        runtime=request.runtime,
        precision=request.precision,
        model=request.source,
        samples=len(rows),
        samples_from=request.samples_from,
        how=inside.how,
        final_sqnr_db=decibels(1.0, totals.output_total / max(1, totals.samples)),
        metric=metric,
        metric_points=points,
        inside_agreement_db=agreement,
        explained=_explained(totals),
        layers=layers,
        unmatched=tuple(n.name for n in graph.nodes if n.comparable and n.name not in matches),
        suspects=tuple(_suspects(layers, replay)),
        notes=(*notes, *_notes(graph, matches)),
    )


COMPARE: Final = Job(work=run)


def weight_bits(precision: str) -> int:
    """Returns the bits of the weights that a precision's name speaks of; 0 for float. An unknown one may be INT8."""
    if precision.startswith("fp"):
        return 0
    return 4 if precision.startswith("int4") else 8


def _rows(samples: Samples, count: int) -> list[Row]:
    """Returns `count` rows spread over all that lie on disk."""
    samples = samples.kept
    chosen = np.unique(np.linspace(0, samples.count - 1, min(count, samples.count)).round().astype(np.int64))
    return list(samples.rows(map(int, chosen)))


def _measure(
    graph: FloatGraphRun,
    inside: ArtifactInspector,
    matches: Mapping[str, Match],
    rows: Sequence[Row],
    progress: Progress,
) -> Totals:
    totals = Totals()
    grids = {tensor.name: tensor.grid for tensor in inside.tensors}
    for i, row in enumerate(rows):
        measure_sample(graph, matches, grids, row, inside.run(row), totals, carry=i < _CARRIED_SAMPLES)
        progress(f"sample {i + 1} of {len(rows)}", (i + 1) / len(rows))
    return totals


def _loss(request: ComparisonRequest, rows: Sequence[Row], totals: Totals) -> tuple[str, float | None]:
    """Returns the metric and what the artifact loses of it in percentage points; "" and None where it has none here."""
    if not totals.float_outputs:
        return "", None
    exact, own = (
        tuple(np.concatenate(arrays) for arrays in zip(*found, strict=True))
        for found in (totals.float_outputs, totals.artifact_outputs)
    )
    with tempfile.TemporaryDirectory(prefix="edgekit-debug-") as folder:
        samples = write_samples(Path(folder) / "rows", request.samples.names, iter(rows))
        drop, metric = score(request.metric, request.base, samples, exact, own, request.model)
    return (metric, drop.value) if drop is not None and drop.value is not None else ("", None)


def _layer(position: int, match: Match, replay: LayerReplay, totals: Totals, bits: int) -> LayerReport:
    found = totals.layers[match.node]
    own = found.own / max(found.signal, 1e-30)
    times = own / replay.ordinary_noise(match.node, bits, found.seen)
    grid = replay.grid(match.node)
    dead, channels = found.dead_channels()
    return LayerReport(
        position=position,
        node=match.node,
        operator=_operator(replay, match.node),
        module=_module(replay, match.node),
        tensor=match.tensor,
        layout=match.layout,
        agreement=match.agreement,
        sqnr_db=decibels(found.signal, found.total),
        own_sqnr_db=decibels(found.signal, found.own),
        beyond_ordinary_db=-decibels(1.0, times),
        error_share=None,
        saturated_share=found.beyond / max(1, found.count),
        dead_channels=dead,
        channels=channels,
        seen=found.seen,
        used=found.used,
        grid=(grid.low, grid.high) if grid is not None else None,
        departs=not times < _FAULT,
    )


def _module(replay: LayerReplay, name: str) -> str:
    """Returns the module of the weights in the layer: a fused activation is often one module for the whole network."""
    nodes = [replay.graph.by_name[item] for item in replay.segment(name)]
    weighted = [node.module for node in nodes if node.weight and node.module]
    return weighted[-1] if weighted else replay.graph.by_name[name].module


def _operator(replay: LayerReplay, name: str) -> str:
    """Returns the operators that the layer stands for, `conv2d+hardtanh`, in order, three at most."""
    names = [replay.graph.by_name[item].operator for item in replay.segment(name)] or ["input"]
    return "+".join(names if len(names) <= 3 else [names[0], "...", names[-1]])


def _shares(totals: Totals, layers: Sequence[LayerReport]) -> list[float | None]:
    found = [totals.layers[layer.node] for layer in layers]
    everything = sum(_damage(item) for item in found)
    return [
        None if not item.carried else (_damage(item) / everything if everything and math.isfinite(everything) else 0.0)
        for item in found
    ]


def _damage(item: LayerTotals) -> float:
    return min(item.damage, 1e30) if not math.isnan(item.damage) else 1e30


def _explained(totals: Totals) -> float | None:
    everything = sum(_damage(item) for item in totals.layers.values())
    if not totals.output_damage or not math.isfinite(totals.output_damage):
        return None
    return everything / totals.output_damage


def _suspects(layers: Sequence[LayerReport], replay: LayerReplay) -> list[Suspect]:
    """Returns the faulty layers by what they do to the outputs; without any, the layers whose rounding matters most."""
    ranked = sorted(layers, key=lambda layer: (-(layer.error_share or 0.0), layer.own_sqnr_db))
    faulty = [layer for layer in ranked if layer.departs]
    loud = [layer for layer in faulty if layer.error_share is None or layer.error_share >= _LEAST_SHARE]
    chosen = (loud or faulty)[:_MOST_SUSPECTS] or [
        layer for layer in ranked[:_SHOWN_ROUNDING] if (layer.error_share or 0.0) >= _LEAST_SHARE
    ]
    found: list[Suspect] = []
    for layer in chosen:
        reason = explain(replay, layer.node, is_fault=layer.departs)
        found.append(
            Suspect(
                node=layer.node,
                cause=reason.cause,
                sentence=reason.sentence,
                explained_share=reason.share,
                is_fault=layer.departs,
            )
        )
    return found


def _agreement(
    runtime: str, path: Path, inside: ArtifactInspector, row: Row, values: Mapping[str, NDArray[Any]], threads: int
) -> tuple[float | None, list[str]]:
    """Returns the SQNR between the outputs of the artifact as it is and those of the run that shows its insides.

    None, and a note with the reason, where it does not run as it is: then its insides are worth even more.
    """
    session: Any = importlib.import_module(find_format(runtime).session)
    try:
        artifact = opened_artifact.OpenArtifact(session.Runtime(str(path), "", threads), path, {})
        plain = artifact.real(artifact.run(artifact.prepare(list(row))))
    except opened_artifact.RunError as error:
        return None, [f"The artifact does not run as it is: {error.message}"]
    signal = noise = 0.0
    for name, output in zip(inside.outputs, plain, strict=False):
        if name in values:
            exact = np.asarray(output, np.float64).reshape(-1)
            difference = values[name].reshape(-1).astype(np.float64) - exact
            signal, noise = signal + float(exact @ exact), noise + float(difference @ difference)
    return decibels(signal, noise), []


def _notes(graph: FloatGraphRun, matches: Mapping[str, Match]) -> list[str]:
    missing = [name for name in graph.outputs if graph.by_name[name].comparable and name not in matches]
    if missing:
        return [f"No tensor of the artifact was found for the outputs {', '.join(missing)}."]
    return []
