"""Recurrent layers of the Core ML evaluator against torch, and against their documented formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch

RNG = np.random.default_rng(8)
STEPS, BATCH, WIDTH, HIDDEN = 5, 2, 3, 4


def normal(*shape):
    return RNG.normal(0, 0.6, shape).astype(np.float32)


X, H, C = normal(STEPS, BATCH, WIDTH), normal(BATCH, HIDDEN), normal(BATCH, HIDDEN)
H2, C2 = normal(BATCH, 2 * HIDDEN), normal(BATCH, 2 * HIDDEN)
LSTM = [normal(4 * HIDDEN, WIDTH), normal(4 * HIDDEN, HIDDEN), normal(4 * HIDDEN)]
LSTM_BACK = [normal(4 * HIDDEN, WIDTH), normal(4 * HIDDEN, HIDDEN), normal(4 * HIDDEN)]
PEEPHOLE = normal(3 * HIDDEN)
RNN = [normal(HIDDEN, WIDTH), normal(HIDDEN, HIDDEN), normal(HIDDEN)]
GRU = [normal(3 * HIDDEN, WIDTH), normal(3 * HIDDEN, HIDDEN), normal(3 * HIDDEN), normal(3 * HIDDEN)]


def t(array):
    return torch.from_numpy(np.ascontiguousarray(array))


def reordered(weights, order):
    """Gates in another order: Core ML's differs from torch's."""
    parts = np.split(weights, len(order))
    return np.concatenate([parts[place] for place in order])


def load_weights(layer, weights, suffix=""):
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    values = [*weights, np.zeros_like(weights[2])][:4]
    with torch.no_grad():
        for name, value in zip(names, values, strict=True):
            getattr(layer, name + suffix).copy_(t(value))


def torch_lstm(x, h, c, *, reverse=False):
    layer = torch.nn.LSTM(WIDTH, HIDDEN)
    load_weights(layer, [reordered(part, (0, 1, 3, 2)) for part in LSTM])  # input, forget, output, cell -> torch's
    with torch.no_grad():
        output, (last, cell) = layer(t(x[::-1] if reverse else x), (t(h)[None], t(c)[None]))
    return [output.numpy(), last[0].numpy(), cell[0].numpy()]


def torch_bidirectional(x, h, c):
    layer = torch.nn.LSTM(WIDTH, HIDDEN, bidirectional=True)
    load_weights(layer, [reordered(part, (0, 1, 3, 2)) for part in LSTM])
    load_weights(layer, [reordered(part, (0, 1, 3, 2)) for part in LSTM_BACK], "_reverse")

    def stacked(state):
        return torch.stack(t(state).chunk(2, 1))

    with torch.no_grad():
        output, (last, cell) = layer(t(x), (stacked(h), stacked(c)))
    return [output.numpy(), torch.cat(list(last), 1).numpy(), torch.cat(list(cell), 1).numpy()]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def written_out_lstm(x, h, c):
    """Peepholes, clipping and unusual activations: torch has none of them."""
    w, r, b = (np.split(part, 4) for part in LSTM)
    p = np.split(PEEPHOLE, 3)
    for step in x:
        i = sigmoid(step @ w[0].T + h @ r[0].T + b[0] + p[0] * c)
        f = sigmoid(step @ w[1].T + h @ r[1].T + b[1] + p[1] * c)
        g = np.maximum(step @ w[3].T + h @ r[3].T + b[3], 0)
        c = np.clip(f * c + i * g, -0.3, 0.3)
        o = sigmoid(step @ w[2].T + h @ r[2].T + b[2] + p[2] * c)
        h = o * np.clip(0.2 * c + 0.5, 0, 1)
    return [h[None], h, c]


def written_out_gru(x, h):
    """The reset gate acts before the product."""
    w, r, b = (np.split(part, 3) for part in GRU[:3])
    outputs = []
    for step in x:
        reset = sigmoid(step @ w[0].T + h @ r[0].T + b[0])
        update = sigmoid(step @ w[2].T + h @ r[2].T + b[2])
        candidate = np.tanh(step @ w[1].T + (reset * h) @ r[1].T + b[1])
        h = (1 - update) * candidate + update * h
        outputs.append(h)
    return [np.stack(outputs), h]


def torch_gru(x, h):
    """Torch's own formula is `reset_after`."""
    layer = torch.nn.GRU(WIDTH, HIDDEN)
    load_weights(layer, [reordered(part, (0, 2, 1)) for part in GRU])
    with torch.no_grad():
        output, last = layer(t(x), t(h)[None])
    return [output.numpy(), last[0].numpy()]


def torch_rnn(x, h):
    layer = torch.nn.RNN(WIDTH, HIDDEN, nonlinearity="relu")
    load_weights(layer, RNN)
    with torch.no_grad():
        output, last = layer(t(x[::-1]), t(h)[None])
    return [output.numpy(), last[0].numpy()]


LSTM_WEIGHTS = {"weight_ih": LSTM[0], "weight_hh": LSTM[1], "bias": LSTM[2]}
GRU_WEIGHTS = {"weight_ih": GRU[0], "weight_hh": GRU[1], "bias": GRU[2]}

CASES = {
    "lstm": (
        "iOS15",
        {"x": X, "h": H, "c": C},
        lambda mb, x, h, c: [
            *mb.lstm(x=x, initial_h=h, initial_c=c, output_sequence=True, **LSTM_WEIGHTS),
            mb.lstm(x=x, initial_h=h, initial_c=c, **LSTM_WEIGHTS)[0],
        ],
        lambda x, h, c: [*torch_lstm(x, h, c), torch_lstm(x, h, c)[0][-1:]],
    ),
    "lstm-reverse": (
        "iOS17",
        {"x": X, "h": H, "c": C},
        lambda mb, x, h, c: mb.lstm(
            x=x, initial_h=h, initial_c=c, output_sequence=True, direction="reverse", **LSTM_WEIGHTS
        ),
        lambda x, h, c: torch_lstm(x, h, c, reverse=True),
    ),
    "lstm-bidirectional": (
        "iOS16",
        {"x": X, "h": H2, "c": C2},
        lambda mb, x, h, c: [
            result
            for sequence in (True, False)
            for result in mb.lstm(
                x=x,
                initial_h=h,
                initial_c=c,
                output_sequence=sequence,
                direction="bidirectional",
                weight_ih_back=LSTM_BACK[0],
                weight_hh_back=LSTM_BACK[1],
                bias_back=LSTM_BACK[2],
                **LSTM_WEIGHTS,
            )
        ],
        lambda x, h, c: [
            *torch_bidirectional(x, h, c),
            torch_bidirectional(x, h, c)[1][None],
            *torch_bidirectional(x, h, c)[1:],
        ],
    ),
    "lstm-peephole-and-clip": (
        "iOS15",
        {"x": X, "h": H, "c": C},
        lambda mb, x, h, c: mb.lstm(
            x=x,
            initial_h=h,
            initial_c=c,
            peephole=PEEPHOLE,
            clip=0.3,
            cell_activation="relu",
            activation="hard_sigmoid",
            **LSTM_WEIGHTS,
        ),
        written_out_lstm,
    ),
    "gru": (
        "iOS15",
        {"x": X, "h": H},
        lambda mb, x, h: mb.gru(x=x, initial_h=h, output_sequence=True, **GRU_WEIGHTS),
        written_out_gru,
    ),
    "gru-reset-after": (
        "iOS18",
        {"x": X, "h": H},
        lambda mb, x, h: mb.gru(
            x=x,
            initial_h=h,
            output_sequence=True,
            reset_after=True,
            weight_ih=GRU[0],
            weight_hh=GRU[1],
            input_bias=GRU[2],
            bias=GRU[3],
        ),
        torch_gru,
    ),
    "rnn": (
        "iOS15",
        {"x": X, "h": H},
        lambda mb, x, h: mb.rnn(
            x=x,
            initial_h=h,
            output_sequence=True,
            direction="reverse",
            activation="relu",
            weight_ih=RNN[0],
            weight_hh=RNN[1],
            bias=RNN[2],
        ),
        torch_rnn,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_recurrent_layer_agrees_with_its_reference(name, run_case):
    run_case(name, CASES[name])
