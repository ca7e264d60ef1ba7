"""Layers that compute element by element, as operators of an ML Program."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from edgekit.errors import ArtifactError
from edgekit.validators.coreml_evaluator.neural_network.message import Message
from edgekit.validators.coreml_evaluator.neural_network.network import Given, Network, Translate, all_inputs, first


def _activation(network: Network, layer: Message, params: Message) -> None:
    kind = str(params.WhichOneof("NonlinearityType"))
    own = getattr(params, kind)
    plain = {"ReLU": "relu", "tanh": "tanh", "sigmoid": "sigmoid", "softsign": "softsign", "softplus": "softplus"}
    scaled = {
        "linear": ("linear_activation", "alpha", "beta"),
        "leakyReLU": ("leaky_relu", "alpha"),
        "thresholdedReLU": ("thresholded_relu", "alpha"),
        "scaledTanh": ("scaled_tanh", "alpha", "beta"),
        "sigmoidHard": ("sigmoid_hard", "alpha", "beta"),
        "ELU": ("elu", "alpha"),
    }
    if kind in plain:
        network.add(plain[kind], layer.output[0], name=layer.name, x=first(layer))
    elif kind in scaled:
        operator, *names = scaled[kind]
        given: dict[str, Given] = {}
        given.update((name, float(getattr(own, name))) for name in names)
        network.add(operator, layer.output[0], name=layer.name, x=first(layer), **given)
    else:
        operator, names = ("prelu", ["alpha"]) if kind == "PReLU" else ("softplus_parametric", ["alpha", "beta"])
        given = {
            name: network.weights(getattr(own, name), (_count(getattr(own, name)),), f"{layer.name}.{name}")
            for name in names
        }
        network.add(operator, layer.output[0], name=layer.name, x=first(layer), **given)


def _count(message: Message) -> int:
    return len(message.floatValue) or len(message.float16Value) // 2


def _unary(network: Network, layer: Message, params: Message) -> None:
    """`f(scale * x + shift)`."""
    value = first(layer)
    if params.scale not in (0.0, 1.0) or params.shift:
        scale = float(params.scale) or 1.0
        value = network.add("linear_activation", f"{layer.name}.moved", x=value, alpha=scale, beta=float(params.shift))
    kind = ("sqrt", "rsqrt", "inverse", "power", "exp", "log", "abs", "threshold")[params.type]
    given: dict[str, Given] = {}
    if kind in ("rsqrt", "inverse", "log"):
        given = {"epsilon": float(params.epsilon) or 1e-6}
    elif kind == "threshold":
        given = {"alpha": float(params.alpha)}
    elif kind == "power":
        kind = "pow"
        given = {"y": float(params.alpha)}
    network.add(kind, layer.output[0], name=layer.name, x=value, **given)


def _folded(operator: str, *, alpha: bool = False) -> Translate:
    """Returns what joins all inputs of a layer two by two; with one input, a number of the layer's own takes part."""

    def translate(network: Network, layer: Message, params: Message) -> None:
        values = all_inputs(layer)
        if len(values) == 1:
            number = float(params.alpha) if alpha else 0.0
            network.add(operator, layer.output[0], name=layer.name, x=values[0], y=number)
            return
        value = values[0]
        for i, other in enumerate(values[1:], start=1):
            target = layer.output[0] if i == len(values) - 1 else f"{layer.name}.{i}"
            value = network.add(operator, target, name=layer.name if i == 1 else "", x=value, y=other)

    return translate


def _average(network: Network, layer: Message, params: Message) -> None:
    del params
    value = first(layer)
    for i, other in enumerate(all_inputs(layer)[1:], start=1):
        value = network.add("add", f"{layer.name}.{i}", x=value, y=other)
    network.add("mul", layer.output[0], name=layer.name, x=value, y=1.0 / len(layer.input))


def _plain(operator: str, **numbers: str) -> Translate:
    """Returns what applies an operator; `numbers` are its parameters by the layer's names for them."""

    def translate(network: Network, layer: Message, params: Message) -> None:
        given: dict[str, Given] = {key: float(getattr(params, name)) for key, name in numbers.items()}
        network.add(operator, layer.output[0], name=layer.name, x=first(layer), **given)

    return translate


def _gelu(network: Network, layer: Message, params: Message) -> None:
    mode = ("EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION")[params.mode]
    network.add("gelu", layer.output[0], name=layer.name, x=first(layer), mode=mode)


def _compared(operator: str) -> Translate:
    """Returns what compares two inputs, or one with the layer's number."""

    def translate(network: Network, layer: Message, params: Message) -> None:
        values = all_inputs(layer)
        other: Given = values[1] if len(values) > 1 else float(params.alpha)
        network.add(operator, layer.output[0], name=layer.name, x=values[0], y=other)

    return translate


def _where(network: Network, layer: Message, params: Message) -> None:
    del params
    values = all_inputs(layer)
    if len(values) != 3:
        raise ArtifactError(
            f'Layer "{layer.name}" (whereBroadcastable) has {len(values)} inputs; expected 3. '
            "The file is corrupt: export it again."
        )
    chosen = network.add("cast", f"{layer.name}.chosen", x=values[0], dtype="bool")
    network.add("select", layer.output[0], name=layer.name, cond=chosen, a=values[1], b=values[2])


LAYERS: Final[Mapping[str, Translate]] = {
    "activation": _activation,
    "add": _folded("add", alpha=True),
    "addBroadcastable": _folded("add"),
    "average": _average,
    "clip": _plain("clip", alpha="minVal", beta="maxVal"),
    "copy": _plain("identity"),
    "divideBroadcastable": _folded("real_div"),
    "equal": _compared("equal"),
    "gelu": _gelu,
    "greaterEqual": _compared("greater_equal"),
    "greaterThan": _compared("greater"),
    "lessEqual": _compared("less_equal"),
    "lessThan": _compared("less"),
    "max": _folded("maximum"),
    "maxBroadcastable": _folded("maximum"),
    "min": _folded("minimum"),
    "minBroadcastable": _folded("minimum"),
    "modBroadcastable": _folded("mod"),
    "multiply": _folded("mul", alpha=True),
    "multiplyBroadcastable": _folded("mul"),
    "notEqual": _compared("not_equal"),
    "powBroadcastable": _folded("pow"),
    "subtractBroadcastable": _folded("sub"),
    "unary": _unary,
    "whereBroadcastable": _where,
    **{
        name: _plain(name)
        for name in ("acos", "asin", "atan", "ceil", "cos", "cosh", "erf", "exp2", "floor", "round", "sign", "sin")
    },
    **{name: _plain(name) for name in ("atanh", "sinh", "tan", "tanh")},
}
"""By the layer's name in the file."""
