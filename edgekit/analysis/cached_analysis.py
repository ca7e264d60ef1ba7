"""The analysis of a captured model, made in a worker process once and found in the cache afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgekit.analysis.analyze import ENTRY
from edgekit.analysis.graph import Analysis
from edgekit.analysis.graph_json import FORMAT, analysis_from_json
from edgekit.cache import Cache, code_fingerprint, content_key
from edgekit.model import CapturedModel
from edgekit.worker import JobResult, Progress

Run = Callable[[str, str, Mapping[str, Any], Progress], JobResult]
"""Runs a worker: (title, entry, payload, progress), as `pipeline.Settings.run` does."""


def analyze_model(model: CapturedModel, cache: Cache, run: Run, progress: Progress) -> Analysis:
    """Returns the analysis of a captured model.

    Raises:
        ModelError: the captured file cannot be read.
        EdgekitError: as `worker.run_job`.
    """
    key = content_key({"format": FORMAT, "code": code_fingerprint(), "digest": model.digest, "kind": model.kind})

    def build(folder: Path) -> None:
        payload = {"kind": model.kind, "path": str(model.path)}
        result = run("analysis of the model", ENTRY, payload, progress)
        (folder / "analysis.json").write_text(json.dumps(result.record))

    folder = cache.make("analysis", key, build)
    return analysis_from_json(json.loads((folder / "analysis.json").read_text()))
