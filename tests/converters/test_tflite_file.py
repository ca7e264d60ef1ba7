"""Edits of TFLite files, on flatbuffer objects that are built by hand."""

from __future__ import annotations

import pytest

pytest.importorskip("ai_edge_litert")

from ai_edge_litert import schema_py_generated as schema

from edgekit.converters.tflite_file import drop_unused_tensors

FIRST, SECOND = 1, 2
"""Buffers with data; 0 is the empty one that activations name."""


def subgraph(*constants: int, reads: bool) -> schema.SubGraphT:
    """An input, an output and constants in these buffers, which one operator reads or nobody."""
    graph = schema.SubGraphT()
    graph.tensors = [schema.TensorT() for _ in range(2 + len(constants))]
    for tensor, buffer in zip(graph.tensors, (0, 0, *constants), strict=True):
        tensor.buffer = buffer
    graph.inputs, graph.outputs = [0], [1]
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = [0, *(range(2, 2 + len(constants)) if reads else ())], [1]
    operator.intermediates = None
    graph.operators = [operator]
    return graph


def model(*graphs: schema.SubGraphT) -> schema.ModelT:
    made = schema.ModelT()
    made.buffers = [schema.BufferT() for _ in range(3)]
    made.buffers[FIRST].data, made.buffers[SECOND].data = [1, 2, 3, 4], [5, 6, 7, 8]
    made.subgraphs, made.signatureDefs, made.metadata = list(graphs), None, None
    return made


@pytest.mark.parametrize("order", [(False, True), (True, False)], ids=["dropped first", "dropped last"])
def test_a_constant_that_another_subgraph_reads_keeps_its_data(order):
    made = model(*(subgraph(FIRST, reads=reads) for reads in order))
    drop_unused_tensors(made)
    assert made.buffers[FIRST].data == [1, 2, 3, 4]
    assert [len(graph.tensors) for graph in made.subgraphs] == [3 if reads else 2 for reads in order]


def test_a_constant_that_metadata_names_keeps_its_data():
    made = model(subgraph(FIRST, reads=False))
    entry = schema.MetadataT()
    entry.buffer = FIRST
    made.metadata = [entry]
    drop_unused_tensors(made)
    assert made.buffers[FIRST].data == [1, 2, 3, 4]


def test_a_constant_that_nobody_reads_goes_and_indices_follow():
    graph = subgraph(FIRST, SECOND, reads=False)
    graph.operators[0].inputs = [0, 3, -1]
    made = model(graph)
    drop_unused_tensors(made)
    assert made.buffers[FIRST].data is None
    assert made.buffers[SECOND].data == [5, 6, 7, 8]
    assert [tensor.buffer for tensor in graph.tensors] == [0, 0, SECOND]
    assert graph.operators[0].inputs == [0, 2, -1]
