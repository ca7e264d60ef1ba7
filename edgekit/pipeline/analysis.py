"""The costed graph of a captured model, read in a worker process or found in the cache."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from edgekit.analysis.analyze import ANALYZE, AnalysisRequest, analyze
from edgekit.analysis.graph import Analysis
from edgekit.errors import EdgekitError
from edgekit.model import CapturedModel
from edgekit.pipeline.settings import Settings
from edgekit.workers.structure import read_value, write_value
from edgekit.workers.worker import Progress

ANALYSIS_NAME: Final = "analysis.json"


def write_analysis(model: CapturedModel, progress: Progress) -> None:
    """Analyses a captured model, and leaves its costed graph beside its file. Runs in a worker."""
    progress("reading the graph", None)
    try:
        analysis = analyze(model.kind, model.path)
    except EdgekitError:
        # `analyze_model` will meet it again, where it can be reported; a capture is of use without an analysis.
        return
    write_value(model.path.parent / ANALYSIS_NAME, analysis)


def analyze_model(model: CapturedModel, settings: Settings) -> Analysis:
    """Returns the model's costed graph, read in a worker process or found in the cache."""
    beside = model.path.parent / ANALYSIS_NAME
    if beside.exists():
        return read_value(beside, Analysis)
    request = AnalysisRequest(kind=model.kind, path=model.path)

    def build(place: Path) -> None:
        made = settings.run("analysis of the model", ANALYZE, request, settings.stage("analysis"))
        write_value(place / ANALYSIS_NAME, made.value)

    folder = settings.cache.make("analyses", ANALYZE.key(request), build)
    return read_value(folder / ANALYSIS_NAME, Analysis)
