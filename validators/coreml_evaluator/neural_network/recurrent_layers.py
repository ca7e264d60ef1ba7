"""Recurrent layers, as operators of an ML Program: gates joined in the order that its operators read them in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from edgekit.errors import ArtifactError
from edgekit.validators.coreml_evaluator.graph import Reference
from edgekit.validators.coreml_evaluator.neural_network.message import Message
from edgekit.validators.coreml_evaluator.neural_network.network import Given, Network, Translate

_LSTM_GATES: Final = ("inputGate", "forgetGate", "outputGate", "blockInput")
_GRU_GATES: Final = ("resetGate", "outputGate", "updateGate")
_ACTIVATIONS: Final = {"ReLU": "relu", "sigmoidHard": "sigmoid_hard", "scaledTanh": "scaled_tanh"}


def _joined(
    network: Network, holder: Message, gates: Sequence[str], part: str, shape: Sequence[int], name: str
) -> Reference:
    """Stores one matrix of all gates and returns what refers to it."""
    parts = [network.weights(getattr(holder, f"{gate}{part}"), shape, f"{name}.{gate}") for gate in gates]
    arrays = [network.constants.pop(item.name) for item in parts]
    stored = network.stored[-1]
    del network.stored[-len(parts) :]
    whole = np.concatenate([np.asarray(array) for array in arrays])
    network.constants[name] = whole
    network.keep(name, whole.shape, stored.stored_dtype, stored.stored_bytes * len(parts))
    return Reference(name=name)


def _cells(
    network: Network, holder: Message, gates: Sequence[str], layer: Message, params: Message, end: str
) -> dict[str, Given]:
    inputs, outputs = int(params.inputVectorSize), int(params.outputVectorSize)
    name = f"{layer.name}{end}"
    given: dict[str, Given] = {
        f"weight_ih{end}": _joined(network, holder, gates, "WeightMatrix", (outputs, inputs), f"{name}.weight_ih"),
        f"weight_hh{end}": _joined(network, holder, gates, "RecursionMatrix", (outputs, outputs), f"{name}.weight_hh"),
    }
    settings = getattr(params, "params", params)
    if settings.hasBiasVectors:
        given[f"bias{end}"] = _joined(network, holder, gates, "BiasVector", (outputs,), f"{name}.bias")
    if getattr(settings, "hasPeepholeVectors", False):
        three = _LSTM_GATES[:3]
        given[f"peephole{end}"] = _joined(network, holder, three, "PeepholeVector", (outputs,), f"{name}.peephole")
    return given


def _sequence(network: Network, layer: Message) -> Reference:
    """Returns the layer's data as (steps, batch, channels): its arrays have two axes of 1 behind."""
    shape = (0, 0, -1) if network.ranks else (0, 1, -1)
    return network.add("reshape", f"{layer.name}.steps", x=Reference(name=layer.input[0]), shape=shape)


def _state(network: Network, layer: Message, size: int, places: Sequence[int], key: str) -> Given:
    """Returns a first state (batch, channels) from the layer's further inputs, side by side; zeros without them."""
    if len(layer.input) == 1:
        return np.zeros((1, size * len(places)), np.float32)
    parts = [
        network.add("reshape", f"{layer.name}.{key}_{i}", x=Reference(name=layer.input[i]), shape=(-1, size))
        for i in places
    ]
    return network.add("concat", f"{layer.name}.{key}", values=parts, axis=1) if len(parts) > 1 else parts[0]


def _sequence_out(network: Network, layer: Message, made: Reference) -> None:
    shape = (0, 0, -1, 1, 1) if network.ranks else (0, -1, 1, 1)
    network.add("reshape", layer.output[0], x=made, shape=shape)


def _states_out(network: Network, layer: Message, size: int, states: Sequence[Reference]) -> None:
    """Gives the last states to the layer's further outputs, in their order there."""
    shape = (1, -1, size, 1, 1) if network.ranks else (-1, size, 1, 1)
    for output, state in zip(layer.output[1:], states, strict=False):
        network.add("reshape", output, x=state, shape=shape)


def _activations(layer: Message, found: Sequence[Message], names: Sequence[str]) -> dict[str, Given]:
    kinds = [str(item.WhichOneof("NonlinearityType")) for item in found]
    known = {"sigmoid", "tanh", "linear", *_ACTIVATIONS}
    if unknown := [kind for kind in kinds if kind not in known]:
        raise ArtifactError(
            f'Layer "{layer.name}" has the activation {unknown[0]} inside, which Core ML\'s recurrent operators do not '
            "have. Validate this model on a Mac."
        )
    return {key: _ACTIVATIONS.get(kind, kind) for key, kind in zip(names, kinds, strict=False)}


def _lstm_settings(layer: Message, params: Message) -> dict[str, Given]:
    settings = params.params
    if settings.forgetBias or settings.coupledInputAndForgetGate:
        what = "forgetBias" if settings.forgetBias else "coupledInputAndForgetGate"
        raise ArtifactError(
            f'Layer "{layer.name}" sets {what}, which the Core ML evaluator does not compute. '
            "Validate this model on a Mac."
        )
    given: dict[str, Given] = {"output_sequence": bool(settings.sequenceOutput)}
    return {**given, "clip": float(settings.cellClipThreshold)} if 0 < settings.cellClipThreshold < 1e6 else given


def _lstm(network: Network, layer: Message, params: Message) -> None:
    size, made = int(params.outputVectorSize), _results(layer, 3)
    network.add(
        "lstm",
        *made,
        name=layer.name,
        x=_sequence(network, layer),
        **_cells(network, params.weightParams, _LSTM_GATES, layer, params, ""),
        initial_h=_state(network, layer, size, (1,), "h"),
        initial_c=_state(network, layer, size, (2,), "c"),
        **_activations(layer, params.activations, ("recurrent_activation", "cell_activation", "activation")),
        **_lstm_settings(layer, params),
        direction="reverse" if params.reverseInput else "forward",
    )
    _sequence_out(network, layer, Reference(name=made[0]))
    _states_out(network, layer, size, [Reference(name=name) for name in made[1:]])


def _gru(network: Network, layer: Message, params: Message) -> None:
    size, made = int(params.outputVectorSize), _results(layer, 2)
    network.add(
        "gru",
        *made,
        name=layer.name,
        x=_sequence(network, layer),
        **_cells(network, params, _GRU_GATES, layer, params, ""),
        initial_h=_state(network, layer, size, (1,), "h"),
        **_activations(layer, params.activations, ("recurrent_activation", "activation")),
        output_sequence=bool(params.sequenceOutput),
        direction="reverse" if params.reverseInput else "forward",
    )
    _sequence_out(network, layer, Reference(name=made[0]))
    _states_out(network, layer, size, [Reference(name=made[1])])


def _both_ways(network: Network, layer: Message, params: Message) -> None:
    """Further inputs and outputs are h and c forward, then h and c backward."""
    size, made = int(params.outputVectorSize), _results(layer, 3)
    forward, backward = params.weightParams
    names = ("recurrent_activation", "cell_activation", "activation")
    network.add(
        "lstm",
        *made,
        name=layer.name,
        x=_sequence(network, layer),
        **_cells(network, forward, _LSTM_GATES, layer, params, ""),
        **_cells(network, backward, _LSTM_GATES, layer, params, "_back"),
        initial_h=_state(network, layer, size, (1, 3), "h"),
        initial_c=_state(network, layer, size, (2, 4), "c"),
        **_activations(layer, params.activationsForwardLSTM, names),
        **_lstm_settings(layer, params),
        direction="bidirectional",
    )
    _sequence_out(network, layer, Reference(name=made[0]))
    halves: list[Reference] = []
    for name in made[1:]:
        parts = (f"{name}.forward", f"{name}.backward")
        network.add("split", *parts, x=Reference(name=name), num_splits=2, axis=1)
        halves += [Reference(name=part) for part in parts]
    hidden, hidden_back, cell, cell_back = halves
    _states_out(network, layer, size, [hidden, cell, hidden_back, cell_back])


def _results(layer: Message, count: int) -> list[str]:
    return [f"{layer.name}.result_{i}" for i in range(count)]


LAYERS: Final[Mapping[str, Translate]] = {
    "biDirectionalLSTM": _both_ways,
    "gru": _gru,
    "uniDirectionalLSTM": _lstm,
}
"""By the layer's name in the file."""
