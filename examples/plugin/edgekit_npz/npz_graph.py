"""The costed graph of an .npz model: what `edgekit plan FILE`, `validate` and `devices calibrate` count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.analysis.graph import Analysis, KernelClass
from edgekit.analysis.graph_builder import GraphBuilder
from edgekit.recipe import Precision
from edgekit_npz.npz_file import read_npz
from edgekit_npz.npz_session import Session


def read_npz_graph(path: Path, sizes: Mapping[str, Sequence[int]]) -> tuple[Analysis, dict[str, Precision]]:
    """Returns the analysis of a file, and operator name to the precision that its weights are stored in.

    Args:
        path: The file.
        sizes: Not used: the file has the sizes that it was made with.

    Raises:
        ModelError: it is no .npz model.
    """
    del sizes
    file, builder = read_npz(path), GraphBuilder()
    for name, array in file.weights.items():
        builder.store(name, array.shape, str(array.dtype), lambda array=array: array)
    for value, spec in file.inputs.items():
        builder.tensor(value, spec["shape"], spec["dtype"])
    precisions: dict[str, Precision] = {}
    for operator, shape in zip(file.operators, _shapes(path, file.inputs), strict=True):
        builder.tensor(operator["name"], shape, "float32")
        stored = [file.weights[name] for name in _reads(operator["arguments"]) if name in file.weights]
        precisions[operator["name"]] = "fp16" if any(array.dtype == np.float16 for array in stored) else "fp32"
        _add(builder, operator)
    return builder.finish(file.inputs, file.outputs), precisions


def _shapes(path: Path, inputs: Mapping[str, Mapping[str, Any]]) -> list[tuple[int, ...]]:
    """Returns the shape of each operator's result: the session runs once, on zeros."""
    session = Session(str(path))
    session.run([np.zeros(spec["shape"], spec["dtype"]) for spec in inputs.values()])
    return [session.values[name].shape for name in session.names]


def _add(builder: GraphBuilder, operator: Mapping[str, Any]) -> None:
    name, reads = operator["name"], _reads(operator["arguments"])
    kernel: KernelClass = "data_movement" if operator["kind"] == "cat" else "elementwise"
    if operator["kind"] != "linear":
        builder.add(name=name, type=operator["kind"], kernel=kernel, reads=reads, outputs=[name])
        return
    outputs, columns = builder.shape(reads[1])
    rows = int(np.prod(builder.shape(name))) // outputs
    builder.add(
        name=name, type="linear", kernel="linear", reads=reads, outputs=[name], macs=rows * outputs * columns,
        roles={reads[1]: ("kernel", outputs), **dict.fromkeys(reads[2:], ("bias", None))},
    )  # fmt: skip


def _reads(arguments: Sequence[Any]) -> list[str]:
    """Returns the names of the values among an operator's arguments, those in lists too."""
    found: list[str] = []
    for argument in arguments:
        if isinstance(argument, list):
            found += _reads(argument)
        elif isinstance(argument, dict):
            found.append(argument["value"])
    return found
