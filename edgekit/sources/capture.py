"""The worker's entry: captures a model source. User code and frameworks run here and nowhere else."""

from __future__ import annotations

from edgekit.model import CapturedModel
from edgekit.sources.base import CaptureRequest
from edgekit.sources.table import classify, source
from edgekit.workers.worker import Progress


def run(request: CaptureRequest, progress: Progress) -> CapturedModel:
    """Captures a model; the file lies in the request's output folder.

    Raises:
        InputError: the source, its example inputs or its user code are wrong.
        MachineError: a package is missing or the output folder cannot be written.
    """
    return source(classify(str(request.file or request.source), request.base)).capture(request, progress)
