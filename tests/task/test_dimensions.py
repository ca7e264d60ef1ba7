"""Sizes that stay open: how a user writes them, and what is wrong with them."""

from __future__ import annotations

import re

import pytest

from edgekit.errors import UsageError
from edgekit.model import Dimension
from edgekit.task.dimensions import dimensions_of, read_dimensions, read_dimensions_table
from edgekit.task.input_sizes import InputSizes, chosen_sizes, read_input_sizes, read_inputs_table, with_dimensions

HEIGHT = Dimension(name="height", min=128, max=1024, multiple_of=32, typical=640)


def test_flag_table_and_python_describe_one_dimension() -> None:
    table = {"min": 128, "max": 1024, "multiple_of": 32, "typical": 640}
    assert read_dimensions(["height=128..1024,multiple_of=32,typical=640"]) == (HEIGHT,)
    assert read_dimensions_table({"height": table}) == ((HEIGHT,), ())
    assert dimensions_of({"height": table}) == (HEIGHT,)
    assert read_dimensions([HEIGHT.text]) == (HEIGHT,)


def test_a_pair_is_smallest_and_largest_and_the_typical_size_is_in_the_middle() -> None:
    (found,) = dimensions_of({"length": (1, 400)})
    assert (found.min, found.max, found.multiple_of, found.typical) == (1, 400, 1, 20)


def test_a_largest_size_is_enough() -> None:
    (found,), faults = read_dimensions_table({"length": {"max": 512}})
    assert (found.min, found.max, faults) == (1, 512, ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "height",
            "--dimension height=128..1024,multiple_of=32,typical=640.",
        ),
        ("height=100..256,multiple_of=32", "min is 100; it must be a multiple of 32, at least 32."),
        ("height=8..8", "min is 8 and max is 8; min must be smaller, and a size that is fixed is a number."),
        ("height=32..64,typical=65", "typical: 65 is not one of height 32 to 64."),
        ("height=1..2,multiple_of=0", "multiple_of is 0; it must be at least 1."),
    ],
    ids=["form", "multiple", "fixed", "typical", "step"],
)
def test_a_wrong_flag_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message) + "$"):
        read_dimensions([text])


def test_a_pair_of_equal_sizes_in_python_is_refused() -> None:
    message = 'dimensions: "length" is (7, 7): min is 7 and max is 7; min must be smaller, and a size that is fixed is '
    with pytest.raises(UsageError, match=re.escape(message + "a number.") + "$"):
        dimensions_of({"length": (7, 7)})


def test_a_number_in_python_is_refused() -> None:
    message = 'dimensions: "length" is 5; expected (smallest, largest), such as (1, 512), or a dict with min, max, '
    with pytest.raises(UsageError, match=re.escape(message + "multiple_of, typical.") + "$"):
        dimensions_of({"length": 5})


def test_sizes_may_be_names_of_dimensions() -> None:
    (flag,) = read_input_sizes(["image=1x3xheightxwidth"])
    assert flag == InputSizes(name="image", shape=(1, 3, 0, 0), axes=("", "", "height", "width"))
    assert flag.text == "image=1x3xheightxwidth"
    (table,), _ = read_inputs_table({"ids": {"shape": [1, "max_len"], "dtype": "int64"}})
    assert table == InputSizes(name="ids", shape=(1, 0), axes=("", "max_len"), dtype="int64")
    assert InputSizes.from_json(flag.to_json()) == flag


def test_open_sizes_are_the_largest_of_their_dimension() -> None:
    (found,) = with_dimensions(read_input_sizes(["image=1x3xheightx64"]), [HEIGHT])
    assert found.shape == (1, 3, 1024, 64)


def test_a_name_without_a_dimension_is_refused() -> None:
    message = (
        'The input "ids" names the dimension "length", which is not described. Give its sizes: --dimension '
        "length=1..512, or [dimensions] length = { min = 1, max = 512 } in the task file."
    )
    with pytest.raises(UsageError, match=re.escape(message) + "$"):
        with_dimensions(read_input_sizes(["ids=1xlength"]), [])


def test_a_dimension_that_no_input_names_is_refused() -> None:
    message = (
        'The dimension "height" is a size of no input. Name it where it stands: --input image=1x3xheightx224, or '
        '[inputs] image = "1x3xheightx224" in the task file.'
    )
    with pytest.raises(UsageError, match=re.escape(message) + "$"):
        with_dimensions(read_input_sizes(["image=1x3x8x8"]), [HEIGHT])


def test_a_finished_file_is_run_at_numbers_only() -> None:
    message = (
        '--input: net.onnx runs at one size, and "length" is a name. Give a number in its place: its sizes at which '
        "the app will run."
    )
    with pytest.raises(UsageError, match=re.escape(message) + "$"):
        chosen_sizes([], read_input_sizes(["ids=1xlength"]), "net.onnx")
