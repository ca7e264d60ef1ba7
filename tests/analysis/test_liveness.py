"""Which activations are alive together, and where they lie."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgekit.analysis.graph import Operator
from edgekit.analysis.liveness import ALIGNMENT, buffers, live_bytes, memory, place


def operator(index, reads, writes, *, in_place=False):
    return Operator(
        name=f"op{index}",
        type="add",
        kernel="elementwise",
        module=f"op{index}",
        inputs=tuple(reads),
        outputs=(writes,),
        in_place=in_place,
    )


@st.composite
def graphs(draw):
    """Operators that each read one to three tensors written before, with sizes and outputs."""
    count = draw(st.integers(1, 12))
    names = ["x"]
    sizes = {"x": draw(st.integers(0, 1000))}
    operators = []
    for index in range(count):
        reads = draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True))
        name = f"t{index}"
        # Equal sizes are frequent in real graphs and are what lets an operator write in place.
        sizes[name] = draw(st.sampled_from([sizes[reads[0]], 64, 100, draw(st.integers(0, 1000))]))
        operators.append(operator(index, reads, name, in_place=draw(st.booleans())))
        names.append(name)
    outputs = sorted({names[-1], *draw(st.lists(st.sampled_from(names[1:]), max_size=2))})
    return tuple(operators), ("x",), tuple(outputs), sizes


def alive_by_definition(operators, inputs, outputs, sizes):
    """Bytes alive while each operator runs, straight from the definition, without in-place reuse."""
    totals = []
    for step in range(len(operators)):
        alive = set(inputs)
        for index, item in enumerate(operators):
            for name in item.outputs:
                last = max((i for i, o in enumerate(operators) if name in o.inputs), default=index)
                if index <= step and (name in outputs or step <= max(last, index)):
                    alive.add(name)
        totals.append(sum(sizes[name] for name in alive))
    return totals


@given(graphs())
def test_bytes_alive_without_reuse_are_those_of_the_definition(graph):
    operators, inputs, outputs, sizes = graph
    items = buffers(operators, inputs, outputs, sizes.__getitem__, in_place=False)
    assert live_bytes(items, len(operators)) == alive_by_definition(operators, inputs, outputs, sizes)


@given(graphs())
def test_the_peak_is_at_least_what_any_operator_reads_and_writes(graph):
    operators, inputs, outputs, sizes = graph
    items = buffers(operators, inputs, outputs, sizes.__getitem__, in_place=False)
    alive = live_bytes(items, len(operators))
    for step, item in enumerate(operators):
        assert alive[step] >= sum(sizes[name] for name in {*item.inputs, *item.outputs})


@given(graphs())
def test_in_place_reuse_never_needs_more(graph):
    operators, inputs, outputs, sizes = graph
    with_reuse = live_bytes(buffers(operators, inputs, outputs, sizes.__getitem__), len(operators))
    without = live_bytes(buffers(operators, inputs, outputs, sizes.__getitem__, in_place=False), len(operators))
    assert all(a <= b for a, b in zip(with_reuse, without, strict=True))


@given(graphs())
def test_a_tensor_is_overwritten_only_by_its_last_reader(graph):
    operators, inputs, outputs, sizes = graph
    written = {name: index for index, item in enumerate(operators) for name in item.outputs}
    for item in buffers(operators, inputs, outputs, sizes.__getitem__):
        for old, new in zip(item.tensors, item.tensors[1:], strict=False):
            assert old not in (*inputs, *outputs)
            assert operators[written[new]].in_place
            assert old in operators[written[new]].inputs
            assert sizes[old] == sizes[new]
            assert all(old not in later.inputs for later in operators[written[new] + 1 :])


@given(graphs())
def test_every_tensor_lies_in_exactly_one_buffer(graph):
    operators, inputs, outputs, sizes = graph
    names = [name for item in buffers(operators, inputs, outputs, sizes.__getitem__) for name in item.tensors]
    assert sorted(names) == sorted({*inputs, *(name for item in operators for name in item.outputs)})


@given(graphs())
def test_buffers_that_are_alive_together_never_overlap_in_the_arena(graph):
    operators, inputs, outputs, sizes = graph
    items = buffers(operators, inputs, outputs, sizes.__getitem__)
    offsets, total = place(items)
    for i, a in enumerate(items):
        assert offsets[i] % ALIGNMENT == 0
        assert offsets[i] + a.size_bytes <= total
        for j, b in enumerate(items[:i]):
            if a.overlaps(b) and a.size_bytes and b.size_bytes:
                assert offsets[i] >= offsets[j] + b.size_bytes or offsets[j] >= offsets[i] + a.size_bytes


@given(graphs())
def test_the_arena_holds_the_peak_and_never_more_than_everything(graph):
    operators, inputs, outputs, sizes = graph
    found = memory(operators, inputs, outputs, sizes.__getitem__)
    everything = sum(item.size_bytes + ALIGNMENT for item in buffers(operators, inputs, outputs, sizes.__getitem__))
    assert found.live_peak_bytes <= found.arena_bytes <= everything


@given(graphs())
def test_the_tensors_at_the_peak_add_up_to_the_peak(graph):
    operators, inputs, outputs, sizes = graph
    found = memory(operators, inputs, outputs, sizes.__getitem__)
    assert sum(sizes[name] for name in found.peak_tensors) == found.live_peak_bytes


def test_a_chain_needs_two_tensors_at_a_time_beside_its_input():
    sizes = {"x": 10, "a": 100, "b": 100, "c": 100}
    chain = (operator(0, ["x"], "a"), operator(1, ["a"], "b"), operator(2, ["b"], "c"))
    assert memory(chain, ("x",), ("c",), sizes.__getitem__).live_peak_bytes == 210


def test_a_chain_in_place_needs_one():
    sizes = {"x": 10, "a": 100, "b": 100, "c": 100}
    chain = (
        operator(0, ["x"], "a"),
        operator(1, ["a"], "b", in_place=True),
        operator(2, ["b"], "c", in_place=True),
    )
    assert memory(chain, ("x",), ("c",), sizes.__getitem__).live_peak_bytes == 110


def test_a_skip_connection_is_not_overwritten_while_it_is_needed():
    sizes = {"x": 10, "a": 100, "b": 100, "c": 100}
    block = (operator(0, ["x"], "a"), operator(1, ["a"], "b", in_place=True), operator(2, ["b", "a"], "c"))
    assert memory(block, ("x",), ("c",), sizes.__getitem__).live_peak_bytes == 310


def test_a_graph_without_operators_needs_its_inputs():
    found = memory((), ("x",), ("x",), {"x": 40}.__getitem__)
    assert (found.live_peak_bytes, found.arena_bytes, found.peak_tensors) == (40, 40, ("x",))
