"""States that the task names in pairs."""

from __future__ import annotations

import pytest

from edgekit.errors import ConfigError
from edgekit.model import State, TensorSpec
from edgekit.sources.declared_states import declared_states

H_IN = TensorSpec(name="h_in", shape=(2, 1, 4), dtype="float32")
H_OUT = TensorSpec(name="h_out", shape=(2, 1, 4), dtype="float32")
SMALL = TensorSpec(name="small", shape=(1, 4), dtype="float32")


def test_a_pair_is_a_state_that_begins_with_zeros() -> None:
    assert declared_states([("h_out", "h_in")], [SMALL, H_IN], [H_OUT]) == (
        State(input="h_in", output="h_out", initial=(0.0,)),
    )


def test_all_faults_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        declared_states([("g", "h_in"), ("h_out", "f"), ("h_out", "small")], [SMALL, H_IN], [H_OUT])
    assert caught.value.message == (
        '[state]: there is no output "g"; the outputs are h_out; there is no input "f"; the inputs are small, h_in; '
        'the output "h_out" is float32 (2, 1, 4) and the input "small" float32 (1, 4); a state has one form. '
        'Write each pair as "output" = "input".'
    )
