"""Recurrent layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from edgekit.validators.coreml_evaluator.operators.call import Call, Kernel

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "hard_sigmoid": lambda x: (0.2 * x + 0.5).clamp(0, 1),
    "linear": lambda x: x,
    "relu": torch.relu,
    "scaled_tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "sigmoid_hard": lambda x: (0.2 * x + 0.5).clamp(0, 1),
    "tanh": torch.tanh,
}
"""Activations that take parameters elsewhere have their standard ones here (coremltools' own tests say which)."""


def _activation(call: Call, parameter: str, default: str) -> Callable[[Tensor], Tensor]:
    return ACTIVATIONS[call.text(parameter, default).lower()]


def _sequence(call: Call, steps: list[Tensor]) -> Tensor:
    """Returns all hidden states or the last one; a reversed layer's come in the order they were computed."""
    return torch.stack(steps) if call.flag("output_sequence", default=False) else steps[-1].unsqueeze(0)


def _ordered(call: Call) -> Tensor:
    x = call.tensor("x")
    return x.flip(0) if call.text("direction", "forward") == "reverse" else x


def _bias(call: Call, parameter: str, weight: Tensor) -> Tensor:
    bias = call.optional(parameter)
    return torch.zeros(weight.shape[0]) if bias is None else bias


def _rnn(call: Call) -> list[Tensor]:
    """`h = activation(W_ih x + W_hh h + b)`."""
    weight, hidden = call.tensor("weight_hh"), call.tensor("initial_h")
    activation = _activation(call, "activation", "tanh")
    inputs = _ordered(call) @ call.tensor("weight_ih").T + _bias(call, "bias", weight)
    steps: list[Tensor] = []
    for step in inputs:
        hidden = activation(step + hidden @ weight.T)
        steps.append(hidden)
    return [_sequence(call, steps), hidden]


def _gru(call: Call) -> list[Tensor]:
    """Gates in the order reset, output, update; `h = (1 - z) * o + z * h`.

    By default the reset gate acts before the product, `W_ho (r * h)`, as Core ML's neural-network layer and
    coremltools' reference do. `reset_after` (iOS 18) is torch's formula, `r * (W_ho h + b)`.
    """
    weight, hidden = call.tensor("weight_hh"), call.tensor("initial_h")
    size = weight.shape[1]
    gate, activation = _activation(call, "recurrent_activation", "sigmoid"), _activation(call, "activation", "tanh")
    after, bias = call.flag("reset_after", default=False), _bias(call, "bias", weight)
    inputs = _ordered(call) @ call.tensor("weight_ih").T + _bias(call, "input_bias", weight)
    of_reset, of_output, of_update = weight.split(size)
    bias_reset, bias_output, bias_update = bias.split(size)
    steps: list[Tensor] = []
    for step in inputs:
        in_reset, in_output, in_update = step.split(size, -1)
        reset = gate(in_reset + hidden @ of_reset.T + bias_reset)
        update = gate(in_update + hidden @ of_update.T + bias_update)
        if after:
            candidate = activation(in_output + reset * (hidden @ of_output.T + bias_output))
        else:
            candidate = activation(in_output + (reset * hidden) @ of_output.T + bias_output)
        hidden = (1 - update) * candidate + update * hidden
        steps.append(hidden)
    return [_sequence(call, steps), hidden]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Direction:
    """One direction of an LSTM; gates in the order input, forget, output, cell."""

    call: Call
    suffix: str

    def run(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """Returns the hidden state of every step, and the last hidden and cell states."""
        call, suffix = self.call, self.suffix
        weight = call.tensor(f"weight_hh{suffix}")
        gate = _activation(call, "recurrent_activation", "sigmoid")
        cell_activation = _activation(call, "cell_activation", "tanh")
        activation = _activation(call, "activation", "tanh")
        limit = call.number("clip", float("inf"))
        size = weight.shape[1]
        peephole = call.optional(f"peephole{suffix}")
        to_input, to_forget, to_output = (torch.zeros(3 * size) if peephole is None else peephole).split(size)
        inputs = x @ call.tensor(f"weight_ih{suffix}").T + _bias(call, f"bias{suffix}", weight)
        steps: list[Tensor] = []
        for step in inputs:
            in_gate, forget_gate, out_gate, candidate = (step + hidden @ weight.T).split(size, -1)
            cell = gate(forget_gate + to_forget * cell) * cell + gate(in_gate + to_input * cell) * cell_activation(
                candidate
            )
            cell = cell.clamp(-limit, limit)
            hidden = gate(out_gate + to_output * cell) * activation(cell)
            steps.append(hidden)
        return steps, hidden, cell


def _lstm(call: Call) -> list[Tensor]:
    hidden, cell = call.tensor("initial_h"), call.tensor("initial_c")
    forward = _Direction(call=call, suffix="")
    if call.text("direction", "forward") != "bidirectional":
        steps, hidden, cell = forward.run(_ordered(call), hidden, cell)
        return [_sequence(call, steps), hidden, cell]
    (hidden, hidden_back), (cell, cell_back) = hidden.chunk(2, 1), cell.chunk(2, 1)
    x = call.tensor("x")
    steps, hidden, cell = forward.run(x, hidden, cell)
    back, hidden_back, cell_back = _Direction(call=call, suffix="_back").run(x.flip(0), hidden_back, cell_back)
    last = torch.cat([hidden, hidden_back], 1)
    if call.flag("output_sequence", default=False):  # both directions aligned in time
        sequence = torch.cat([torch.stack(steps), torch.stack(back).flip(0)], 2)
    else:
        sequence = last.unsqueeze(0)
    return [sequence, last, torch.cat([cell, cell_back], 1)]


OPERATORS: dict[str, Kernel] = {"gru": _gru, "lstm": _lstm, "rnn": _rnn}
"""By operator type."""
