"""The costed graph of a finished file, and the precisions that it computes in. Runs in a worker process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

from edgekit.analysis.graph import Analysis
from edgekit.plugins import load_plugin
from edgekit.recipe import Precision, Recipe
from edgekit.workers.request_key import Contents
from edgekit.workers.worker import Job, Progress


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedFileRequest:
    """What finished file to read.

    Attributes:
        reader: `module:function` (see `Format.graph_reader`).
        path: The file.
        sizes: Input name to its shape, where the file leaves sizes free.
        signature: Which of the file's functions, where it has several.
    """

    reader: str
    path: Contents
    sizes: Mapping[str, tuple[int, ...]]
    signature: str = ""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedFile:
    """What a finished file computes, and the recipe that it was made by, as its operators tell."""

    analysis: Analysis
    recipe: Recipe


def run(request: FinishedFileRequest, progress: Progress) -> FinishedFile:
    """Returns what a file computes: the entry of a worker process."""
    progress("reading the graph", None)
    return read_finished(request.reader, request.path, request.sizes, request.signature)


READ_FINISHED: Final = Job(work=run, tools=("onnx", "onnxruntime"))


def read_finished(reader: str, path: Path, sizes: Mapping[str, tuple[int, ...]], signature: str = "") -> FinishedFile:
    """Returns what a file computes, each operator in a module of its own that the recipe names.

    Args:
        reader: See `Format.graph_reader`.
        path: The file.
        sizes: Input name to its shape, where the file leaves sizes free.
        signature: Which of the file's functions, where it has several: its reader takes a third argument then.

    Raises:
        ModelError: the file cannot be read.
    """
    read: Any = load_plugin("graph reader", reader, reader)
    analysis: Analysis
    precisions: Mapping[str, Precision]
    analysis, precisions = read(path, sizes, signature) if signature else read(path, sizes)
    # Numbers, because names of a file's operators may hold the wildcards of a recipe's patterns.
    operators = tuple(replace(item, module=f"operator {i}.") for i, item in enumerate(analysis.operators))
    found: dict[str, Precision] = {item.module: precisions.get(item.name, "fp32") for item in operators}
    work: Counter[Precision] = Counter()
    for item in operators:
        work[found[item.module]] += item.macs + 1
    default: Precision = work.most_common(1)[0][0] if work else "fp32"
    overrides: tuple[tuple[str, Precision], ...] = tuple(
        (module, precision) for module, precision in found.items() if precision != default
    )
    return FinishedFile(
        analysis=replace(analysis, operators=operators), recipe=Recipe(default=default, overrides=overrides)
    )
