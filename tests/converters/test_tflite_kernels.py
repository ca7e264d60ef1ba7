"""A TFLite file with operators that LiteRT's interpreter lacks is refused when it is made."""

from __future__ import annotations

import re

import pytest

from edgekit.converters import tflite_kernels
from edgekit.errors import ConversionError


@pytest.fixture
def one_sort(monkeypatch):
    """Makes a file hold one sorting operator, `blocks.1/0`, and returns what LiteRT says of it to a function."""
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    tensor = type("Tensor", (), {"name": b"blocks.1/0"})
    graph = type("Graph", (), {"tensors": [tensor]})
    operator = type("Operator", (), {"outputs": [0]})
    monkeypatch.setattr(tflite_kernels, "operators", lambda _: [(graph, operator, "STABLEHLO_SORT")])
    monkeypatch.setattr(tflite_kernels, "write", lambda _: b"")

    def says(text):
        def fail(**_):
            raise ValueError(text)

        monkeypatch.setattr(interpreter, "Interpreter", fail)

    return says


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("Didn't find op for builtin opcode 'STABLEHLO_SORT' version '1'. An older version", ""),
        ("Only one axis.Node number 0 (STABLEHLO_SORT) failed to prepare.", ": Only one axis"),
    ],
)
def test_the_operator_and_its_layer_are_named(one_sort, said, why):
    one_sort(said)
    message = (
        "net.py:build cannot become tflite: LiteRT's converter writes STABLEHLO_SORT in the layer blocks.1, and its "
        f"interpreter has no kernel for it as it is used there{why}. Replace that part of the model, or choose another "
        "format."
    )
    with pytest.raises(ConversionError, match=f"^{re.escape(message)}$"):
        tflite_kernels.refuse_missing_kernels(None, {"blocks.1/0": "blocks.1"}, "net.py:build")


def test_another_fault_of_the_interpreter_passes_through(one_sort):
    one_sort("out of luck")
    with pytest.raises(ValueError, match=r"^out of luck$"):
        tflite_kernels.refuse_missing_kernels(None, {}, "net.py:build")
