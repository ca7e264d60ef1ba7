"""The costed graph of a captured model, read in a worker process or found in the cache."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgekit.errors import EdgekitError
from edgekit.model import CapturedModel
from edgekit.workers.cache import code_fingerprint, content_key
from edgekit.workers.worker import Progress

if TYPE_CHECKING:
    from edgekit.analysis.graph import Analysis
from edgekit.pipeline.settings import Settings

ANALYSIS_NAME: Final = "analysis.json"


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
    (folder / ANALYSIS_NAME).write_text(json.dumps(analysis_to_json(analysis)))


def analyze_model(model: CapturedModel, settings: Settings) -> Analysis:
    """Returns the model's costed graph, read in a worker process or found in the cache."""
    from edgekit.analysis.analyze import ENTRY
    from edgekit.analysis.graph_json import analysis_from_json

    beside = model.path.parent / ANALYSIS_NAME
    if beside.exists():
        return analysis_from_json(json.loads(beside.read_text()))
    key = content_key({"code": code_fingerprint(), "kind": model.kind, "digest": model.digest})

    def build(place: Path) -> None:
        payload = {"kind": model.kind, "path": str(model.path)}
        result = settings.run("analysis of the model", ENTRY, payload, settings.stage("analysis"))
        (place / ANALYSIS_NAME).write_text(json.dumps(result.record))

    folder = settings.cache.make("analyses", key, build)
    return analysis_from_json(json.loads((folder / ANALYSIS_NAME).read_text()))
