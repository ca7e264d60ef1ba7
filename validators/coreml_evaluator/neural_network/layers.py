"""Layers with windows, weights and fixed axes, as operators of an ML Program.

The formulas are those of Core ML's `NeuralNetwork.proto`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from edgekit.validators.coreml_evaluator.graph import Reference
from edgekit.validators.coreml_evaluator.neural_network.message import Message
from edgekit.validators.coreml_evaluator.neural_network.network import Given, Network, Translate, all_inputs, first

CHANNELS: Final = -3
"""The channels' axis."""


def _edges(borders: Iterable[Message]) -> list[int]:
    """Returns [top, bottom, left, right]."""
    amounts = [(int(edge.startEdgeSize), int(edge.endEdgeSize)) for edge in borders] or [(0, 0), (0, 0)]
    return [size for pair in amounts for size in pair]


def _padding(params: Message) -> dict[str, Given]:
    """Returns `pad_type` and `pad` of a convolution or a pooling."""
    kind = params.WhichOneof("ConvolutionPaddingType" if hasattr(params, "nGroups") else "PoolingPaddingType")
    if kind == "same":
        return {"pad_type": "same_lower" if params.same.asymmetryMode else "same"}
    if kind == "includeLastPixel":
        height, width = (int(size) for size in params.includeLastPixel.paddingAmounts or (0, 0))
        return {"pad_type": "custom", "pad": (height, height, width, width), "ceil_mode": True}
    return {"pad_type": "custom", "pad": tuple(_edges(params.valid.paddingAmounts.borderAmounts))}


def _two(sizes: Sequence[int], default: int) -> list[int]:
    return [int(size) for size in sizes] or [default, default]


def _convolution(network: Network, layer: Message, params: Message) -> None:
    kernel, groups = _two(params.kernelSize, 3), int(params.nGroups) or 1
    outputs, channels = int(params.outputChannels), int(params.kernelChannels)
    shape = (channels, outputs // groups, *kernel) if params.isDeconvolution else (outputs, channels, *kernel)
    given: dict[str, Given] = {
        "x": first(layer),
        "weight": network.weights(params.weights, shape, f"{layer.name}.weight"),
        "strides": tuple(_two(params.stride, 1)),
        "dilations": tuple(_two(params.dilationFactor, 1)),
        "groups": groups,
        **_padding(params),
    }
    if params.hasBias:
        given["bias"] = network.weights(params.bias, (outputs,), f"{layer.name}.bias")
    if params.isDeconvolution and params.outputShape:
        given["output_shape"] = (1, outputs, *(int(size) for size in params.outputShape))
    kind = "conv_transpose" if params.isDeconvolution else "conv"
    network.add(kind, layer.output[0], name=layer.name, **given)


def _pooling(network: Network, layer: Message, params: Message) -> None:
    kind = ("max", "avg", "l2")[params.type]
    if params.globalPooling:
        reduction = {"max": "reduce_max", "avg": "reduce_mean", "l2": "reduce_l2_norm"}[kind]
        network.add(reduction, layer.output[0], name=layer.name, x=first(layer), axes=(-2, -1), keep_dims=True)
        return
    network.add(
        f"{kind}_pool",
        layer.output[0],
        name=layer.name,
        x=first(layer),
        kernel_sizes=tuple(_two(params.kernelSize, 3)),
        strides=tuple(_two(params.stride, 1)),
        **({"exclude_padding_from_average": bool(params.avgPoolExcludePadding)} if kind == "avg" else {}),
        **_padding(params),
    )


def _inner_product(network: Network, layer: Message, params: Message) -> None:
    inputs, outputs = int(params.inputChannels), int(params.outputChannels)
    given: dict[str, Given] = {"weight": network.weights(params.weights, (outputs, inputs), f"{layer.name}.weight")}
    if params.hasBias:
        given["bias"] = network.weights(params.bias, (outputs,), f"{layer.name}.bias")
    if network.ranks:
        network.add("linear", layer.output[0], name=layer.name, x=first(layer), **given)
        return
    flat = network.add("reshape", f"{layer.name}.flat", x=first(layer), shape=(0, -1))
    made = network.add("linear", f"{layer.name}.made", name=layer.name, x=flat, **given)
    network.add("reshape", layer.output[0], x=made, shape=(0, outputs, 1, 1))


def _embedding(network: Network, layer: Message, params: Message) -> None:
    rows, outputs = int(params.inputDim), int(params.outputChannels)
    # The file holds it the other way round, as an inner product with one-hot vectors.
    name = f"{layer.name}.weight"
    network.weights(params.weights, (outputs, rows), name)
    table = network.constants[name]
    network.constants[name] = table.T.copy()  # type: ignore[union-attr]  # weights are arrays
    ids = network.add("cast", f"{layer.name}.ids", x=first(layer), dtype="int32")
    flat = network.add("reshape", f"{layer.name}.flat", x=ids, shape=(-1,)) if not network.ranks else ids
    found = f"{layer.name}.found" if params.hasBias or not network.ranks else layer.output[0]
    value = network.add("gather", found, name=layer.name, x=Reference(name=name), indices=flat, axis=0)
    if params.hasBias:
        bias = network.weights(params.bias, (outputs,), f"{layer.name}.bias")
        value = network.add("add", f"{layer.name}.sum" if not network.ranks else layer.output[0], x=value, y=bias)
    if not network.ranks:
        network.add("reshape", layer.output[0], x=value, shape=(-1, outputs, 1, 1))


def _batch_norm(network: Network, layer: Message, params: Message) -> None:
    size = (int(params.channels),)
    given: dict[str, Given] = {
        key: network.weights(getattr(params, key), size, f"{layer.name}.{key}")
        for key in ("gamma", "beta", "mean", "variance")
        if getattr(params, key).ByteSize()
    }
    by_instance = params.computeMeanVar and params.instanceNormalization
    if by_instance:
        given = {key: value for key, value in given.items() if key in ("gamma", "beta")}
    kind = "instance_norm" if by_instance else "batch_norm"
    network.add(kind, layer.output[0], name=layer.name, x=first(layer), epsilon=params.epsilon or 1e-5, **given)


def _padding_layer(network: Network, layer: Message, params: Message) -> None:
    kind = params.WhichOneof("PaddingType")
    mode = {"reflection": "reflect", "replication": "replicate"}.get(kind, "constant")
    network.add(
        "pad",
        layer.output[0],
        name=layer.name,
        x=first(layer),
        pad=tuple(_edges(params.paddingAmounts.borderAmounts)),
        mode=mode,
        constant_val=float(params.constant.value),
    )


def _upsample(network: Network, layer: Message, params: Message) -> None:
    factors = [float(f) for f in params.fractionalScalingFactor] or [float(f) for f in params.scalingFactor] or [1.0, 1]
    given: dict[str, Given] = {"scale_factor_height": factors[0], "scale_factor_width": factors[1]}
    if params.mode == 0:
        network.add("upsample_nearest_neighbor", layer.output[0], name=layer.name, x=first(layer), **given)
        return
    corners = {"align_corners": params.linearUpsampleMode == 1, "half_pixel_centers": params.linearUpsampleMode == 2}
    network.add("upsample_bilinear", layer.output[0], name=layer.name, x=first(layer), **given, **corners)


def _normalise_window(network: Network, layer: Message, params: Message) -> None:
    network.add(
        "local_response_norm",
        layer.output[0],
        name=layer.name,
        x=first(layer),
        size=int(params.localSize),
        alpha=float(params.alpha),
        beta=float(params.beta),
        k=float(params.k),
    )


def _scale(network: Network, layer: Message, params: Message) -> None:
    scale = network.weights(params.scale, _aligned(params.shapeScale), f"{layer.name}.scale")
    target = f"{layer.name}.scaled" if params.hasBias else layer.output[0]
    value = network.add("mul", target, name=layer.name, x=first(layer), y=scale)
    if params.hasBias:
        bias = network.weights(params.bias, _aligned(params.shapeBias), f"{layer.name}.bias")
        network.add("add", layer.output[0], x=value, y=bias)


def _bias(network: Network, layer: Message, params: Message) -> None:
    bias = network.weights(params.bias, _aligned(params.shape), f"{layer.name}.bias")
    network.add("add", layer.output[0], name=layer.name, x=first(layer), y=bias)


def _aligned(shape: Sequence[int]) -> tuple[int, ...]:
    """Returns the shape of a vector over the channels with axes for height and width, others as they are."""
    sizes = tuple(int(size) for size in shape)
    return (*sizes, 1, 1) if len(sizes) == 1 else sizes


def _crop(network: Network, layer: Message, params: Message) -> None:
    top, bottom, left, right = _edges(params.cropAmounts.borderAmounts)
    amounts = {"crop_height": (top, bottom), "crop_width": (left, right)}
    network.add("crop", layer.output[0], name=layer.name, x=first(layer), **amounts)


def _slice(network: Network, layer: Message, params: Message) -> None:
    axis = (1, 2, 3)[params.axis]
    begin, end, stride = [0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]
    begin[axis], end[axis], stride[axis] = int(params.startIndex), int(params.endIndex), int(params.stride) or 1
    network.add(
        "slice_by_index",
        layer.output[0],
        name=layer.name,
        x=first(layer),
        begin=tuple(begin),
        end=tuple(end),
        stride=tuple(stride),
        begin_mask=tuple(i != axis for i in range(4)),
        end_mask=tuple(i != axis for i in range(4)),
    )


def _flatten(network: Network, layer: Message, params: Message) -> None:
    value = first(layer)
    if params.mode == 1:  # channels last
        value = network.add("transpose", f"{layer.name}.turned", x=value, perm=(0, 2, 3, 1))
    network.add("reshape", layer.output[0], name=layer.name, x=value, shape=(0, -1, 1, 1))


def _reshape(network: Network, layer: Message, params: Message) -> None:
    sizes = tuple(int(size) for size in params.targetShape)
    value, last = first(layer), sizes[-3:]
    if params.mode == 0:
        network.add("reshape", layer.output[0], name=layer.name, x=value, shape=(-1, *last))
        return
    value = network.add("transpose", f"{layer.name}.turned", x=value, perm=(0, 2, 3, 1))
    value = network.add("reshape", f"{layer.name}.made", name=layer.name, x=value, shape=(-1, *last[1:], last[0]))
    network.add("transpose", layer.output[0], x=value, perm=(0, 3, 1, 2))


def _permute(network: Network, layer: Message, params: Message) -> None:
    network.add("transpose", layer.output[0], name=layer.name, x=first(layer), perm=tuple(int(a) for a in params.axis))


def _concat(network: Network, layer: Message, params: Message) -> None:
    axis = 0 if params.sequenceConcat else CHANNELS
    network.add("concat", layer.output[0], name=layer.name, values=all_inputs(layer), axis=axis)


def _split(network: Network, layer: Message, params: Message) -> None:
    network.add("split", *layer.output, name=layer.name, x=first(layer), num_splits=int(params.nOutputs), axis=CHANNELS)


def _softmax(network: Network, layer: Message, params: Message) -> None:
    del params
    network.add("softmax", layer.output[0], name=layer.name, x=first(layer), axis=CHANNELS)


def _reduce(network: Network, layer: Message, params: Message) -> None:
    kinds = ("sum", "mean", "prod", "log_sum", "sum_square", "l1_norm", "l2_norm", "max", "min", "argmax")
    axes = ((-3, -2, -1), (-2, -1), (-3,), (-2,), (-1,))[params.axis]
    kind = kinds[params.mode]
    given: dict[str, Given] = {"axis": axes[0]} if kind == "argmax" else {"axes": axes}
    network.add(f"reduce_{kind}", layer.output[0], name=layer.name, x=first(layer), keep_dims=True, **given)


def _unit_length(network: Network, layer: Message, params: Message) -> None:
    given = {"epsilon": float(params.epsilon)}
    network.add("l2_norm", layer.output[0], name=layer.name, x=first(layer), **given)


def _mean_variance(network: Network, layer: Message, params: Message) -> None:
    axes = (-3, -2, -1) if params.acrossChannels else (-2, -1)
    if params.normalizeVariance:
        given: dict[str, Given] = {"axes": axes, "epsilon": float(params.epsilon)}
        network.add("layer_norm", layer.output[0], name=layer.name, x=first(layer), **given)
        return
    mean = network.add("reduce_mean", f"{layer.name}.mean", x=first(layer), axes=axes, keep_dims=True)
    network.add("sub", layer.output[0], name=layer.name, x=first(layer), y=mean)


def _constant(network: Network, layer: Message, params: Message) -> None:
    shape = tuple(int(size) for size in params.shape)
    network.weights(params.data, shape if network.ranks else (1, *shape), layer.output[0])


LAYERS: Final[Mapping[str, Translate]] = {
    "batchnorm": _batch_norm,
    "bias": _bias,
    "concat": _concat,
    "convolution": _convolution,
    "crop": _crop,
    "embedding": _embedding,
    "flatten": _flatten,
    "innerProduct": _inner_product,
    "l2normalize": _unit_length,
    "loadConstant": _constant,
    "lrn": _normalise_window,
    "mvn": _mean_variance,
    "padding": _padding_layer,
    "permute": _permute,
    "pooling": _pooling,
    "reduce": _reduce,
    "reshape": _reshape,
    "scale": _scale,
    "slice": _slice,
    "softmax": _softmax,
    "split": _split,
    "upsample": _upsample,
}
"""By the layer's name in the file."""
