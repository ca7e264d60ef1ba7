"""Names of tensors and files as identifiers."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.usage.identifiers import camel_case, distinct, pascal_case, quote, snake_case


@pytest.mark.parametrize(
    ("name", "camel", "snake"),
    [
        ("image", "image", "image"),
        ("serving_default_x:0", "servingDefaultX0", "serving_default_x_0"),
        ("class", "classTensor", "class_tensor"),
        ("3d", "tensor3d", "tensor3d"),
        ("é/ü", "tensorTensor", "tensor_tensor"),
    ],
    ids=["plain", "punctuation", "keyword", "digit", "no ASCII"],
)
def test_a_tensors_name_becomes_a_legal_one(name: str, camel: str, snake: str) -> None:
    assert (camel_case(name), snake_case(name)) == (camel, snake)


@given(st.text(max_size=20))
def test_any_text_becomes_an_identifier(name: str) -> None:
    for spell in (camel_case, snake_case, pascal_case):
        assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", spell(name))


@given(st.lists(st.sampled_from(["a", "b", "a2"]), max_size=6))
def test_equal_names_are_distinguished(names: list[str]) -> None:
    made = distinct(names)
    assert len(set(made)) == len(names)
    assert all(new.startswith(old) for new, old in zip(made, names, strict=True))


@given(st.text(max_size=20))
def test_a_literal_reads_back_as_the_text(text: str) -> None:
    assert json.loads(quote(text)) == text


def test_a_class_is_named_after_its_file() -> None:
    assert pascal_case("net-int8-static-tflite") == "NetInt8StaticTflite"
    assert pascal_case("3d-net") == "Model3dNet"
