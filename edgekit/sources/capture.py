"""The worker's entry: captures a model source. User code and frameworks run here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekit.sources.base import CaptureRequest
from edgekit.sources.table import classify, source
from edgekit.workers.worker import Progress


def run(payload: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Captures a model and returns the JSON form of its `CapturedModel`; the file lies in the payload's output folder.

    Args:
        payload: The JSON form of a `CaptureRequest`.
        progress: Told what is being done.

    Raises:
        InputError: the source, its example inputs or its user code are wrong.
        MachineError: a package is missing or the output folder cannot be written.
    """
    request = CaptureRequest.from_json(payload)
    kind = classify(str(request.file or request.source), request.base)
    return source(kind).capture(request, progress).to_json()
