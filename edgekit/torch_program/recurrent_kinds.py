"""Which recurrent operators of torch are of a kind that formats' own operators do not cover."""

from __future__ import annotations

from typing import Any, Final

RECURRENT_KINDS: Final = {"lstm.input": 3, "gru.input": 2, "rnn_tanh.input": 2, "rnn_relu.input": 2}
"""Recurrent operators of torch to their number of outputs."""


def has_projections(node: Any) -> bool:
    """Returns whether a call in a torch program is an LSTM whose states are projected (`proj_size`)."""
    if getattr(node.target, "__name__", "") != "lstm.input":
        return False
    weights, has_biases, layers, _, _, both_ways = node.args[2:8]
    return bool(len(weights) != (4 if has_biases else 2) * layers * (1 + both_ways))


def is_simple_both_ways(node: Any) -> bool:
    """Returns whether a call is a simple RNN, without gates, that runs in both directions."""
    return getattr(node.target, "__name__", "") in ("rnn_tanh.input", "rnn_relu.input") and bool(node.args[7])
