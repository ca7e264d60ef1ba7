"""ONNX files as they are: each dialect runs, is costed from its own graph, and is captured, imported or refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.analysis.read_onnx_graph import read_onnx_file
from edgekit.errors import ModelError
from edgekit.exporting.fit import is_finished
from edgekit.sources.base import CaptureRequest
from edgekit.sources.capture import run
from edgekit.task.input_sizes import InputSizes
from edgekit.validators.runners import onnx_session
from edgekit.validators.runners.opened_artifact import OpenArtifact, RunError
from edgekit.workers.structure import unstructure
from edgekit.workers.worker import silent

RNG = np.random.default_rng(0)
FLOAT = TensorProto.FLOAT


def stored(name: str, array: Any) -> Any:
    return numpy_helper.from_array(np.asarray(array), name)


def weight(name: str, *shape: int) -> Any:
    return stored(name, RNG.normal(size=shape).astype(np.float32) * 0.3)


def node(kind: str, inputs: str, outputs: str, domain: str = "", **settings: Any) -> Any:
    return helper.make_node(kind, inputs.split(), outputs.split(), domain=domain, **settings)


def value(name: str, shape: Any = None, kind: int = FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def model(
    nodes: list[Any], weights: list[Any], *, shape: Any = (1, 3, 8, 8), opset: int = 17, ir: int = 8, **more: Any
) -> Any:
    """Returns a model from `x` to `y`; `functions` and `domains` may be given."""
    inputs = [value("x", shape)]
    if ir < 4:  # weights were inputs then
        inputs += [value(item.name, list(item.dims), item.data_type) for item in weights]
    graph = helper.make_graph(nodes, "g", inputs, [value("y")], weights)
    domains = [helper.make_opsetid(name, 1) for name in more.get("domains", ())]
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", opset), *domains],
        ir_version=ir,
        functions=more.get("functions", []),
    )


def old(opset: int, ir: int) -> Any:
    """A network of operators that opset 7 has already, in the spelling of `opset`."""
    axes = {"axes": [2, 3]} if opset < 18 else {}
    more = [stored("axes", [2, 3])] if opset >= 18 else []
    nodes = [
        node("Conv", "x w b", "c", pads=[1, 1, 1, 1]),
        node("Relu", "c", "r"),
        node("ReduceMean", "r" if opset < 18 else "r axes", "m", keepdims=0, **axes),
        node("Gemm", "m g gb", "y", transB=1),
    ]
    weights = [weight("w", 4, 3, 3, 3), weight("b", 4), weight("g", 5, 4), weight("gb", 1, 5), *more]
    return model(nodes, weights, opset=opset, ir=ir)


def scales(*names: str) -> list[Any]:
    return [
        item for name in names for item in (stored(f"{name}_s", np.float32(0.1)), stored(f"{name}_z", np.uint8(128)))
    ]


def integers(name: str, *shape: int) -> list[Any]:
    array = RNG.integers(-100, 100, shape).astype(np.int8)
    return [stored(name, array), stored(f"{name}_s", np.float32(0.02)), stored(f"{name}_z", np.int8(0))]


def qoperator() -> Any:
    nodes = [
        node("QuantizeLinear", "x x_s x_z", "q"),
        node("QLinearConv", "q x_s x_z w w_s w_z c_s c_z", "c", pads=[1, 1, 1, 1]),
        node("Flatten", "c", "f"),
        node("QLinearMatMul", "f c_s c_z m m_s m_z y_s y_z", "l"),
        node("DequantizeLinear", "l y_s y_z", "y"),
    ]
    return model(nodes, [*scales("x", "c", "y"), *integers("w", 4, 3, 3, 3), *integers("m", 256, 5)])


def qdq() -> Any:
    nodes = [
        node("QuantizeLinear", "x x_s x_z", "q"),
        node("DequantizeLinear", "q x_s x_z", "d"),
        node("DequantizeLinear", "w w_s w_z", "v"),
        node("Conv", "d v", "c", pads=[1, 1, 1, 1]),
        node("QuantizeLinear", "c c_s c_z", "e"),
        node("DequantizeLinear", "e c_s c_z", "y"),
    ]
    return model(nodes, [*scales("x", "c"), *integers("w", 4, 3, 3, 3)])


def dynamic() -> Any:
    nodes = [
        node("DynamicQuantizeLinear", "x", "q s z"),
        node("MatMulInteger", "q m z m_z", "i"),
        node("Cast", "i", "f", to=FLOAT),
        node("Mul", "s m_s", "t"),
        node("Mul", "f t", "y"),
    ]
    return model(nodes, integers("m", 6, 5), shape=(1, 6))


def microsoft() -> Any:
    own = "com.microsoft"
    nodes = [
        node("FusedMatMul", "x m", "h", own, alpha=0.5, transB=1),
        node("BiasGelu", "h b", "g", own),
        node("SkipLayerNormalization", "g h gamma beta", "n", own, epsilon=1e-5),
        node("QuickGelu", "n", "y", own),
    ]
    weights = [weight("m", 5, 6), weight("b", 5), weight("gamma", 5), weight("beta", 5)]
    return model(nodes, weights, shape=(1, 4, 6), domains=(own,))


def fused_convolution() -> Any:
    nodes = [node("FusedConv", "x w b", "y", "com.microsoft", activation="Relu", pads=[1, 1, 1, 1])]
    return model(nodes, [weight("w", 4, 3, 3, 3), weight("b", 4)], domains=("com.microsoft",))


def four_bits() -> Any:
    nodes = [node("MatMulNBits", "x m s", "y", "com.microsoft", K=32, N=5, bits=4, block_size=32)]
    packed = stored("m", RNG.integers(0, 255, (5, 1, 16)).astype(np.uint8))
    return model(nodes, [packed, weight("s", 5)], shape=(1, 32), domains=("com.microsoft",))


def branches() -> Any:
    def body(name: str) -> Any:
        return helper.make_graph(
            [node("MatMul", f"x {name}", f"{name}_y")], name, [], [value(f"{name}_y", (1, 5))], [weight(name, 6, 5)]
        )

    nodes = [
        node("ReduceSum", "x", "s", keepdims=0),
        node("Greater", "s zero", "c"),
        node("If", "c", "y", then_branch=body("one"), else_branch=body("two")),
    ]
    return model(nodes, [stored("zero", np.float32(0))], shape=(1, 6))


def loop() -> Any:
    inside = helper.make_graph(
        [node("MatMul", "h m", "n"), node("Identity", "go", "on")],
        "body",
        [value("i", (), TensorProto.INT64), value("go", (), TensorProto.BOOL), value("h", (1, 6))],
        [value("on", (), TensorProto.BOOL), value("n", (1, 6))],
    )
    nodes = [node("Loop", "times yes x", "y", body=inside)]
    return model(nodes, [stored("times", np.int64(3)), stored("yes", np.bool_(True)), weight("m", 6, 6)], shape=(1, 6))


def functions() -> Any:
    imports = [helper.make_opsetid("", 17)]
    own = helper.make_function(
        "own", "Dense", ["a", "k"], ["o"], [node("MatMul", "a k", "p"), node("Relu", "p", "o")], imports
    )
    nodes = [node("Dense", "x m", "h", "own"), node("Dense", "h k", "y", "own")]
    return model(nodes, [weight("m", 6, 5), weight("k", 5, 4)], shape=(1, 6), functions=[own], domains=("own",))


def weights_apart() -> Any:
    """Weights that are no inputs, under the number of a version that wanted them there: onnxruntime takes it."""
    made = old(9, 8)
    made.ir_version = 3
    return made


def open_rank() -> Any:
    made = model([node("Conv", "x w", "y")], [weight("w", 4, 3, 3, 3)])
    made.graph.input[0].type.tensor_type.ClearField("shape")
    return made


def minus_one() -> Any:
    return model([node("Conv", "x w", "y")], [weight("w", 4, 3, 3, 3)], shape=(-1, 3, -1, -1))


def flat_bias() -> Any:
    nodes = [node("MatMul", "x m", "h"), node("Add", "h b", "a"), node("Gemm", "a g c", "y")]
    return model(nodes, [weight("m", 6, 5), weight("b", 1, 5), weight("g", 5, 4), weight("c", 1, 4)], shape=(1, 6))


CASES: dict[str, Callable[[], Any]] = {
    "opset 7, IR 3": lambda: old(7, 3),
    "opset 9, IR 4": lambda: old(9, 4),
    "opset 11": lambda: old(11, 6),
    "opset 13": lambda: old(13, 7),
    "opset 18": lambda: old(18, 8),
    "opset 21": lambda: old(21, 10),
    "opset 23": lambda: old(23, 11),
    "opset 26": lambda: old(26, 13),
    "weights apart, IR 3": weights_apart,
    "QOperator": qoperator,
    "QDQ": qdq,
    "ranges at run time": dynamic,
    "com.microsoft": microsoft,
    "FusedConv": fused_convolution,
    "MatMulNBits": four_bits,
    "If": branches,
    "Loop": loop,
    "functions": functions,
    "open rank": open_rank,
    "dims -1": minus_one,
    "(1, N) biases": flat_bias,
}
"""By what is special about them."""


MACS = {
    **dict.fromkeys((name for name in CASES if name.startswith("opset")), 64 * 108 + 20),
    "weights apart, IR 3": 64 * 108 + 20,
    "QOperator": 6912 + 1280,
    "QDQ": 6912,
    "ranges at run time": 30,
    "com.microsoft": 120,
    "FusedConv": 6912,
    "MatMulNBits": 160,
    "If": 30,
    "Loop": 108,
    "functions": 50,
    "open rank": 36 * 108,
    "dims -1": 36 * 108,
    "(1, N) biases": 50,
}
"""Multiply-accumulates of one call."""

QUANTIZED = ("QOperator", "QDQ", "ranges at run time", "MatMulNBits")
NOT_IN_TORCH = {
    "com.microsoft": 'com.microsoft.BiasGelu (node "g")',
    "FusedConv": 'com.microsoft.FusedConv (node "y")',
}
SIZES = (InputSizes(name="x", shape=(1, 3, 8, 8), dtype="float32"),)


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    onnx.save(CASES[request.param](), tmp_path / "net.onnx")
    return request.param, tmp_path / "net.onnx"


def test_it_is_costed_from_its_own_graph(case: tuple[str, Path]) -> None:
    name, path = case
    sizes = {"x": (1, 3, 8, 8)} if name in ("open rank", "dims -1") else {}
    analysis, precisions = read_onnx_file(path, sizes)
    assert sum(item.macs for item in analysis.operators) == MACS[name]
    expected = {"MatMulNBits": "int4_weights", "ranges at run time": "int8_dynamic"}
    whole = expected.get(name, "int8_static" if name in QUANTIZED else "fp32")
    products = {precisions[item.name] for item in analysis.operators if item.macs}
    assert products == {whole}


def test_it_is_a_finished_file_where_it_is_quantized(case: tuple[str, Path]) -> None:
    name, path = case
    assert is_finished(path) == (name in QUANTIZED)


def capture(path: Path, name: str, *, as_torch: bool) -> dict[str, Any]:
    sizes = SIZES if name in ("open rank", "dims -1") else ()
    request = CaptureRequest(
        source=path.name, base=path.parent, output=path.parent / "out", name="net", as_torch=as_torch, input_sizes=sizes
    )
    return unstructure(run(request, silent))


def test_it_is_captured_as_onnx_unless_it_is_quantized(case: tuple[str, Path]) -> None:
    name, path = case
    if name in QUANTIZED:
        with pytest.raises(ModelError, match=r"^net.onnx is quantized already .* with edgekit validate\.$"):
            capture(path, name, as_torch=False)
        return
    found = capture(path, name, as_torch=False)
    assert found["kind"] == "onnx"
    assert all(size > 0 for spec in (*found["inputs"], *found["outputs"]) for size in spec["shape"])


@pytest.mark.parametrize("name", NOT_IN_TORCH)
def test_what_torch_does_not_have_is_named_with_its_node_and_a_way_out(tmp_path: Path, name: str) -> None:
    onnx.save(CASES[name](), tmp_path / "net.onnx")
    with pytest.raises(ModelError) as caught:
        capture(tmp_path / "net.onnx", name, as_torch=True)
    assert NOT_IN_TORCH[name] in caught.value.message
    assert "Export to format onnx, which needs no import" in caught.value.message


@pytest.mark.parametrize(
    "name", ["opset 7, IR 3", "opset 26", "functions", "open rank", "dims -1", "(1, N) biases", "If", "Loop"]
)
def test_the_rest_becomes_torch_and_so_reaches_every_format(tmp_path: Path, name: str) -> None:
    onnx.save(CASES[name](), tmp_path / "net.onnx")
    assert capture(tmp_path / "net.onnx", name, as_torch=True)["kind"] == "pt2"


@pytest.fixture
def sequence(tmp_path: Path) -> Path:
    made = model([node("SequenceConstruct", "x x", "y")], [], shape=(1, 6))
    tensor = helper.make_tensor_type_proto(FLOAT, (1, 6))
    made.graph.output[0].CopyFrom(helper.make_value_info("y", helper.make_sequence_type_proto(tensor)))
    onnx.save(made, tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def test_an_output_that_is_no_tensor_is_named(sequence: Path) -> None:
    with pytest.raises(ModelError) as caught:
        capture(sequence, "", as_torch=False)
    assert caught.value.message == (
        'net.onnx: the output "y" is a sequence, and on-device formats return tensors. Export the model without what '
        "makes it (ZipMap: options={'zipmap': False})."
    )


def test_an_artifact_whose_output_is_no_tensor_is_refused(sequence: Path) -> None:
    with pytest.raises(RunError) as caught:
        OpenArtifact(onnx_session.Runtime(str(sequence), "", 1), sequence, {})
    assert caught.value.message == (
        'net.onnx: its output "y" is of type seq(tensor(float)), which is no tensor. Export the model without what '
        "makes it (ZipMap: options={'zipmap': False})."
    )
