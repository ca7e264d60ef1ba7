"""What is known of values that linear layers quantize when the model runs: how far they reach, and how rows differ.

A layer normalization's channels reach as far as its own parameters say, which needs no data. Where there is calibration
data, the float model is run on some of it: then the reach is measured, and so is whether a range of its own a row
is worth its small operators. Only ever runs inside a conversion worker.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from edgekit.converters.onnx_dynamic import DynamicInput, DynamicLayer, round_rows
from edgekit.converters.onnx_shapes import inferred_graph
from edgekit.samples import Samples

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

    Values = Mapping[str, NDArray[np.float32]]

_DEVIATIONS: Final = 2.5  # of a normalized channel: about what the largest of a sentence's 64 tokens reaches
_SEEN: Final = 0.5  # a channel that stays below so much of that on the samples may reach further on other inputs
_MOST_SAMPLES: Final = 32
_MOST_BYTES: Final = 1 << 30
"""Larger models are not run: the runtime would hold all weights twice more."""

_ONE_RANGE_PAYS: Final = 4.0
"""Noise of one range over that of a range a row, in power, up to which one range is taken. On MiniLM the inputs of
queries, keys and values have 1.2 to 1.8 and lose 0.7 dB together, those of feed-forward layers 1.9 to 4.7, 1.5 dB."""

_MOVES: Final = ("Reshape", "Transpose", "Identity", "Squeeze", "Unsqueeze")


def static_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of all values that have one without unknown sizes."""
    graph = inferred_graph(model)
    shapes: dict[str, tuple[int, ...]] = {}
    for value in (*graph.value_info, *graph.input, *graph.output):
        sizes = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(size.HasField("dim_value") for size in sizes):
            shapes[value.name] = tuple(size.dim_value for size in sizes)
    return shapes


def dynamic_inputs(
    model: onnx.ModelProto,
    layers: Mapping[str, Sequence[DynamicLayer]],
    shapes: Mapping[str, tuple[int, ...]],
    samples: Path | None,
) -> list[DynamicInput]:
    """Returns what is known of each value that linear layers read.

    Args:
        model: The model, its layers in place.
        layers: The readers of each value.
        shapes: See `static_shapes`.
        samples: Calibration sample folder, None where there is none.
    """
    found = {value: channel_reach(model.graph, value) for value in layers}
    reaches = {value: reach for value, reach in found.items() if reach is not None}
    runs = _runs(model, list(reaches), samples) if samples is not None and reaches else None
    if runs is not None:
        reaches = _measured_reach(runs, reaches)
    smoothing = {
        value: _smoothing(layers[value], reach)
        for value, reach in reaches.items()
        # Another scale for each channel would undo what a technique has learned.
        if not all(_is_rounded(layer.rows) for layer in layers[value])
    }
    alike = _alike_rows(runs, list(reaches), smoothing) if runs is not None else set[str]()
    return [
        DynamicInput(
            name=value,
            shape=shapes[value],
            smoothing=smoothing.get(value),
            one_range=math.prod(shapes[value][:-1]) == 1 or value in alike or _is_mixture(model.graph, value),
        )
        for value in layers
    ]


def channel_reach(graph: onnx.GraphProto, value: str) -> NDArray[np.float64] | None:
    """Returns how far each channel of a layer normalization's output reaches, None for any other value.

    The output is gamma * n + beta with n of mean 0 and variance 1, so a channel reaches 2.5 |gamma| + |beta| or so.
    """
    import numpy as np
    from onnx import numpy_helper

    node = next((node for node in graph.node if value in node.output), None)
    if node is None or node.op_type != "LayerNormalization":
        return None
    weights = {tensor.name: tensor for tensor in graph.initializer}
    if any(name not in weights for name in node.input[1:]):
        return None
    gamma, *beta = [
        np.abs(numpy_helper.to_array(weights[name]).astype(np.float64)).reshape(-1) for name in node.input[1:]
    ]
    reach: NDArray[np.float64] = _DEVIATIONS * gamma + sum(beta)
    return reach


def _runs(model: onnx.ModelProto, names: Sequence[str], folder: Path) -> Callable[[], Iterator[Values]] | None:
    """Returns a function that runs the model on samples and yields the named values of each, as (rows, channels).

    None where the model is too large to be run here.
    """
    import onnx
    import onnxruntime

    if model.ByteSize() > _MOST_BYTES:
        return None
    known = len(model.graph.output)
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    try:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        content = model.SerializeToString()
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    finally:
        del model.graph.output[known:]
    inputs = [value.name for value in session.get_inputs()]
    samples = Samples.open(folder)
    chosen = range(0, samples.count, max(1, -(-samples.count // _MOST_SAMPLES)))

    def run() -> Iterator[Values]:
        for row in samples.rows(chosen):
            made = cast("list[NDArray[np.float32]]", session.run(list(names), dict(zip(inputs, row, strict=True))))
            yield {name: item.reshape(-1, item.shape[-1]) for name, item in zip(names, made, strict=True)}

    return run


def _measured_reach(
    runs: Callable[[], Iterator[Values]], reaches: Mapping[str, NDArray[np.float64]]
) -> dict[str, NDArray[np.float64]]:
    import numpy as np

    found = {name: reach * _SEEN for name, reach in reaches.items()}
    for values in runs():
        for name, rows in values.items():
            found[name] = np.maximum(found[name], np.abs(rows).max(axis=0))
    return found


def _alike_rows(
    runs: Callable[[], Iterator[Values]], names: Sequence[str], smoothing: Mapping[str, NDArray[np.float32]]
) -> set[str]:
    """Returns the values that lose little by one range for all rows of a sample: the noise is its step's square."""
    whole, each = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    for values in runs():
        for name, rows in values.items():
            smooth = rows / smoothing[name] if name in smoothing else rows
            whole[name] += float(smooth.max() - smooth.min()) ** 2
            each[name] += float(((smooth.max(axis=1) - smooth.min(axis=1)) ** 2).mean())
    return {name for name in names if whole[name] <= _ONE_RANGE_PAYS * each[name]}


def _smoothing(layers: Sequence[DynamicLayer], reach: NDArray[np.float64]) -> NDArray[np.float32]:
    """Returns what each channel is divided by, (channels,): sqrt(reach / largest weight)."""
    import numpy as np

    columns = [np.abs(layer.rows).max(axis=0) for layer in layers]
    # Readers share the input. The one with the least weight on a channel decides: on MiniLM that keeps 28.2 dB, as
    # much as a smoothing for each reader, where the largest weight of all keeps 25.9 dB.
    largest = np.min([column / max(float(column.mean()), 1e-12) for column in columns], axis=0)
    smoothing: NDArray[np.float32] = np.sqrt(np.maximum(reach, 1e-6) / np.maximum(largest, 1e-6)).astype(np.float32)
    return smoothing


def _is_rounded(rows: NDArray[np.float32]) -> bool:
    """Returns whether weights lie on an int8 grid already: rounding them again changes nothing."""
    import numpy as np

    integers, scale = round_rows(rows)
    return bool(np.allclose(integers * scale, rows, rtol=1e-5, atol=0))


def _is_mixture(graph: onnx.GraphProto, value: str) -> bool:
    """Returns whether an attention puts the value out: each row is an average of others, so none is an outlier."""
    made = {name: node for node in graph.node for name in node.output}
    node = made.get(value)
    while node is not None and node.op_type in _MOVES:
        node = made.get(node.input[0])
    if node is None or node.op_type != "MatMul":
        return False
    weights = made.get(node.input[0])
    return weights is not None and weights.op_type == "Softmax"
