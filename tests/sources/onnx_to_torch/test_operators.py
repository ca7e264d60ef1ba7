"""Every operator of the importer against onnxruntime, through torch.export."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from edgekit.sources.onnx_to_torch.importer import import_model
from edgekit.sources.onnx_to_torch.table import OPERATORS
from edgekit.torch_program.trace_module import export_module


@dataclass(frozen=True)
class Case:
    """A graph of one node. `inputs` are given by the caller, `constants` are initializers, by position; None is "
    "absent."""

    operator: str
    inputs: dict[int, Any] = field(default_factory=dict)
    constants: dict[int, Any] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1
    opset: int = 17
    variant: str = ""

    @property
    def id(self) -> str:
        return f"{self.operator}-{self.opset}{'-' + self.variant if self.variant else ''}"


def values(*shape: int, low: float = -2.0, high: float = 2.0, seed: int = 0) -> Any:
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def whole(*numbers: int) -> Any:
    return np.array(numbers, dtype=np.int64)


def case(operator: str, *inputs: Any, opset: int = 17, outputs: int = 1, variant: str = "", **attributes: Any) -> Case:
    """Integer vectors given as lists are constants; `("constant", array)` too; None is an absent input."""
    given: dict[int, Any] = {}
    constants: dict[int, Any] = {}
    for i, value in enumerate(inputs):
        if isinstance(value, tuple):
            constants[i] = value[1]
        elif isinstance(value, list):
            constants[i] = whole(*value)
        elif value is not None:
            given[i] = value
    return Case(operator, given, constants, attributes, outputs, opset, variant)


def fixed(array: Any) -> tuple[str, Any]:
    return ("constant", np.asarray(array))


X = values(1, 4, 6, 5)
POSITIVE = values(2, 3, low=0.1, high=0.9)
TABLE = fixed(values(10, 4, seed=3))
INTS = np.arange(-6, 6, dtype=np.int64).reshape(3, 4)
BOOLS = np.array([[True, False], [False, True]])

UNARY = [
    *("Abs", "Neg", "Sign", "Ceil", "Floor", "Round", "Sqrt", "Reciprocal", "Exp", "Log", "Erf", "Sin", "Cos", "Tan"),
    *("Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Atanh", "Tanh", "Sigmoid", "Identity", "Relu", "Softplus"),
    *("Softsign", "HardSwish", "Elu", "Celu", "Selu", "LeakyRelu", "HardSigmoid", "ThresholdedRelu", "Shrink"),
]
BINARY = ["Add", "Sub", "Mul", "Div", "Pow"]
COMPARE = ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"]
REDUCE = [
    "ReduceMean",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    "ReduceL1",
    "ReduceL2",
    "ReduceSumSquare",
    "ReduceLogSumExp",
]
LSTM_W, LSTM_R, LSTM_B = (
    fixed(values(1, 12, 4, seed=5)),
    fixed(values(1, 12, 3, seed=6)),
    fixed(values(1, 24, seed=7)),
)
PAIR_W, PAIR_R, PAIR_B = (
    fixed(values(2, 12, 4, seed=5)),
    fixed(values(2, 12, 3, seed=6)),
    fixed(values(2, 24, seed=7)),
)
GRU_W, GRU_R, GRU_B = (fixed(values(1, 9, 4, seed=5)), fixed(values(1, 9, 3, seed=6)), fixed(values(1, 18, seed=7)))
RNN_W, RNN_R, RNN_B = (fixed(values(1, 3, 4, seed=5)), fixed(values(1, 3, 3, seed=6)), fixed(values(1, 6, seed=7)))
SEQUENCE = values(5, 1, 4, seed=8)
STATE = values(1, 1, 3, seed=9)

CASES = [
    *(case(name, POSITIVE) for name in UNARY),
    case("Acosh", values(2, 3, low=1.1, high=3.0)),
    case("Elu", X, alpha=0.5, variant="alpha"),
    case("Celu", X, alpha=0.5, variant="alpha"),
    case("LeakyRelu", X, alpha=0.3, variant="alpha"),
    case("HardSigmoid", X, alpha=1 / 6, variant="sixth"),
    case("HardSigmoid", X, alpha=0.3, beta=0.4, variant="general"),
    case("Shrink", X, lambd=0.7, bias=0.2, variant="biased"),
    case("Mish", X, opset=18),
    case("Gelu", X, opset=20),
    case("Gelu", X, opset=20, approximate="tanh", variant="tanh"),
    case("PRelu", X, fixed(values(4, 1, 1))),
    case("PRelu", X, fixed(values(5)), variant="last-axis"),
    case("PRelu", X, values(4, 1, 1), variant="dynamic"),
    case("IsNaN", np.array([1.0, np.nan], dtype=np.float32)),
    case("IsInf", np.array([1.0, np.inf, -np.inf], dtype=np.float32)),
    case("IsInf", np.array([1.0, np.inf, -np.inf], dtype=np.float32), detect_negative=0, variant="positive"),
    case("IsInf", np.array([1.0, np.inf, -np.inf], dtype=np.float32), detect_positive=0, variant="negative"),
    case("Not", BOOLS),
    case("BitwiseNot", INTS, opset=18),
    *(case(name, POSITIVE, values(2, 3, low=0.5, high=2.0, seed=1)) for name in BINARY),
    *(case(name, POSITIVE, fixed(np.float32(1.5)), variant="number-right") for name in BINARY),
    *(case(name, fixed(np.float32(1.5)), POSITIVE, variant="number-left") for name in BINARY),
    *(case(name, POSITIVE, fixed(values(4, 1, 3, low=0.5)), variant="broadcast") for name in BINARY),
    *(case(name, INTS, fixed(INTS)) for name in COMPARE),
    *(case(name, BOOLS, fixed(BOOLS[:1])) for name in ("And", "Or", "Xor")),
    *(case(name, INTS, fixed(np.int64(5)), opset=18) for name in ("BitwiseAnd", "BitwiseOr", "BitwiseXor")),
    case("Div", INTS, fixed(np.int64(4)), variant="integers"),
    case("Mod", INTS, fixed(np.int64(4))),
    case("Mod", POSITIVE, fixed(np.float32(0.3)), fmod=1, variant="fmod"),
    *(case(name, POSITIVE, values(2, 3, seed=1), values(3, seed=2)) for name in ("Max", "Min", "Sum", "Mean")),
    case("Where", BOOLS, values(2, 2), fixed(np.float32(0.0))),
    case("Cast", POSITIVE, to=7),
    case("Cast", INTS, to=1, variant="float"),
    case("Cast", INTS, to=9, variant="bool"),
    case("CastLike", INTS, POSITIVE),
    case("Dropout", X),
    case("Dropout", X, fixed(np.float32(0.5)), fixed(np.array(False)), variant="explicit"),
    case("Clip", X, fixed(np.float32(0.0)), fixed(np.float32(6.0))),
    case("Clip", X, fixed(np.float32(0.0)), variant="relu"),
    case("Clip", X, None, fixed(np.float32(0.5)), variant="top"),
    case("Clip", X, variant="open"),
    case("Clip", INTS, fixed(np.int64(-2)), fixed(np.int64(3)), variant="integers"),
    case("Softmax", X),
    case("Softmax", X, axis=1, variant="axis"),
    case("Softmax", X, axis=1, opset=11, variant="flattened"),
    case("Softmax", X, axis=3, opset=11, variant="last"),
    case("LogSoftmax", X, axis=-2),
    case("Hardmax", X, axis=1),
    # Convolutions and products
    case("Conv", X, fixed(values(8, 4, 3, 3)), fixed(values(8)), pads=[1, 1, 1, 1], strides=[2, 1]),
    case("Conv", X, fixed(values(8, 4, 3, 3)), pads=[0, 1, 2, 1], variant="uneven"),
    case("Conv", X, fixed(values(4, 1, 3, 3)), group=4, dilations=[2, 2], variant="depthwise"),
    case("Conv", X, fixed(values(8, 4, 3, 3)), auto_pad="SAME_UPPER", strides=[2, 2], variant="same-upper"),
    case("Conv", X, fixed(values(8, 4, 2, 2)), auto_pad="SAME_LOWER", variant="same-lower"),
    case("Conv", X, fixed(values(8, 4, 3, 3)), auto_pad="VALID", variant="valid"),
    case("Conv", values(1, 4, 9), fixed(values(8, 2, 3)), group=2, variant="1d"),
    case("Conv", values(1, 2, 4, 5, 6), fixed(values(3, 2, 2, 2, 2)), variant="3d"),
    case("Conv", X, values(8, 4, 3, 3), variant="dynamic-weight"),
    case("ConvTranspose", X, fixed(values(4, 3, 3, 3)), fixed(values(3)), strides=[2, 2], pads=[1, 1, 1, 1]),
    case(
        "ConvTranspose",
        X,
        fixed(values(4, 3, 3, 3)),
        strides=[2, 2],
        output_padding=[1, 1],
        pads=[1, 1, 1, 1],
        variant="more",
    ),
    case("ConvTranspose", X, fixed(values(4, 2, 2, 2)), group=2, strides=[2, 2], variant="groups"),
    case("ConvTranspose", X, fixed(values(4, 3, 3, 3)), fixed(values(3)), pads=[0, 1, 2, 1], variant="uneven"),
    case("ConvTranspose", X, fixed(values(4, 3, 3, 3)), strides=[2, 2], output_shape=[12, 10], variant="shape"),
    case("ConvTranspose", X, fixed(values(4, 3, 3, 3)), strides=[2, 2], auto_pad="SAME_UPPER", variant="same"),
    case("ConvTranspose", values(1, 4, 6), fixed(values(4, 3, 3)), dilations=[2], variant="1d"),
    case("Gemm", values(1, 4), fixed(values(4, 3)), fixed(values(3))),
    case("Gemm", values(1, 4), fixed(values(3, 4)), fixed(values(3)), transB=1, alpha=0.5, beta=2.0, variant="scaled"),
    case("Gemm", values(4, 1), fixed(values(4, 3)), transA=1, variant="left"),
    case("Gemm", values(2, 4), values(3, 4), values(2, 1), transB=1, alpha=0.5, beta=2.0, variant="dynamic"),
    case("MatMul", values(1, 5, 4), fixed(values(4, 3))),
    case("MatMul", values(1, 5, 4), values(1, 4, 3), variant="dynamic"),
    case("MatMul", values(4), fixed(values(4, 3)), variant="vector"),
    case("Einsum", values(1, 5, 4), values(1, 3, 4), equation="bij,bkj->bik"),
    # Pools
    case("MaxPool", X, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    case("MaxPool", X, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1, variant="ceil"),
    case("MaxPool", X, kernel_shape=[3, 3], pads=[0, 1, 2, 1], variant="uneven"),
    case("MaxPool", X, kernel_shape=[2, 2], dilations=[2, 2], variant="dilated"),
    case("MaxPool", X, kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER", variant="same"),
    case("MaxPool", values(1, 4, 9), kernel_shape=[3], strides=[2], variant="1d"),
    case("AveragePool", X, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    case("AveragePool", X, kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1, variant="include"),
    case("AveragePool", X, kernel_shape=[3, 3], pads=[0, 1, 2, 1], variant="uneven"),
    case("AveragePool", X, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1, variant="ceil", opset=19),
    case("AveragePool", X, kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_UPPER", variant="same"),
    case("LpPool", X, kernel_shape=[2, 2], strides=[2, 2], p=2),
    *(case(name, X) for name in ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")),
    case("GlobalAveragePool", values(1, 4, 7), variant="1d"),
    # Normalisation
    case("BatchNormalization", X, *(fixed(values(4, seed=i)) for i in range(3)), fixed(values(4, low=0.5, seed=4))),
    case("InstanceNormalization", X, fixed(values(4)), fixed(values(4, seed=1))),
    case("LayerNormalization", X, fixed(values(5)), fixed(values(5, seed=1))),
    case("LayerNormalization", X, fixed(values(6, 5)), axis=2, epsilon=1e-3, variant="two-axes"),
    case("GroupNormalization", X, fixed(values(2)), fixed(values(2, seed=1)), num_groups=2, opset=18),
    case("GroupNormalization", X, fixed(values(4)), fixed(values(4, seed=1)), num_groups=2, opset=21),
    case("LRN", X, size=3),
    case("LpNormalization", X, axis=1, p=2),
    case("MeanVarianceNormalization", X),
    # Reductions
    *(case(name, X, axes=[2, 3], keepdims=0) for name in REDUCE),
    *(case(name, X, [-1], opset=18) for name in REDUCE),
    case("ReduceLogSum", POSITIVE, axes=[1]),
    case("ReduceSum", X, [1, 2], keepdims=0),
    case("ReduceSum", X, variant="all"),
    case("ReduceSum", X, noop_with_empty_axes=1, variant="none"),
    case("ReduceSum", X, axes=[1], opset=11),
    *(case(name, X, axis=1, keepdims=0) for name in ("ArgMax", "ArgMin")),
    case("ArgMax", np.ones((2, 3), dtype=np.float32), axis=1, select_last_index=1, variant="last"),
    case("CumSum", X, fixed(np.int64(2))),
    case("CumSum", X, fixed(np.int64(2)), exclusive=1, reverse=1, variant="reverse"),
    case("TopK", X, [2], outputs=2, axis=2),
    case("TopK", X, [2], outputs=2, largest=0, variant="smallest"),
    # Shapes
    case("Reshape", X, [0, -1, 3]),
    case("Reshape", X, [2, 60], variant="plain"),
    case("Flatten", X, axis=2),
    case("Transpose", X, perm=[0, 2, 3, 1]),
    case("Transpose", POSITIVE, variant="reversed"),
    case("Squeeze", X, [0]),
    case("Squeeze", X, axes=[0], opset=11),
    case("Squeeze", X, variant="all"),
    case("Unsqueeze", X, [0, -1]),
    case("Unsqueeze", X, axes=[1, 3], opset=11),
    case("Concat", X, values(1, 2, 6, 5), axis=1),
    case("Split", X, [1, 3], outputs=2, axis=1),
    case("Split", X, outputs=2, axis=1, split=[1, 3], opset=11),
    case("Split", X, outputs=2, axis=1, variant="even"),
    case("Split", X, outputs=2, axis=3, num_outputs=2, opset=18, variant="uneven"),
    case("Expand", values(1, 4, 1), [3, 1, 5]),
    case("Expand", values(1, 4, 1), [4, 2], variant="shorter"),
    case("Tile", POSITIVE, [2, 3]),
    case("Shape", X),
    case("Shape", X, start=1, end=-1, variant="part"),
    case("Size", X),
    case("EyeLike", POSITIVE, k=1),
    case("Trilu", POSITIVE, fixed(np.int64(1))),
    case("Trilu", POSITIVE, upper=0, variant="lower"),
    case("DepthToSpace", X, blocksize=2),
    case("DepthToSpace", X, blocksize=2, mode="CRD", variant="crd"),
    case("SpaceToDepth", values(1, 4, 6, 4), blocksize=2),
    # Indices
    case("Slice", X, [1, -4], [3, 100], [1, 2], [1, 2]),
    case("Slice", X, [-1], [-100], [3], [-2], variant="backward"),
    case("Slice", X, [0], [0], variant="empty"),
    case("Slice", X, [0, 1], [1, 3], variant="no-axes"),
    case("Gather", TABLE, np.array([[1, 2, 9]])),
    case("Gather", X, fixed(np.int64(-1)), axis=3, variant="number"),
    case("Gather", X, [1, 2, 3], axis=1, variant="consecutive"),
    case("Gather", X, [3, 0, 0], axis=1, variant="constant"),
    case("Gather", X, np.array([2, -1]), axis=2, variant="dynamic"),
    case("ReverseSequence", X, [3], batch_axis=0, time_axis=1),
    case("GatherElements", POSITIVE, np.array([[0, -1, 1]]), axis=1),
    case("GatherND", X, np.array([[0, 1], [0, -2]])),
    case("ScatterElements", POSITIVE, np.array([[2, 0]]), values(1, 2, seed=1), axis=1),
    case("ScatterElements", POSITIVE, np.array([[2, 2]]), values(1, 2, seed=1), axis=1, reduction="add", opset=18),
    case("ScatterND", values(4, 3), np.array([[1], [-1]]), values(2, 3, seed=1)),
    case("ScatterND", values(4, 3), np.array([[1], [1]]), values(2, 3, seed=1), reduction="add", opset=18),
    case("OneHot", np.array([0, 2, -1]), [4], fixed(np.array([0.0, 2.0], dtype=np.float32))),
    case("OneHot", np.array([[0, 2]]), [4], fixed(np.array([0.0, 2.0], dtype=np.float32)), axis=1, variant="axis"),
    case("Pad", X, [0, 0, 1, 2, 0, 0, 3, 0], fixed(np.float32(1.5))),
    case("Pad", X, [0, 0, -1, 2, 0, 0, 3, 0], variant="crop"),
    case("Pad", X, [1, 2, 3, 0], None, [2, 3], opset=18, variant="axes"),
    case("Pad", X, [0, 0, 1, 2, 0, 0, 3, 0], mode="reflect", variant="reflect"),
    case("Pad", X, [0, 0, 1, 2, 0, 0, 3, 0], mode="edge", variant="edge"),
    case("Pad", X, [0, 1, 1, 0, 0, 2, 1, 0], mode="reflect", variant="channels"),
    case("Pad", X, [0, 1, 1, 0, 0, 2, 1, 0], mode="edge", variant="edge-channels"),
    case("Pad", X, [0, 1, 1, 0, 0, 2, 1, 0], mode="wrap", opset=19, variant="wrap"),
    # Resize
    *(
        case(
            "Resize",
            X,
            None,
            None,
            [1, 4, 9, 10],
            mode=mode,
            coordinate_transformation_mode=transform,
            variant=f"{mode}-{transform}",
        )
        for mode in ("nearest", "linear", "cubic")
        for transform in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
    ),
    *(
        case("Resize", X, None, None, [1, 4, 3, 2], nearest_mode=rounding, variant=f"down-{rounding}")
        for rounding in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    ),
    case("Resize", X, None, fixed(np.array([1, 1, 1.5, 1.5], dtype=np.float32)), mode="linear", variant="scales"),
    case(
        *("Resize", X, None, fixed(np.array([1, 1, 2, 2], dtype=np.float32))),
        variant="doubled",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    ),
    case("GridSample", X, values(1, 3, 3, 2, low=-1, high=1)),
    case("GridSample", X, values(1, 3, 3, 2, low=-1, high=1), padding_mode="border", align_corners=1, variant="border"),
    # Recurrent
    case("LSTM", SEQUENCE, LSTM_W, LSTM_R, LSTM_B, hidden_size=3, outputs=3),
    case("LSTM", SEQUENCE, LSTM_W, LSTM_R, hidden_size=3, outputs=3, variant="no-bias"),
    case("LSTM", SEQUENCE, LSTM_W, LSTM_R, LSTM_B, None, STATE, STATE * 2, hidden_size=3, outputs=3, variant="state"),
    case("LSTM", SEQUENCE, LSTM_W, LSTM_R, LSTM_B, hidden_size=3, outputs=3, direction="reverse", variant="reverse"),
    case("LSTM", SEQUENCE, PAIR_W, PAIR_R, PAIR_B, hidden_size=3, outputs=3, direction="bidirectional", variant="both"),
    case("GRU", SEQUENCE, GRU_W, GRU_R, GRU_B, hidden_size=3, linear_before_reset=1, outputs=2),
    case(
        "GRU",
        SEQUENCE,
        GRU_W,
        GRU_R,
        GRU_B,
        None,
        STATE,
        hidden_size=3,
        linear_before_reset=1,
        outputs=2,
        variant="state",
    ),
    case("RNN", SEQUENCE, RNN_W, RNN_R, RNN_B, hidden_size=3, outputs=2),
    case("RNN", SEQUENCE, RNN_W, RNN_R, RNN_B, hidden_size=3, activations=["Relu"], outputs=2, variant="relu"),
]

CONSTANT_CASES = [
    case("Constant", value_floats=[1.0, 2.0], variant="floats"),
    case("Constant", value_ints=[1, 2], variant="ints"),
    case("Constant", value_float=1.5, variant="float"),
    case("Constant", value_int=3, variant="int"),
    case("Constant", value=onnx.numpy_helper.from_array(values(2, 3)), variant="tensor"),
    case("ConstantOfShape", [2, 3], value=onnx.numpy_helper.from_array(np.array([2.5], dtype=np.float32))),
    case("ConstantOfShape", [2, 3], variant="zeros"),
    case("Range", fixed(np.int64(1)), fixed(np.int64(9)), fixed(np.int64(3))),
    case("NonZero", fixed(np.array([[1, 0], [0, 2]], dtype=np.int64))),
]
"""Nodes that depend on no input: the model adds their result to one."""


def model_of(one: Case) -> onnx.ModelProto:
    count = max([*one.inputs, *one.constants, -1]) + 1
    names = [f"x{i}" if i in one.inputs else f"c{i}" if i in one.constants else "" for i in range(count)]
    outs = [f"y{i}" for i in range(one.outputs)]
    node = onnx.helper.make_node(one.operator, names, outs, name=f"block/{one.operator}", **one.attributes)
    inputs = [
        onnx.helper.make_tensor_value_info(f"x{i}", onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for i, array in one.inputs.items()
    ]
    weights = [onnx.numpy_helper.from_array(np.asarray(array), f"c{i}") for i, array in one.constants.items()]
    outputs = [onnx.helper.make_empty_tensor_value_info(name) for name in outs]
    graph = onnx.helper.make_graph([node], "g", inputs, outputs, weights)
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", one.opset)], ir_version=10)
    return onnx.shape_inference.infer_shapes(made)


def run_onnxruntime(model: onnx.ModelProto, feeds: dict[str, Any]) -> list[Any]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def run_imported(model: onnx.ModelProto, feeds: dict[str, Any]) -> list[Any]:
    module, examples = import_model(model, "net.onnx")
    program = export_module(module, examples, "net.onnx")
    with torch.no_grad():
        result = program.module(check_guards=False)(*(torch.from_numpy(array) for array in feeds.values()))
    return [tensor.numpy() for tensor in (result if isinstance(result, tuple) else (result,))]


def assert_alike(expected: list[Any], got: list[Any]) -> None:
    assert [array.shape for array in got] == [array.shape for array in expected]
    assert [array.dtype for array in got] == [array.dtype for array in expected]
    for left, right in zip(expected, got, strict=True):
        np.testing.assert_allclose(right, left, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("one", CASES, ids=lambda one: one.id)
def test_an_imported_operator_computes_what_onnxruntime_computes(one: Case):
    model = model_of(one)
    feeds = {f"x{i}": array for i, array in one.inputs.items()}
    assert_alike(run_onnxruntime(model, feeds), run_imported(model, feeds))


@pytest.mark.parametrize("one", CONSTANT_CASES, ids=lambda one: one.id)
def test_an_imported_constant_has_onnxruntimes_value(one: Case):
    model = model_of(one)
    expected = run_onnxruntime(model, {})
    module, _ = import_model(model, "net.onnx")
    assert_alike(expected, [module().numpy()])


def test_every_operator_of_the_table_is_tested():
    assert {one.operator for one in (*CASES, *CONSTANT_CASES)} == set(OPERATORS)
