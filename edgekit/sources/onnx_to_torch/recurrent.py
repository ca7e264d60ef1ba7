"""LSTM, GRU and RNN.

ONNX stacks the gates of one direction in the order i, o, f, c (LSTM) and z, r, h (GRU); torch in i, f, g, o and r, z,
n.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from edgekit.sources.onnx_to_torch.node import Builder, Function, Node, UnsupportedError

if TYPE_CHECKING:
    from torch import Tensor, nn

_ORDER: Final[Mapping[str, tuple[int, ...]]] = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
"""Position in ONNX of each of torch's gates."""

_ACTIVATIONS: Final[Mapping[str, list[str]]] = {
    "LSTM": ["Sigmoid", "Tanh", "Tanh"],
    "GRU": ["Sigmoid", "Tanh"],
    "RNN": ["Tanh"],
}


def _check(node: Node, directions: int) -> str:
    """Returns the activation of an RNN.

    Raises:
        UnsupportedError: something that torch's layers cannot do.
    """
    given = [str(name) for name in node.number("activations", _ACTIVATIONS[node.operator] * directions)]
    one = given[: len(_ACTIVATIONS[node.operator])]
    if given != one * directions or (
        one != _ACTIVATIONS[node.operator] and not (node.operator == "RNN" and one == ["Relu"])
    ):
        raise UnsupportedError(f"its activations are {', '.join(given)}; torch's layer has the default ones only")
    if "clip" in node.attributes or node.number("input_forget", 0):
        raise UnsupportedError("it has clip or input_forget, which torch's layer has not")
    if node.operator == "LSTM" and node.has(7):
        raise UnsupportedError("it has peepholes, which torch's layer has not")
    if node.operator == "GRU" and not node.number("linear_before_reset", 0):
        raise UnsupportedError(
            "its linear_before_reset is 0; torch's layer resets after the product (Keras: reset_after=True)"
        )
    if node.has(4):
        steps = node.shape()[1 if node.number("layout", 0) else 0]
        if any(length != steps for length in node.integers(4, "sequence_lens")):
            raise UnsupportedError("its sequence_lens are shorter than the input")
    if not all(node.is_constant[i] for i in (1, 2)) or (node.has(3) and not node.is_constant[3]):
        raise UnsupportedError("its weights depend on the model's inputs")
    return one[0]


def _layer(node: Node, hidden: int, directions: int, activation: str) -> nn.RNNBase:
    """Returns torch's layer with the node's weights, gates reordered."""
    import torch

    gates = len(_ORDER[node.operator])
    bidirectional = directions == 2
    size = node.shape()[2]
    extra = {"nonlinearity": activation.lower()} if node.operator == "RNN" else {}
    layer = getattr(torch.nn, node.operator)(size, hidden, bias=node.has(3), bidirectional=bidirectional, **extra)
    order = list(_ORDER[node.operator])
    with torch.no_grad():
        for direction in range(directions):
            suffix = "_l0" + ("_reverse" if direction else "")
            pieces = {"weight_ih": node.inputs[1][direction], "weight_hh": node.inputs[2][direction]}
            if node.has(3):
                pieces["bias_ih"], pieces["bias_hh"] = node.inputs[3][direction].chunk(2)
            for name, value in pieces.items():
                rows = value.reshape(gates, hidden, *value.shape[1:])[order]
                getattr(layer, name + suffix).copy_(rows.reshape(value.shape))
    return layer.eval().requires_grad_(requires_grad=False)


def _recurrent(node: Node) -> Function:
    direction = node.number("direction", "forward")
    directions = 2 if direction == "bidirectional" else 1
    activation = _check(node, directions)
    hidden = node.shape(2)[-1]
    layer = _layer(node, hidden, directions, activation)
    node.baked.update({1, 2, 3, 4, 7} & set(range(len(node.inputs))))
    batch_first = bool(node.number("layout", 0))
    return _Recurrent(layer, node.operator, reverse=direction == "reverse", batch_first=batch_first)


class _Recurrent:
    """Runs torch's layer on ONNX's inputs and gives ONNX's outputs.

    Args:
        layer: torch.nn.LSTM, GRU or RNN; the importer makes it a child module, so that its weights have names.
        operator: LSTM, GRU or RNN.
        reverse: Runs from the last step to the first.
        batch_first: (N, T, ...) instead of (T, N, ...).
    """

    def __init__(self, layer: nn.RNNBase, operator: str, *, reverse: bool, batch_first: bool) -> None:
        self.layer = layer
        self._operator = operator
        self._reverse = reverse
        self._batch_first = batch_first

    def __call__(self, x: Tensor, *rest: Tensor | None) -> tuple[Tensor, ...]:
        """Returns Y (T, D, N, H), Y_h (D, N, H), of an LSTM Y_c too; batch first (N, T, D, H) and (N, D, H)."""
        state, cell = (rest[4] if len(rest) > 4 else None), (rest[5] if len(rest) > 5 else None)
        if self._batch_first:
            x = x.transpose(0, 1)
            state, cell = (None if s is None else s.transpose(0, 1) for s in (state, cell))
        out, last = self.layer(x.flip(0) if self._reverse else x, self._initial(x, state, cell))
        out = out.flip(0) if self._reverse else out
        steps, batch, width = out.shape
        directions = 2 if self.layer.bidirectional else 1
        y = out.reshape(steps, batch, directions, width // directions)
        states = last if self._operator == "LSTM" else (last,)
        if self._batch_first:
            return (y.transpose(0, 1), *(s.transpose(0, 1) for s in states))
        return (y.transpose(1, 2), *states)

    def _initial(self, x: Tensor, state: Tensor | None, cell: Tensor | None) -> Tensor | tuple[Tensor, Tensor] | None:
        if state is None and cell is None:
            return None
        shape = ((2 if self.layer.bidirectional else 1), x.shape[1], self.layer.hidden_size)
        state = x.new_zeros(shape) if state is None else state
        if self._operator != "LSTM":
            return state
        return state, (x.new_zeros(shape) if cell is None else cell)


OPERATORS: Final[Mapping[str, Builder]] = dict.fromkeys(("LSTM", "GRU", "RNN"), _recurrent)
"""Operator type to builder."""
