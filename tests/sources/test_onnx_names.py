"""What layers of an ONNX file are called: one rule for the torch program made of it and for the converter."""

from __future__ import annotations

import pytest

from edgekit.sources.onnx_names import SCOPES, module_name

onnx = pytest.importorskip("onnx")


@pytest.mark.parametrize(
    ("name", "scopes", "expected"),
    [
        ("", None, "MatMul_y"),
        ("/layer1/conv/Conv", None, "layer1.conv.Conv"),
        ("node_7", "['', 'encoder.0', 'linear']", "encoder.0.linear"),
        ("node_7", "no list", "node_7"),
        ("a b/c:d", None, "a_b.c_d"),
        ("lstm/while/MatMul", None, "lstm.while_.MatMul"),
    ],
    ids=["unnamed", "torch's exporter", "with scopes", "scopes of another spelling", "odd letters", "a word of Python"],
)
def test_a_layer_is_called_by_its_module_else_by_its_node(name: str, scopes: str | None, expected: str) -> None:
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"], name=name)
    if scopes is not None:
        node.metadata_props.add(key=SCOPES, value=scopes)
    assert module_name(node) == expected
