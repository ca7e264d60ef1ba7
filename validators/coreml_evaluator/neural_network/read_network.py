"""From the protobuf of a neural network to the `Function` that an ML Program of the same model would hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import ArtifactError
from edgekit.validators.coreml_evaluator.graph import Block, Function, NamedType, Operation, Reference, ValueType
from edgekit.validators.coreml_evaluator.neural_network import (
    elementwise_layers,
    layers,
    ranked_layers,
    recurrent_layers,
)
from edgekit.validators.coreml_evaluator.neural_network.message import Message
from edgekit.validators.coreml_evaluator.neural_network.network import Network, Translate

LAYERS: Final[Mapping[str, Translate]] = {
    **layers.LAYERS,
    **elementwise_layers.LAYERS,
    **ranked_layers.LAYERS,
    **recurrent_layers.LAYERS,
}
"""By the layer's name in the file."""

_OPSET: Final = 5
_EXACT: Final = 1
"""NeuralNetworkMultiArrayShapeMapping: arrays have the ranks that the file gives them."""

# ArrayFeatureType.ArrayDataType in coremltools' FeatureTypes.proto
_DTYPES: Final = {65568: "fp32", 65600: "fp64", 65552: "fp16", 131104: "int32", 131080: "int8"}
_COLOURS: Final = {10: ("gray",), 20: ("red", "green", "blue"), 30: ("blue", "green", "red")}


def read_network(spec: Message) -> Function:
    """Returns the function `main` of a neural network.

    Args:
        spec: `Model` message of a neural network.

    Raises:
        ArtifactError: Layers that the evaluator lacks (all of them are named), or a broken file.
    """
    message = getattr(spec, spec.WhichOneof("Type"))
    _check_layers(message)
    network = Network(ranks=message.arrayInputShapeMapping == _EXACT)
    described = spec.description
    inputs = tuple(_input(item) for item in described.input)
    names = [item.name for item in (*described.input, *described.output)]
    _call_arrays_otherwise(message, names)
    for item, feature in zip(described.input, inputs, strict=True):
        _enter(network, message, item, feature)
    for layer in message.layers:
        kind = layer.WhichOneof("layer")
        LAYERS[kind](network, layer, getattr(layer, kind))
    outputs = _leave(network, spec, message)
    block = Block(inputs=(), outputs=outputs, operations=tuple(network.operations))
    function = Function(
        name="main",
        opset=_OPSET,
        inputs=inputs,
        block=block,
        constants=network.constants,
        stored_constants=tuple(network.stored),
    )
    return _with_shapes(function)


def _check_layers(message: Message) -> None:
    unknown: dict[str, None] = {}
    for layer in message.layers:
        kind = layer.WhichOneof("layer") or "empty"
        if kind == "custom":
            unknown[f'custom layers of class "{layer.custom.className}"'] = None
        elif kind not in LAYERS:
            unknown[f'{kind} (layer "{layer.name}")'] = None
        elif kind == "batchnorm" and layer.batchnorm.computeMeanVar and not layer.batchnorm.instanceNormalization:
            unknown[f'batchnorm with computeMeanVar alone (layer "{layer.name}")'] = None
    # A layer of one kind is named once, where it comes first.
    firsts = {text.partition(" (")[0]: text for text in reversed(unknown)}
    if unknown:
        raise ArtifactError(
            f"The Core ML evaluator lacks {', '.join(reversed(firsts.values()))}. Validate this model on a Mac, or "
            "replace what the model uses there."
        )


def _array(name: str) -> str:
    """Returns what an input or output is called between the layers, where it may have other axes."""
    return f"{name}/array"


def _call_arrays_otherwise(message: Message, names: list[str]) -> None:
    for layer in message.layers:
        for values in (layer.input, layer.output):
            for i, name in enumerate(values):
                if name in names:
                    values[i] = _array(name)


def _input(item: Message) -> NamedType:
    """Returns an input's name and type, images as (1, channels, height, width)."""
    kind = item.type.WhichOneof("Type")
    if kind == "imageType":
        image = item.type.imageType
        shape: tuple[int, ...] = (
            1,
            len(_COLOURS.get(image.colorSpace, ("gray",))),
            int(image.height),
            int(image.width),
        )
        return NamedType(name=item.name, type=ValueType(kind="tensor", dtype="fp32", shape=shape))
    if kind != "multiArrayType" or not item.type.multiArrayType.shape:
        raise ArtifactError(
            f'The input "{item.name}" is of type {kind or "none"}{" without a shape" if kind else ""}; the Core ML '
            "evaluator takes images, and arrays whose shape the file gives. Validate this model on a Mac."
        )
    array = item.type.multiArrayType
    shape = tuple(int(size) for size in array.shape)
    return NamedType(
        name=item.name, type=ValueType(kind="tensor", dtype=_DTYPES.get(array.dataType, "fp32"), shape=shape)
    )


def _enter(network: Network, message: Message, item: Message, feature: NamedType) -> None:
    """Brings an input into the axes that layers work on, and a picture into the values that they expect."""
    shape = feature.type.fixed_shape or ()
    value = Reference(name=item.name)
    if feature.type.dtype != "fp32":
        value = network.add("cast", f"{item.name}/float", x=value, dtype="fp32")
    scalers = [one for one in message.preprocessing if one.featureName in (item.name, "")]
    for one in scalers if item.type.WhichOneof("Type") == "imageType" else ():
        if one.WhichOneof("preprocessor") != "scaler":
            raise ArtifactError(
                f'The picture "{item.name}" has a mean image subtracted, which the Core ML evaluator does not do. '
                "Validate this model on a Mac."
            )
        colours = _COLOURS.get(item.type.imageType.colorSpace, ("gray",))
        bias = np.array([getattr(one.scaler, f"{colour}Bias") for colour in colours], np.float32)
        scale = float(one.scaler.channelScale) or 1.0
        scaled = network.add("mul", f"{item.name}/scaled", x=value, y=scale)
        value = network.add("add", f"{item.name}/moved", x=scaled, y=bias.reshape(1, -1, 1, 1))
    if network.ranks or len(shape) == 4:
        network.add("identity", _array(item.name), x=value)
        return
    axes = {1: (1, *shape, 1, 1), 3: (1, *shape), 5: (prod(shape[:2]), *shape[2:])}.get(len(shape))
    if axes is None:
        raise ArtifactError(
            f'The input "{item.name}" has the shape {list(shape)}; a neural network of this kind takes arrays of 1, 3 '
            "or 5 axes. The file is corrupt: export it again."
        )
    network.add("reshape", _array(item.name), x=value, shape=axes)


def _leave(network: Network, spec: Message, message: Message) -> tuple[str, ...]:
    """Brings the outputs into the axes that the file gives them, and returns their names."""
    described = spec.description
    classes = _classes(message)
    label, probabilities = described.predictedFeatureName, described.predictedProbabilitiesName
    names: list[str] = []
    for item in described.output:
        names.append(str(item.name))
        if classes and item.name in (label, probabilities):
            continue
        array = item.type.multiArrayType
        shape = tuple(int(size) for size in array.shape)
        value = Reference(name=_array(item.name))
        if shape and all(size > 0 for size in shape):
            network.add("reshape", item.name, x=value, shape=shape)
        elif network.ranks or item.type.WhichOneof("Type") == "imageType":
            network.add("identity", item.name, x=value)
        else:
            network.add("squeeze", item.name, x=value, axes=(0,))
    if classes:
        source = str(message.labelProbabilityLayerName or message.layers[-1].output[0])
        inside = {name for layer in message.layers for name in layer.output}
        value = Reference(name=source if source in inside else _array(source))
        of_labels = NamedType(name=label, type=ValueType(kind="tensor", dtype="string", shape=(1,)))
        of_all = NamedType(name=probabilities or "classProbability", type=_DICTIONARY)
        inputs: dict[str, Any] = {"probabilities": (value,), "classes": (classes,)}
        network.operations.append(
            Operation(type="classify", name="classify", inputs=inputs, outputs=(of_labels, of_all), blocks=())
        )
    return tuple(names)


_DICTIONARY: Final = ValueType(kind="dictionary", dtype="", shape=None)


def _classes(message: Message) -> tuple[str | int, ...]:
    if not hasattr(message, "labelProbabilityLayerName"):
        return ()
    texts = tuple(str(label) for label in message.stringClassLabels.vector)
    return texts or tuple(int(label) for label in message.int64ClassLabels.vector)


def _with_shapes(function: Function) -> Function:
    """Returns the function with the shape of every result, as a run on zeros gives it: the file holds none."""
    import torch

    from edgekit.validators.coreml_evaluator.interpreter import Interpreter

    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str, array: NDArray[Any]) -> None:
        shapes[name] = array.shape

    zeros = {item.name: torch.zeros(item.type.fixed_shape or ()) for item in function.inputs}
    Interpreter(function, round_fp16=False).run(zeros, {}, note)
    operations = tuple(
        replace(operation, outputs=tuple(_shaped(one, shapes, function.block.outputs) for one in operation.outputs))
        for operation in function.block.operations
    )
    return replace(function, block=replace(function.block, operations=operations))


def _shaped(output: NamedType, shapes: Mapping[str, tuple[int, ...]], ends: Sequence[str]) -> NamedType:
    """Returns a result with its shape, as 16-bit float inside: what accelerators compute such models in."""
    found = shapes.get(output.name)
    if found is None:
        return output
    dtype = "fp16" if output.type.dtype == "fp32" and output.name not in ends else output.type.dtype
    return replace(output, type=replace(output.type, shape=found, dtype=dtype))
