from __future__ import annotations

import numpy as np
import pytest
import torch

from edgekit.torch_program.digest import Digest
from edgekit.torch_program.layout import guess_layout


def digest_of(*parts: object) -> str:
    one = Digest()
    one.add(*parts)
    return one.hexdigest()


def array_digest(array: object) -> str:
    one = Digest()
    one.add_array(array)
    return one.hexdigest()


def test_where_one_part_ends_counts():
    assert digest_of("ab", "c") != digest_of("a", "bc")


def test_the_order_of_bytes_in_memory_does_not_count():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert array_digest(array) == array_digest(array.astype(">f4")) == array_digest(np.asfortranarray(array))


@pytest.mark.parametrize(
    "other", [np.zeros((3, 2), "f4"), np.zeros((2, 3), "i4"), np.ones((2, 3), "f4")], ids=["shape", "dtype", "values"]
)
def test_shape_dtype_and_values_count(other):
    assert array_digest(np.zeros((2, 3), "f4")) != array_digest(other)


def test_a_scalar_and_an_empty_array_have_digests():
    assert array_digest(np.float32(1.0)) != array_digest(np.zeros(0, "f4"))


def test_a_bfloat16_tensor_has_a_digest():
    one, other = Digest(), Digest()
    one.add_tensor(torch.ones(3, dtype=torch.bfloat16))
    other.add_tensor(torch.zeros(3, dtype=torch.bfloat16))
    assert one.hexdigest() != other.hexdigest()


@pytest.mark.parametrize(
    ("shape", "dtype", "usual", "expected"),
    [
        ((1, 3, 8, 8), "float32", "NCHW", "NCHW"),
        ((1, 8, 8, 3), "float32", "NCHW", "NHWC"),
        ((1, 8, 8, 3), "uint8", "NHWC", "NHWC"),
        ((1, 1, 40, 8), "float32", "NHWC", "NCHW"),
        ((1, 16, 8, 8), "float32", "NCHW", "NCHW"),
        ((1, 3, 8, 3), "float32", "NHWC", "NHWC"),
        ((1, 3, 8), "float32", "NCHW", None),
        ((1, 3, 8, 8), "torch.int64", "NCHW", None),
        ((1, 1, 8, 8), "bool", "NCHW", None),
    ],
)
def test_the_layout_follows_from_the_shape_where_it_can(shape, dtype, usual, expected):
    assert guess_layout(shape, dtype, usual) == expected
