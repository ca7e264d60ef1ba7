"""Which captured models can be simulated for a format: those whose rounding its descriptor knows."""

from __future__ import annotations

from edgekit.formats.realisation import Realisation
from edgekit.formats.table import find_format, known_format
from edgekit.model import RUN_LAYER_BY_LAYER


def realisation_of(runtime: str) -> Realisation:
    """Returns how a format rounds; ask `why_not_simulated` first.

    Raises:
        LookupError: nobody knows.
    """
    found = find_format(runtime).realisation
    if found is None:
        raise LookupError(f"edgekit does not know how {runtime} rounds, so it cannot be simulated")
    return found


def why_not_simulated(runtime: str, kind: str) -> str | None:
    """Returns why a captured model of `kind` cannot be simulated for a format, or None if it can."""
    found = known_format(runtime)
    if found is None or found.realisation is None:
        return f"edgekit does not know how {runtime} rounds, so it cannot be simulated"
    if kind in RUN_LAYER_BY_LAYER:
        return None
    return f"a {kind} file cannot be run layer by layer here; give the torch or ONNX model that it was made from"
