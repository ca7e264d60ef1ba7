"""One model with open sizes in each format: made in INT8 from rows of mixed sizes, and run at three sizes."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.converters.base import Conversion, ConversionRequest, Converter, converter
from edgekit.converters.tflite_open import leave_open
from edgekit.errors import ConversionError
from edgekit.model import CapturedModel, Dimension, TensorSpec
from edgekit.recipe import Precision, Recipe
from edgekit.samples import SampleWriter
from edgekit.validators.runners.opened_artifact import OpenArtifact

torch = pytest.importorskip("torch")

SIDES = tuple(Dimension(name=name, min=32, max=96, multiple_of=32, typical=64) for name in ("height", "width"))
SIZES = ((32, 32), (64, 64), (96, 96), (32, 96))
SUFFIXES = {"tflite": ".tflite", "onnx": ".onnx", "executorch": ".pte", "coreml": ".mlpackage"}


def picture(height: int, width: int) -> Any:
    generator = np.random.default_rng(height + width)
    return generator.standard_normal((1, 3, height, width)).astype(np.float32)


@pytest.fixture(scope="module")
def network() -> Any:
    """Strided, depthwise and transposed convolutions, a skip connection, and a head that pools all places."""
    torch.manual_seed(0)

    class Network(torch.nn.Module):  # type: ignore[misc,name-defined]  # torch is Any here
        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Conv2d(3, 8, 3, stride=2, padding=1)
            self.second = torch.nn.Conv2d(8, 8, 3, padding=1, groups=8)
            self.up = torch.nn.ConvTranspose2d(8, 2, 2, stride=2)
            self.head = torch.nn.Linear(8, 4)

        def forward(self, image: Any) -> Any:
            found = torch.relu(self.first(image))
            found = torch.nn.functional.relu6(self.second(found)) + found
            return self.up(found), self.head(found.mean((2, 3)))

    return Network().eval()


@pytest.fixture(scope="module")
def captured(network: Any, tmp_path_factory: pytest.TempPathFactory) -> CapturedModel:
    from edgekit.torch_program.example_call import ExampleCall
    from edgekit.torch_program.open_sizes import save_open

    folder = tmp_path_factory.mktemp("captured")
    image = torch.from_numpy(picture(96, 96))
    axes = [("", "", "height", "width")]
    opened = save_open(network, ExampleCall(args=(image,), names=("image",)), axes, SIDES, folder, "model.py:build")
    assert opened.outputs == (("", "", "height", "width"), ("", ""))
    return CapturedModel(
        name="net",
        source="model.py:build",
        source_kind="torch",
        kind="pt2",
        path=folder / "model.pt2",
        inputs=(TensorSpec(name="image", shape=(1, 3, 96, 96), dtype="float32", layout="NCHW"),),
        outputs=(
            TensorSpec(name="mask", shape=(1, 2, 96, 96), dtype="float32"),
            TensorSpec(name="scores", shape=(1, 4), dtype="float32"),
        ),
        digest="0",
        parameters=1,
        macs=None,
        family="cnn",
        open_sizes=opened,
    )


def signal_db(expected: Any, got: Any) -> float:
    assert got.shape == expected.shape
    return float(10 * np.log10(np.square(expected).sum() / np.square(got - expected).sum()))


@pytest.mark.runtime
@pytest.mark.parametrize(
    ("name", "precision", "least"), [*((name, "int8_static", 25) for name in SUFFIXES), ("onnx", "fp16", 50)]
)
def test_an_artifact_of_open_sizes_is_the_float_model_at_each_size(
    name: str, precision: Precision, least: float, network: Any, captured: CapturedModel, tmp_path: Path
) -> None:
    session = pytest.importorskip(f"edgekit.validators.runners.{name}_session")
    with SampleWriter(tmp_path / "calibration", ["image"], largest=[(1, 3, 96, 96)]) as writer:
        for side in (96, 32, 64):
            writer.add((picture(side, side),))
    path = tmp_path / f"net{SUFFIXES[name]}"
    (tmp_path / "scratch").mkdir()
    request = ConversionRequest(
        model=captured,
        recipe=Recipe(default=precision),
        calibration=tmp_path / "calibration",
        scratch=tmp_path / "scratch",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the frameworks' own
        made = converter(name).run(request, path, lambda phrase, share: None)
    assert [spec.shape for spec in (*made.inputs, *made.outputs)] == [(1, 3, -1, -1), (1, 2, -1, -1), (1, 4)]
    assert made.inputs[0].axes == ("", "", "height", "width")
    opened = OpenArtifact(session.Runtime(str(path), "", 1), path, {})
    assert [(spec["shape"], spec["largest"]) for spec in opened.inputs] == [([1, 3, -1, -1], [1, 3, 96, 96])]
    for size in SIZES:
        row = picture(*size)
        with torch.no_grad():
            expected = [value.numpy() for value in network(torch.from_numpy(row))]
        found = opened.real(opened.run(opened.prepare([row])))
        assert min(map(signal_db, expected, found)) > least, size


def test_a_converter_that_fixes_sizes_names_the_formats_that_do_not(captured: CapturedModel) -> None:
    class Fixed(Converter):
        runtime = "onnx"

        def why_not(self, kind: str, recipe: Recipe) -> None:
            """Takes everything."""

        def convert(self, request: ConversionRequest, output: Path, progress: object) -> Conversion:
            """Is not reached."""
            raise NotImplementedError

    assert re.fullmatch(
        r"ONNX .*artifacts of edgekit have fixed sizes, and the task leaves open height 32 to 96 in steps of 32, width "
        r"32 to 96 in steps of 32\. Use --format \w+ or \w+ or \w+ or \w+, or give a number in the place of height in "
        r"--input or \[inputs\]",
        Fixed().why_not_open(captured) or "",
    )


def tflite(
    kind: str,
    options: str,
    side: int,
    constant: Any,
    result: Sequence[int],
    settings: Mapping[str, float] | None = None,
) -> Any:
    """Returns a TFLite file of one operator, which reads an input (1, side, side, 1) and a constant."""
    from ai_edge_litert import schema_py_generated as schema

    from edgekit.converters import tflite_file

    model, graph, empty = schema.ModelT(), schema.SubGraphT(), schema.BufferT()
    model.version, model.operatorCodes, model.buffers, model.subgraphs = 3, [], [empty], [graph]
    graph.tensors, graph.operators = [], []
    floats = schema.TensorType.FLOAT32
    tensors = [tflite_file.add_tensor(graph, "x", (1, side, side, 1), floats, 0)]
    tensors += [] if constant is None else [tflite_file.add_constant(model, graph, "constant", constant)]
    output = tflite_file.add_tensor(graph, "y", result, floats, 0)
    graph.operators.append(tflite_file.new_operator(model, kind, tensors, output, options, **(settings or {})))
    graph.inputs, graph.outputs = [0], [output]
    return model


def two_reshapes() -> tuple[Any, Any]:
    return tuple(
        tflite("RESHAPE", "ReshapeOptions", side, np.array([1, side * side], np.int32), (1, side * side))
        for side in (96, 64)
    )


KERNEL, STRIDES = np.ones((1, 1, 1, 1), np.float32), {"strideH": 1, "strideW": 1}
TABLE = np.arange(4, dtype=np.float32)
UNFIT = {
    "operators": (
        ("ADD", "AddOptions", 96, TABLE, (1, 96, 96, 4)),
        ("MUL", "MulOptions", 64, TABLE, (1, 64, 64, 4)),
        "LiteRT's converter writes other operators at another size",
    ),
    "setting": (
        ("LEAKY_RELU", "LeakyReluOptions", 96, None, (1, 96, 96, 1), {"alpha": 0.5}),
        ("LEAKY_RELU", "LeakyReluOptions", 64, None, (1, 64, 64, 1), {"alpha": 0.1}),
        r"LEAKY_RELU \(y\) has a setting that depends on a size",
    ),
    "constant": (
        ("ADD", "AddOptions", 96, TABLE, (1, 96, 96, 4)),
        ("ADD", "AddOptions", 64, 2 * TABLE, (1, 64, 64, 4)),
        r"ADD \(y\) reads a constant that depends on a size",
    ),
    "shape": (
        ("RESIZE_BILINEAR", "ResizeBilinearOptions", 96, np.array([7, 7], np.int32), (1, 7, 7, 1)),
        ("RESIZE_BILINEAR", "ResizeBilinearOptions", 64, np.array([5, 5], np.int32), (1, 5, 5, 1)),
        r"RESIZE_BILINEAR \(y\) has a shape that is no multiple of an input's size",
    ),
}


@pytest.mark.parametrize("case", UNFIT)
def test_what_tflite_cannot_leave_open_is_refused_with_the_operator(captured: CapturedModel, case: str) -> None:
    pytest.importorskip("ai_edge_litert")
    *files, reason = UNFIT[case]
    model, other = (tflite(*file) for file in files)
    with pytest.raises(
        ConversionError,
        match=rf"^model\.py:build cannot become tflite with open sizes \(height 32 to 96 .*\): {reason}\. Use --format "
        r"onnx, executorch or coreml, or give a number in the place of height in --input or \[inputs\]\.$",
    ):
        leave_open(model, other, captured)


@pytest.mark.parametrize(
    ("expected", "reason"),
    [
        (torch.zeros(1, 1024), r"at height 32 LiteRT gives other values than the float model"),
        (torch.ones(1, 3), r"at height 32 an output has the shape \(1, 1024\) instead of \(1, 3\)"),
    ],
    ids=["values", "shape"],
)
def test_a_resized_file_is_held_against_the_float_model(
    captured: CapturedModel, monkeypatch: pytest.MonkeyPatch, expected: Any, reason: str
) -> None:
    pytest.importorskip("ai_edge_litert")
    calls = [({"height": 32}, [torch.ones(1, 32, 32, 1)], (expected,))]
    monkeypatch.setattr("edgekit.torch_program.open_sizes.calls_at_sizes", lambda _: iter(calls))
    with pytest.raises(ConversionError, match=rf": {reason}\. Use --format onnx"):
        leave_open(*two_reshapes(), captured)


def test_a_file_that_litert_cannot_resize_is_refused_with_its_words(
    captured: CapturedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ai_edge_litert")
    calls = [({"height": 32}, [torch.ones(1, 32, 32, 2)], (torch.ones(1, 3),))]
    monkeypatch.setattr("edgekit.torch_program.open_sizes.calls_at_sizes", lambda _: iter(calls))
    model, other = (tflite("CONV_2D", "Conv2DOptions", side, KERNEL, (1, side, side, 1), STRIDES) for side in (96, 64))
    with pytest.raises(ConversionError, match=r": at height 32 LiteRT says .+\. Use --format onnx"):
        leave_open(model, other, captured)
