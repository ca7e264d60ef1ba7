"""Buffers that a model changes: lifted to inputs and outputs, written plainly, and held again."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edgekit.errors import ModelError
from edgekit.model import CapturedModel, State, TensorSpec
from edgekit.torch_program.canonical_program import canonical
from edgekit.torch_program.hold_states import held_note, held_states, hold_states, without_held
from edgekit.torch_program.lift_states import (
    MOST_INITIAL_VALUES,
    all_names,
    changes_buffers,
    keeping_buffers,
    lift_states,
    named_outputs,
    without_states,
)
from edgekit.torch_program.trace_module import export_module, run_module

CALLS = 16


class Decoder(nn.Module):
    """One step of attention over a cache that is written at a position."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.key, self.head = nn.Embedding(9, 4), nn.Linear(4, 4), nn.Linear(4, 9)
        self.register_buffer("keys", torch.zeros(1, 20, 4))
        self.register_buffer("values", torch.zeros(1, 20, 4))

    def forward(self, token: Any, position: Any) -> Any:
        x = self.table(token)
        self.keys.index_copy_(1, position, self.key(x))
        self.values[:, position] = x
        seen = torch.arange(20)[None, None] <= position
        weights = (x @ self.keys.transpose(1, 2)).masked_fill(~seen, -1e4).softmax(-1)
        return self.head(weights @ self.values)


class Filter(nn.Module):
    """A causal convolution with a ring buffer, a running mean that begins with ones, and a counter without axes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(2, 3, 4), nn.BatchNorm1d(3)
        self.register_buffer("ring", torch.zeros(1, 2, 3))
        self.register_buffer("last", torch.zeros(2, 1, 3))
        self.register_buffer("mean", torch.ones(3))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Any) -> Any:
        joined = torch.cat([self.ring, x], 2)
        self.ring = joined[:, :, -3:]
        y = self.norm(self.conv(joined))
        self.last[1] = self.last[0]
        self.last[0, :, 0:1] = y[:, :1, 0]
        self.count += 1
        self.mean += (y.mean((0, 2)) - self.mean) / self.count
        return y * self.mean[:, None] + self.last.sum()


def lifted_of(module: nn.Module, *examples: Any) -> Any:
    return lift_states(export_module(module.eval(), examples, "net"), "net")


def calls_of(kind: str) -> list[tuple[Any, ...]]:
    torch.manual_seed(1)
    if kind == "decoder":
        return [(torch.randint(0, 9, (1, 1)), torch.tensor([i])) for i in range(CALLS)]
    return [(torch.randn(1, 2, 3),) for _ in range(CALLS)]


def model_of(kind: str) -> Any:
    torch.manual_seed(0)
    return (Decoder() if kind == "decoder" else Filter()).eval()


@pytest.mark.parametrize("kind", ["decoder", "filter"])
def test_a_lifted_program_gives_what_the_module_gives_over_a_sequence(kind: str) -> None:
    module, calls = model_of(kind), calls_of(kind)
    with keeping_buffers(module):
        program = export_module(module, calls[0], "net")
    program, inputs, states = without_states(program, calls[0], module, "net")
    result = canonical(program, inputs, "net").module(check_guards=False)
    carried = list(inputs[len(calls[0]) :])
    assert len(carried) == len(states)
    for call in calls:
        expected = run_module(module, call, "net")
        got = run_module(result, [*call, *carried], "net")
        carried = list(got[len(expected) :])
        torch.testing.assert_close(got[0], expected[0], rtol=1e-4, atol=1e-5)
    for state, value in zip(states, carried, strict=True):
        torch.testing.assert_close(value.reshape(-1), module.get_buffer(state.buffer).reshape(-1))


@pytest.mark.parametrize("kind", ["decoder", "filter"])
def test_operators_that_write_a_part_become_ones_that_every_converter_knows(kind: str) -> None:
    lifted = lifted_of(model_of(kind), *calls_of(kind)[0])
    names = {str(node.target) for node in lifted.module.graph.nodes if node.op == "call_function"}
    rare = ("index_copy", "index_put", "slice_scatter", "select_scatter", "aten.copy", "_native_batch_norm")
    assert not [name for name in names if any(word in name for word in rare)]


def test_states_are_named_by_their_buffers_and_know_how_they_begin() -> None:
    lifted = lifted_of(model_of("filter"), torch.randn(1, 2, 3))
    assert lifted.states == (
        State(input="state_ring", output="state_ring_next", buffer="ring"),
        State(input="state_last", output="state_last_next", buffer="last"),
        State(input="state_mean", output="state_mean_next", initial=(1.0,), buffer="mean"),
        State(input="state_count", output="state_count_next", buffer="count"),
    )
    assert [tuple(value.shape) for value in lifted.initial] == [(1, 2, 3), (2, 1, 3), (3,), (1,)]


def test_a_state_whose_name_an_input_has_gets_another() -> None:
    class Taken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("k", torch.zeros(3))

        def forward(self, state_k: Any) -> Any:
            self.k += state_k
            return self.k * 2

    assert [state.input for state in lifted_of(Taken(), torch.ones(3)).states] == ["state_k_2"]


def test_single_values_that_a_state_begins_with_are_kept() -> None:
    class Begins(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("k", torch.tensor([1.0, 2.0, 3.0]))

        def forward(self, x: Any) -> Any:
            self.k += x
            return self.k * 2

    assert lifted_of(Begins(), torch.ones(3)).states[0].initial == (1.0, 2.0, 3.0)


def test_too_many_single_values_are_refused() -> None:
    class Begins(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("k", torch.arange(MOST_INITIAL_VALUES + 1.0))

        def forward(self, x: Any) -> Any:
            self.k += x
            return self.k * 2

    with pytest.raises(ModelError) as caught:
        lifted_of(Begins(), torch.ones(1))
    assert caught.value.message == (
        'net: the buffer "k" changes from call to call, and its 65537 elements begin with different values; at most '
        "65536 can be handed to an app. Let it begin with one value, such as zeros, and add what differs as a constant."
    )


def test_a_buffer_that_is_written_before_it_is_read_is_no_state() -> None:
    class Scratch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("k", torch.zeros(3))

        def forward(self, x: Any) -> Any:
            self.k.copy_(x * 2)
            return self.k + 1

    module = Scratch()
    program = export_module(module, (torch.ones(3),), "net")
    result, inputs, states = without_states(program, (torch.ones(3),), module, "net")
    assert states == ()
    assert len(inputs) == 1
    torch.testing.assert_close(run_module(result.module(check_guards=False), inputs, "net")[0], torch.full((3,), 3.0))


def test_a_program_that_changes_nothing_stays() -> None:
    module = nn.Linear(2, 2)
    program = export_module(module, (torch.ones(1, 2),), "net")
    assert not changes_buffers(program)
    assert without_states(program, (torch.ones(1, 2),), module, "net")[0] is program


def test_buffers_get_their_values_back() -> None:
    module = model_of("filter")
    with keeping_buffers(module):
        module(torch.randn(1, 2, 3))
        assert int(module.count) == 1
    assert int(module.count) == 0
    assert float(module.ring.abs().sum()) == 0


def test_states_stand_behind_the_users_own_names() -> None:
    states = (State(input="state_k", output="state_k_next", buffer="k"),)
    assert all_names(["x.a"], states) == ["x.a", "state_k"]
    assert all_names(None, states) is None
    assert named_outputs(None, states, 1) == ["output", "state_k_next"]
    assert named_outputs(["a", "b"], states, 2) == ["a", "b", "state_k_next"]
    assert named_outputs(None, (), 2) is None


def captured(program: Any, states: tuple[State, ...]) -> CapturedModel:
    nodes = {node.name: node for node in program.graph.nodes}

    def specs(names: Any, called: list[str]) -> tuple[TensorSpec, ...]:
        values = [nodes[name].meta["val"] for name in names]
        dtypes = [str(value.dtype).removeprefix("torch.") for value in values]
        return tuple(
            TensorSpec(name=name, shape=tuple(value.shape), dtype=dtype)
            for name, value, dtype in zip(called, values, dtypes, strict=True)
        )

    signature = program.graph_signature
    return CapturedModel(
        name="net", source="net", source_kind="torch", kind="pt2", path=Path("net.pt2"),
        inputs=specs(signature.user_inputs, list(signature.user_inputs)),
        outputs=specs(signature.user_outputs, ["output", *(state.output for state in states)]),
        digest="", parameters=0, macs=0, family="rnn", states=states,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["decoder", "filter"])
def test_held_states_change_buffers_again(kind: str) -> None:
    module, calls = model_of(kind), calls_of(kind)
    with keeping_buffers(module):
        program = export_module(module, calls[0], "net")
    program, inputs, states = without_states(program, calls[0], module, "net")
    model = captured(canonical(program, inputs, "net"), states)
    holding = hold_states(canonical(program, inputs, "net"), model)
    assert set(holding.graph_signature.buffers_to_mutate.values()) == {state.input for state in states}
    running = holding.module(check_guards=False)
    for call in itertools.islice(calls, 4):
        torch.testing.assert_close(running(*call), module(*call), rtol=1e-4, atol=1e-5)


def test_states_that_are_inputs_in_the_users_model_stay_inputs() -> None:
    x = TensorSpec(name="x", shape=(1,), dtype="float32")
    buffer, own = State(input="s", output="t", buffer="s"), State(input="h", output="g")
    model = CapturedModel(
        name="net", source="net", source_kind="onnx", kind="onnx", path=Path("net.onnx"), inputs=(x,), outputs=(x,),
        digest="", parameters=0, macs=0, family="rnn", states=(own,),
    )  # fmt: skip
    assert held_states(model) == ()
    assert without_held((x, TensorSpec(name="s", shape=(1,), dtype="float32")), (buffer,)) == (x,)
    assert held_note((buffer,), "load the method again") == (
        "The artifact keeps s from call to call itself; to begin anew, load the method again."
    )
