"""Layers over arrays of any rank (Core ML 3 and later), as operators of an ML Program."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from edgekit.validators.coreml_evaluator.graph import Reference
from edgekit.validators.coreml_evaluator.neural_network.message import Message
from edgekit.validators.coreml_evaluator.neural_network.network import Given, Network, Translate, all_inputs, first

_REDUCTIONS: Final = {
    "reduceL1": "reduce_l1_norm",
    "reduceL2": "reduce_l2_norm",
    "reduceLogSum": "reduce_log_sum",
    "reduceLogSumExp": "reduce_log_sum_exp",
    "reduceMax": "reduce_max",
    "reduceMean": "reduce_mean",
    "reduceMin": "reduce_min",
    "reduceProd": "reduce_prod",
    "reduceSum": "reduce_sum",
    "reduceSumSquare": "reduce_sum_square",
}


def _reduction(operator: str) -> Translate:
    def translate(network: Network, layer: Message, params: Message) -> None:
        axes = tuple(int(axis) for axis in params.axes)
        given: dict[str, Given] = {"axes": axes} if axes and not params.reduceAll else {}
        keep = bool(params.keepDims)
        network.add(operator, layer.output[0], name=layer.name, x=first(layer), keep_dims=keep, **given)

    return translate


def _argument_of(operator: str) -> Translate:
    def translate(network: Network, layer: Message, params: Message) -> None:
        keep = not params.removeDim
        network.add(operator, layer.output[0], name=layer.name, x=first(layer), axis=int(params.axis), keep_dims=keep)

    return translate


def _softmax(network: Network, layer: Message, params: Message) -> None:
    network.add("softmax", layer.output[0], name=layer.name, x=first(layer), axis=int(params.axis))


def _reshape(network: Network, layer: Message, params: Message) -> None:
    shape = tuple(int(size) for size in params.targetShape)
    network.add("reshape", layer.output[0], name=layer.name, x=first(layer), shape=shape)


def _transpose(network: Network, layer: Message, params: Message) -> None:
    network.add("transpose", layer.output[0], name=layer.name, x=first(layer), perm=tuple(int(a) for a in params.axes))


def _concat(network: Network, layer: Message, params: Message) -> None:
    given: dict[str, Given] = {"axis": int(params.axis), "interleave": bool(params.interleave)}
    network.add("concat", layer.output[0], name=layer.name, values=all_inputs(layer), **given)


def _stack(network: Network, layer: Message, params: Message) -> None:
    network.add("stack", layer.output[0], name=layer.name, values=all_inputs(layer), axis=int(params.axis))


def _expand(network: Network, layer: Message, params: Message) -> None:
    axes = tuple(int(axis) for axis in params.axes)
    network.add("expand_dims", layer.output[0], name=layer.name, x=first(layer), axes=axes)


def _squeeze(network: Network, layer: Message, params: Message) -> None:
    given: dict[str, Given] = {} if params.squeezeAll else {"axes": tuple(int(axis) for axis in params.axes)}
    network.add("squeeze", layer.output[0], name=layer.name, x=first(layer), **given)


def _flatten(network: Network, layer: Message, params: Message) -> None:
    network.add("flatten2d", layer.output[0], name=layer.name, x=first(layer), axis=int(params.axis))


def _constant(network: Network, layer: Message, params: Message) -> None:
    network.weights(params.data, tuple(int(size) for size in params.shape), layer.output[0])


def _slice(network: Network, layer: Message, params: Message) -> None:
    network.add(
        "slice_by_index",
        layer.output[0],
        name=layer.name,
        x=first(layer),
        begin=tuple(int(i) for i in params.beginIds),
        end=tuple(int(i) for i in params.endIds),
        stride=tuple(int(i) for i in params.strides),
        begin_mask=tuple(bool(i) for i in params.beginMasks),
        end_mask=tuple(bool(i) for i in params.endMasks),
        squeeze_mask=tuple(bool(i) for i in params.squeezeMasks) or (False,) * len(params.beginIds),
    )


def _split(network: Network, layer: Message, params: Message) -> None:
    sizes = tuple(int(size) for size in params.splitSizes)
    given: dict[str, Given] = {"split_sizes": sizes} if sizes else {"num_splits": int(params.numSplits)}
    network.add("split", *layer.output, name=layer.name, x=first(layer), axis=int(params.axis), **given)


def _layer_norm(network: Network, layer: Message, params: Message) -> None:
    shape = tuple(int(size) for size in params.normalizedShape)
    network.add(
        "layer_norm",
        layer.output[0],
        name=layer.name,
        x=first(layer),
        axes=tuple(range(-len(shape), 0)),
        gamma=network.weights(params.gamma, shape, f"{layer.name}.gamma"),
        beta=network.weights(params.beta, shape, f"{layer.name}.beta"),
        epsilon=float(params.eps),
    )


def _product(network: Network, layer: Message, params: Message) -> None:
    given: dict[str, Given] = {}
    if len(layer.input) > 1:
        values = all_inputs(layer)
        flips = {"transpose_x": bool(params.transposeA), "transpose_y": bool(params.transposeB)}
        network.add("matmul", layer.output[0], name=layer.name, x=values[0], y=values[1], **flips)
        return
    rows, columns = int(params.weightMatrixFirstDimension), int(params.weightMatrixSecondDimension)
    # Stored as the inner product layer stores it: (outputs, inputs).
    given["weight"] = network.weights(params.weights, (columns, rows), f"{layer.name}.weight")
    if params.hasBias:
        given["bias"] = network.weights(params.bias, (columns,), f"{layer.name}.bias")
    network.add("linear", layer.output[0], name=layer.name, x=first(layer), **given)


def _pad(network: Network, layer: Message, params: Message) -> None:
    amounts = tuple(int(size) for size in params.padAmounts)
    network.add("pad", layer.output[0], name=layer.name, x=first(layer), pad=amounts, constant_val=float(params.value))


def _gather(network: Network, layer: Message, params: Message) -> None:
    table, rows = all_inputs(layer)
    rows = network.add("cast", f"{layer.name}.rows", x=rows, dtype="int32")
    network.add("gather", layer.output[0], name=layer.name, x=table, indices=rows, axis=int(params.axis))


def _embedding(network: Network, layer: Message, params: Message) -> None:
    rows, outputs, name = int(params.vocabSize), int(params.embeddingSize), f"{layer.name}.weight"
    network.weights(params.weights, (outputs, rows), name)
    network.constants[name] = network.constants[name].T.copy()  # type: ignore[union-attr]  # weights are arrays
    ids = network.add("cast", f"{layer.name}.ids", x=first(layer), dtype="int32")
    ids = network.add("squeeze", f"{layer.name}.row", x=ids, axes=(-1,))
    target = f"{layer.name}.found" if params.hasBias else layer.output[0]
    value = network.add("gather", target, name=layer.name, x=Reference(name=name), indices=ids, axis=0)
    if params.hasBias:
        bias = network.weights(params.bias, (outputs,), f"{layer.name}.bias")
        network.add("add", layer.output[0], x=value, y=bias)


def _tile(network: Network, layer: Message, params: Message) -> None:
    network.add("tile", layer.output[0], name=layer.name, x=first(layer), reps=tuple(int(n) for n in params.reps))


LAYERS: Final[Mapping[str, Translate]] = {
    **{name: _reduction(operator) for name, operator in _REDUCTIONS.items()},
    "argMax": _argument_of("reduce_argmax"),
    "argMin": _argument_of("reduce_argmin"),
    "batchedMatmul": _product,
    "concatND": _concat,
    "constantPad": _pad,
    "embeddingND": _embedding,
    "expandDims": _expand,
    "flattenTo2D": _flatten,
    "gather": _gather,
    "layerNormalization": _layer_norm,
    "loadConstantND": _constant,
    "rankPreservingReshape": _reshape,
    "reshapeStatic": _reshape,
    "sliceStatic": _slice,
    "softmaxND": _softmax,
    "splitND": _split,
    "squeeze": _squeeze,
    "stack": _stack,
    "tile": _tile,
    "transpose": _transpose,
}
"""By the layer's name in the file."""
