"""Converts captured models with one runtime's converter. Run as a script: it reads requests as JSON from stdin.

Each converter works in a process of its own, as in the product: two frameworks in one process can disturb each other.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

from edgekit.converters.base import ConversionRequest
from edgekit.converters.base import converter as find_converter
from edgekit.errors import EdgekitError
from edgekit.model import CapturedModel
from edgekit.recipe import Recipe
from edgekit.workers.structure import structure, unstructure
from edgekit.workers.worker import silent


def convert(runtime, item):
    scratch = Path(item["output"]).with_suffix(".scratch")
    scratch.mkdir()
    request = ConversionRequest(
        model=structure(item["model"], CapturedModel, "model"),
        recipe=Recipe.from_json(item["recipe"]),
        calibration=Path(item["calibration"]),
        io=item["io"],
        metadata={"labels": "cat,dog"},
        scratch=scratch,
    )
    try:
        return unstructure(find_converter(runtime).run(request, Path(item["output"]), silent))
    except EdgekitError as error:
        return {"error": type(error).__name__, "message": error.message}


if __name__ == "__main__":
    # Frameworks import TensorFlow where they find it, for nothing that is used here: 7 s.
    sys.modules["tensorflow"] = None  # this is how Python marks a module as not importable
    warnings.simplefilter("ignore")
    payload = json.load(sys.stdin)
    results = [convert(payload["runtime"], item) for item in payload["items"]]
    Path(payload["results"]).write_text(json.dumps(results))
