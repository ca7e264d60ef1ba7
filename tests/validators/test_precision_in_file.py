from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgekit.validators.artifact_operators import ArtifactOperator
from edgekit.validators.precision_in_file import precision_in_file, recipe_in_file


def operator(arithmetic: Any, bits: int, dtype: str = "int8", weights: int = 100) -> ArtifactOperator:
    return ArtifactOperator(
        name="a", kind="CONV", arithmetic=arithmetic, dtype=dtype, weights=weights, weight_bits=bits
    )


@pytest.mark.parametrize(
    ("operators", "name"),
    [
        ([operator("float", 32)], "fp32"),
        ([operator("float", 16)], "fp16"),
        ([operator("float", 8)], "int8-weights"),
        ([operator("float", 4)], "int4"),
        ([operator("dynamic", 8)], "int8-dynamic"),
        ([operator("integer", 8)], "int8-static"),
        ([operator("integer", 8, "int16")], "w8a16"),
        ([operator("integer", 8), operator("float", 32, weights=10)], "int8-static+mixed"),
        ([operator("integer", 0, weights=0)], "unknown"),
        ([operator("other", 2)], "unknown"),
        ([], "unknown"),
    ],
)
def test_the_precision_is_what_lies_in_the_file(operators: list[ArtifactOperator], name: str) -> None:
    assert precision_in_file(Path("a.tflite"), operators) == name
    assert name == "unknown" or recipe_in_file(name).name == name.removesuffix("+mixed")
