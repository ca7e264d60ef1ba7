"""`--input`: how a user gives the sizes of inputs."""

from __future__ import annotations

import re

import pytest

from edgekit.errors import UsageError
from edgekit.model import TensorSpec
from edgekit.task.input_sizes import InputSizes, OpenInput, chosen_sizes, code_of, flags_of, read_input_sizes

PICTURE = OpenInput(name="image", shape=(None, 3, None, None), dtype="float32", batch_axes=frozenset({0}))
TOKENS = OpenInput(name="ids", shape=(None, None), dtype="int64", batch_axes=frozenset({0}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("image=1x3x224x224", InputSizes(name="image", shape=(1, 3, 224, 224))),
        ("ids=1x128:int64", InputSizes(name="ids", shape=(1, 128), dtype="int64")),
        ("sr=scalar:int64", InputSizes(name="sr", shape=(), dtype="int64")),
        ("a=b:0=7", InputSizes(name="a=b:0", shape=(7,))),
    ],
    ids=["floats", "integers", "scalar", "odd-name"],
)
def test_a_flag_is_read_and_written_alike(text, expected):
    assert read_input_sizes([text]) == (expected,)
    assert expected.text == text
    assert InputSizes.from_json(expected.to_json()) == expected


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (
            ["1x3"],
            (
                '--input "1x3" is not understood. Expected NAME=SIZES or NAME=SIZES:DTYPE, such as --input '
                "image=1x3x224x224 or --input ids=1x128:int64; --input rate=scalar:int64 for a single number."
            ),
        ),
        (
            ["x=1:float"],
            (
                '--input "x=1:float": "float" is no dtype: accepted are float32, float16, float64, int8, uint8, int16, '
                "uint16, int32, uint32, int64, uint64, bool."
            ),
        ),
        (["x=1x0"], '--input "x=1x0": a size is 0; every size must be at least 1.'),
        (["x=1", "x=2"], '--input names the input "x" twice. Give each input once.'),
    ],
    ids=["form", "dtype", "zero", "twice"],
)
def test_other_texts_are_refused(texts, message):
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        read_input_sizes(texts)


def test_inputs_that_are_not_named_keep_the_models_sizes():
    fixed = OpenInput(name="mask", shape=(None, 4), dtype="bool")
    closed = OpenInput(name="scale", shape=(1, 4), dtype="float32")
    given = read_input_sizes(["ids=1x16", "mask=1x4"])
    assert [item.text for item in chosen_sizes([TOKENS, fixed, closed], given, "net.onnx")] == [
        "ids=1x16:int64",
        "mask=1x4:bool",
        "scale=1x4:float32",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x=1", '--input x=1: net.onnx has no input "x"; its inputs are image, ids.'),
        (
            "image=1x4x8x8",
            (
                '--input image=1x4x8x8: the input "image" of net.onnx takes the shape (?, 3, ?, ?). Give sizes of that '
                "form: --input image=1x3x224x224"
            ),
        ),
        (
            "image=1x3x8x8:uint8",
            (
                '--input image=1x3x8x8:uint8: the input "image" of net.onnx takes float32. Leave the type out, or give '
                "float32."
            ),
        ),
        (
            "image=1x3x8x8",
            (
                'The input "ids" of net.onnx has the shape (?, ?) with free sizes, and no --input gives them. Add '
                "--input ids=1x128:int64"
            ),
        ),
    ],
    ids=["name", "shape", "dtype", "missing"],
)
def test_sizes_that_the_model_does_not_take_are_refused(text, message):
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        chosen_sizes([PICTURE, TOKENS], read_input_sizes([text]), "net.onnx")


def test_advice_shows_the_models_own_inputs():
    assert flags_of([PICTURE, TOKENS]) == "--input image=1x3x224x224 --input ids=1x128:int64"
    assert code_of([PICTURE, TOKENS]) == "(torch.zeros(1, 3, 224, 224), torch.zeros(1, 128, dtype=torch.int64))"
    assert code_of([OpenInput(name="sr", shape=(), dtype="int64")]) == "(torch.zeros((), dtype=torch.int64),)"


def test_a_file_that_tells_its_largest_sizes_is_shown_with_them() -> None:
    spec = TensorSpec(name="x", shape=(1, 3, -1, -1), dtype="float32", largest=(1, 3, 96, 64))
    assert OpenInput.from_spec(spec).example().shape == (1, 3, 96, 64)
