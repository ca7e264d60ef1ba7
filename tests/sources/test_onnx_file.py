"""ONNX files, through the worker's entry: shapes are fixed, facts counted, faults told."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgekit.errors import ModelError
from edgekit.sources import onnx_facts
from edgekit.sources.base import CaptureRequest
from edgekit.sources.capture import run
from edgekit.task.input_sizes import InputSizes
from edgekit.workers.structure import unstructure
from edgekit.workers.worker import silent

HOW = (
    "Add a function that returns them and name it in edgekit.toml:\n"
    "    def example_inputs():\n"
    "        return (torch.zeros(1, 3, 224, 224),)\n"
    '    [model] example_inputs = "model.py:example_inputs"\n'
    "or on the command line: --example-inputs model.py:example_inputs"
)


def weight(name: str, *shape: int) -> Any:
    return numpy_helper.from_array(np.random.default_rng(0).normal(size=shape).astype(np.float32), name)


def model_of(
    nodes: list[Any], inputs: dict[str, Any], outputs: list[str], weights: list[Any], opset: int = 17
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def cnn(shape: Any = ("N", 3, 8, 8), opset: int = 17) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="/features/conv/Conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="/features/act/Relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Shape", ["p"], ["s"]),
        helper.make_node("Slice", ["s", "zero", "one"], ["n"]),
        helper.make_node("Concat", ["n", "minus"], ["f"], axis=0),
        helper.make_node("Reshape", ["p", "f"], ["v"]),
        helper.make_node("MatMul", ["v", "m"], ["h"], name="/head/MatMul"),
        helper.make_node("Add", ["h", "hb"], ["y"]),
    ]
    integers = [numpy_helper.from_array(np.array([v]), n) for n, v in (("zero", 0), ("one", 1), ("minus", -1))]
    return model_of(
        nodes,
        {"x": shape},
        ["y"],
        [weight("w", 4, 3, 3, 3), weight("b", 4), weight("m", 4, 5), weight("hb", 5), *integers],
        opset,
    )


def capture(folder: Path, model: onnx.ModelProto | bytes, **settings: Any) -> dict[str, Any]:
    (folder / "net.onnx").write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    request = CaptureRequest(source="net.onnx", base=folder, output=folder / "out", name="net", **settings)
    return unstructure(run(request, silent))


def message_of(folder: Path, model: onnx.ModelProto | bytes, **settings: Any) -> str:
    with pytest.raises(ModelError) as caught:
        capture(folder, model, **settings)
    return caught.value.message


def give(folder: Path, value: str) -> str:
    (folder / "data.py").write_text(textwrap.dedent(f"import torch\ndef give():\n    return {value}\n"))
    return "data.py:give"


def test_a_graph_is_captured_with_batch_one_and_its_facts(tmp_path):
    model = cnn()
    model.metadata_props.add(key="labels", value="a,b")
    record = capture(tmp_path, model)
    assert (record["source_kind"], record["kind"], Path(record["path"]).name) == ("onnx", "onnx", "float.onnx")
    assert record["inputs"] == [
        {
            "name": "x",
            "shape": [1, 3, 8, 8],
            "dtype": "float32",
            "layout": "NCHW",
            "scale": None,
            "zero_point": None,
            "axes": [],
            "largest": [],
        }
    ]
    assert [(spec["name"], spec["shape"]) for spec in record["outputs"]] == [("y", [1, 5])]
    assert record["parameters"] == 4 * 27 + 4 + 20 + 5
    assert record["macs"] == 64 * 4 * 27 + 20
    assert (record["family"], record["family_evidence"]) == ("cnn", "1 convolution, 1 linear layer")
    assert record["metadata"] == {"labels": "a,b"}
    kept = onnx.load(str(tmp_path / "out" / "float.onnx"))
    assert [dim.dim_value for dim in kept.graph.input[0].type.tensor_type.shape.dim] == [1, 3, 8, 8]


def test_a_graph_can_be_captured_as_a_torch_program(tmp_path):
    record = capture(tmp_path, cnn(), as_torch=True)
    assert (record["source_kind"], record["kind"], Path(record["path"]).name) == ("onnx", "pt2", "float.pt2")
    assert [spec["name"] for spec in (*record["inputs"], *record["outputs"])] == ["x", "y"]
    assert record["macs"] == 64 * 4 * 27 + 20


def test_names_of_inner_tensors_do_not_change_the_digest(tmp_path):
    one, other = cnn(), cnn()
    for node in other.graph.node:
        node.name = ""
        node.input[:] = [{"c": "other"}.get(name, name) for name in node.input]
        node.output[:] = [{"c": "other"}.get(name, name) for name in node.output]
    assert capture(tmp_path, one)["digest"] == capture(tmp_path, other)["digest"]


def test_other_weights_give_another_digest():
    one, other = cnn(), cnn()
    other.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.ones((4, 3, 3, 3), dtype=np.float32), "w"))
    assert onnx_facts.digest(one) != onnx_facts.digest(other)


def test_a_batch_that_stands_elsewhere_too_is_one_there(tmp_path):
    model = model_of([helper.make_node("Add", ["a", "b"], ["y"])], {"a": ("N", "N", 2), "b": ("N", 1, 2)}, ["y"], [])
    assert [spec["shape"] for spec in capture(tmp_path, model)["inputs"]] == [[1, 1, 2], [1, 1, 2]]


def test_multiply_accumulates_are_known_where_the_graph_computes_its_shapes(tmp_path):
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Slice", ["s", "two", "four"], ["hw"]),
        helper.make_node("Sub", ["hw", "hw"], ["zeros"]),
        helper.make_node("Add", ["zeros", "ones"], ["ends"]),
        helper.make_node("ConstantOfShape", ["sizes"], ["begins"], value=numpy_helper.from_array(np.array([0]))),
        helper.make_node("Concat", ["begins", "ends"], ["pads"], axis=0),
        helper.make_node("Pad", ["x", "pads"], ["p"]),
        helper.make_node("Conv", ["p", "w"], ["y"]),
    ]
    integers = {"two": [2], "four": [4], "ones": [1, 1], "sizes": [6]}
    weights = [numpy_helper.from_array(np.array(value), name) for name, value in integers.items()]
    record = capture(tmp_path, model_of(nodes, {"x": ("N", 3, 8, 8)}, ["y"], [weight("w", 4, 3, 2, 2), *weights]))
    assert record["macs"] == 64 * 4 * 12
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["float.onnx", "model.json"]


def test_free_sizes_come_from_the_example_inputs(tmp_path):
    reference = give(tmp_path, "torch.zeros(1, 3, 10, 12)")
    record = capture(tmp_path, cnn(("N", 3, "H", "W")), example_inputs=reference)
    assert record["inputs"][0]["shape"] == [1, 3, 10, 12]


def test_free_sizes_without_example_inputs_are_refused(tmp_path):
    assert message_of(tmp_path, cnn(("N", 3, "H", None))) == (
        'net.onnx: the input "x" has the shape (?, 3, ?, ?) with free sizes, and artifacts have fixed shapes, and the '
        f"task has neither example inputs nor calibration data. Give the sizes: --input x=1x3x224x224\nOr a{HOW[1:]}"
    )


def test_example_inputs_that_do_not_fit_are_refused(tmp_path):
    reference = give(tmp_path, "torch.zeros(1, 3, 10)")
    assert message_of(tmp_path, cnn(("N", 3, "H", "W")), example_inputs=reference) == (
        'net.onnx: the example inputs give (1, 3, 10) for the input "x"; expected (?, 3, ?, ?).'
    )


def test_more_example_inputs_than_inputs_are_refused(tmp_path):
    reference = give(tmp_path, "torch.zeros(1, 3, 10, 8), torch.zeros(1)")
    assert message_of(tmp_path, cnn(("N", 3, "H", "W")), example_inputs=reference) == (
        "net.onnx takes 1 inputs (x), and the example inputs are 2."
    )


def test_a_fixed_first_size_is_the_files(tmp_path):
    assert capture(tmp_path, cnn((4, 3, 8, 8)))["inputs"][0]["shape"] == [4, 3, 8, 8]


def test_a_first_size_that_stands_elsewhere_too_counts_nodes_and_is_no_batch(tmp_path):
    def graph():
        nodes = [helper.make_node("MatMul", ["adjacency", "x"], ["y"])]
        return model_of(nodes, {"x": ("n", 4), "adjacency": ("n", "n")}, ["y"], [])

    got = message_of(tmp_path, graph())
    assert got.startswith('net.onnx: the input "x" has the shape (?, 4) with free sizes, ')
    assert "--input x=128x4 --input adjacency=128x128\n" in got
    sizes = (InputSizes(name="x", shape=(24, 4)), InputSizes(name="adjacency", shape=(24, 24)))
    record = capture(tmp_path, graph(), input_sizes=sizes)
    assert [spec["shape"] for spec in record["inputs"]] == [[24, 4], [24, 24]]


def test_a_free_length_without_other_sizes_is_not_taken_for_a_batch(tmp_path):
    def sound():
        return model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": ("samples",)}, ["y"], [])

    assert 'the input "x" has the shape (?,) with free sizes' in message_of(tmp_path, sound())
    reference = give(tmp_path, "torch.zeros(400)")
    assert capture(tmp_path, sound(), example_inputs=reference)["inputs"][0]["shape"] == [400]


def test_a_state_with_the_batch_on_its_second_axis_and_a_single_number_are_kept(tmp_path):
    nodes = [helper.make_node("Add", ["h", "x"], ["s"]), helper.make_node("Mul", ["s", "rate"], ["y"])]
    record = capture(tmp_path, model_of(nodes, {"x": ("batch", 4), "h": (2, "batch", 4), "rate": ()}, ["y"], []))
    assert [spec["shape"] for spec in record["inputs"]] == [[1, 4], [2, 1, 4], []]


def test_a_batch_that_is_a_constant_inside_is_reported(tmp_path):
    model = model_of(
        [helper.make_node("Reshape", ["x", "s"], ["r"]), helper.make_node("NonZero", ["r"], ["y"])],
        {"x": ("N", 4)},
        ["y"],
        [numpy_helper.from_array(np.array([4, 2, 4]), "s")],
    )
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    got = message_of(tmp_path, model)
    assert got.startswith("net.onnx: onnxruntime cannot run the model with inputs of x (1, 4): ")
    assert got.endswith(
        "\nIf the graph needs other sizes, give them with --input. If it holds another batch as a constant, export it "
        "again with batch 1."
    )


def test_an_input_without_a_shape_takes_that_of_the_example_inputs(tmp_path):
    model = cnn()
    model.graph.input[0].type.tensor_type.ClearField("shape")
    how = HOW.replace("1, 3, 224, 224", "1, 128")
    assert message_of(tmp_path, model) == (
        'net.onnx: the input "x" has no shape, and artifacts have fixed shapes, and the task has neither example '
        f"inputs nor calibration data. Give the sizes: --input x=1x128\nOr a{how[1:]}"
    )
    record = capture(tmp_path, model, example_inputs=give(tmp_path, "torch.zeros(1, 3, 8, 8)"))
    assert record["inputs"][0]["shape"] == [1, 3, 8, 8]
    assert capture(tmp_path, model, input_sizes=(InputSizes(name="x", shape=(1, 3, 8, 9)),))["inputs"][0]["shape"] == [
        1, 3, 8, 9,
    ]  # fmt: skip


def test_weights_that_an_old_file_lists_among_its_inputs_are_weights(tmp_path):
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Relu", ["c"], ["y"])]
    model = model_of(nodes, {"x": ("N", 3, 8, 8)}, ["y"], [weight("w", 4, 3, 3, 3)], opset=7)
    model.ir_version = 3
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    record = capture(tmp_path, model)
    assert [spec["name"] for spec in record["inputs"]] == ["x"]
    onnx.checker.check_model(str(tmp_path / "out" / "float.onnx"))


def test_a_size_of_minus_one_is_free(tmp_path):
    model = cnn((1, 3, 8, 8))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    assert capture(tmp_path, model)["inputs"][0]["shape"] == [1, 3, 8, 8]


def test_functions_are_replaced_by_their_nodes(tmp_path):
    function = helper.make_function(
        "own", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    model = model_of([helper.make_node("Twice", ["x"], ["y"], domain="own")], {"x": ("N", 4)}, ["y"], [])
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("own", 1))
    capture(tmp_path, model)
    assert [node.op_type for node in onnx.load(str(tmp_path / "out" / "float.onnx")).graph.node] == ["Add"]


def branches() -> onnx.ModelProto:
    """An If on the sum of the input: a matrix of 40 weights, or one of 20 behind a constant."""
    bodies = {}
    for name, columns in (("then", 10), ("else", 5)):
        nodes = [helper.make_node("MatMul", ["x", f"{name}_w"], [f"{name}_m"])]
        nodes.append(helper.make_node("ReduceSum", [f"{name}_m"], [f"{name}_y"]))
        output = helper.make_tensor_value_info(f"{name}_y", onnx.TensorProto.FLOAT, None)
        bodies[f"{name}_branch"] = helper.make_graph(nodes, name, [], [output], [weight(f"{name}_w", 4, columns)])
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0),
        helper.make_node("Greater", ["s", "zero"], ["c"]),
        helper.make_node("If", ["c"], ["y"], name="choice", **bodies),
    ]
    return model_of(nodes, {"x": ("N", 4)}, ["y"], [numpy_helper.from_array(np.float32(0), "zero")])


def test_weights_and_work_of_branches_are_counted(tmp_path):
    record = capture(tmp_path, branches())
    # Both branches lie in the file; a device must bear the heavier one. The bound of the comparison is one more.
    assert (record["parameters"], record["macs"]) == (40 + 20 + 1, 40)


def test_an_input_that_is_no_tensor_is_refused(tmp_path):
    model = model_of(
        [helper.make_node("SequenceAt", ["x", "i"], ["y"])], {}, ["y"], [numpy_helper.from_array(np.array(0), "i")]
    )
    model.graph.input.append(helper.make_tensor_sequence_value_info("x", onnx.TensorProto.FLOAT, [1, 2]))
    assert message_of(tmp_path, model) == 'net.onnx: the input "x" is no tensor; only tensors can be inputs.'


def test_an_output_of_strings_is_refused(tmp_path):
    model = model_of([helper.make_node("Cast", ["x"], ["y"], to=onnx.TensorProto.STRING)], {"x": (1, 2)}, ["y"], [])
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.STRING
    assert message_of(tmp_path, model) == (
        'net.onnx: the tensor "y" holds strings; on-device formats hold numbers only.'
    )


def test_a_cut_off_file_is_refused(tmp_path):
    data = cnn().SerializeToString()[:-7]
    assert message_of(tmp_path, data) == (
        f"net.onnx cannot be read as an ONNX file ({len(data)} bytes): it is damaged or cut off. "
        "Copy or export the file again."
    )


def test_a_file_without_a_graph_is_refused(tmp_path):
    assert message_of(tmp_path, onnx.ModelProto(ir_version=10)) == (
        "net.onnx holds no graph: it is no ONNX model, or cut off. Copy or export the file again."
    )


def test_a_tensor_of_a_type_that_onnx_does_not_know_is_refused(tmp_path):
    model = cnn()
    model.graph.input[0].type.tensor_type.elem_type = 65535
    assert message_of(tmp_path, model) == (
        f'net.onnx: the tensor "{model.graph.input[0].name}" is of type number 65535, which onnx {onnx.__version__} '
        "does not know. The file is damaged, or of a newer onnx: copy or export it again."
    )


def test_a_file_that_breaks_the_standard_is_refused(tmp_path):
    model = cnn()
    model.graph.node[1].input[0] = "nowhere"
    got = message_of(tmp_path, model)
    assert got.startswith("net.onnx is no valid ONNX model: Nodes in a graph must be topologically sorted")
    assert got.endswith("\nExport it again, with a newer exporter if there is one.")


def test_a_tensor_whose_content_does_not_fill_its_shape_is_refused(tmp_path):
    model = model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": (1, 4)}, ["y"], [weight("w", 4, 5)])
    model.graph.initializer[0].dims[1] = 3  # the checker sees what is too small only
    got = message_of(tmp_path, model)
    assert got.startswith("net.onnx: its graph cannot be read (ValueError: cannot reshape array of size ")
    assert got.endswith("or built in a way that edgekit does not know: copy or export the file again.")


def test_an_operator_that_onnxruntime_does_not_know_is_reported(tmp_path):
    nodes = [helper.make_node("Mine", ["x"], ["m"], domain="mine"), helper.make_node("MatMul", ["m", "w"], ["y"])]
    model = model_of(nodes, {"x": ("N", 4)}, ["y"], [weight("w", 4, 5)])
    model.opset_import.append(helper.make_opsetid("mine", 1))
    got = message_of(tmp_path, model)
    assert got.startswith("net.onnx: onnxruntime cannot load the model: ")
    assert got.endswith(
        "\nAn operator of another domain or of a newer opset is the usual cause. Export the model without it."
    )


def test_weights_in_a_missing_file_are_reported(tmp_path):
    onnx.save(cnn(), str(tmp_path / "big.onnx"), save_as_external_data=True, location="big.data", size_threshold=0)
    (tmp_path / "big.data").unlink()
    got = message_of(tmp_path, (tmp_path / "big.onnx").read_bytes())
    assert got.startswith("net.onnx: its weights lie in a second file that cannot be read: ")
    assert got.endswith(
        "\nPut that file beside the .onnx file, or save the model in one file: onnx.save(onnx.load(path), path)."
    )


def test_a_second_file_whose_name_is_no_text_is_reported(tmp_path):
    onnx.save(cnn(), str(tmp_path / "big.onnx"), save_as_external_data=True, location="big.data", size_threshold=0)
    content = (tmp_path / "big.onnx").read_bytes().replace(b"big.data", b"big\xaedata")
    assert message_of(tmp_path, content) == (
        "net.onnx: the name of a second file with its weights is not UTF-8: it is damaged, or the model was saved "
        "under such a name. Save it again under a plain name: onnx.save(model, path)."
    )


def test_weights_in_a_second_file_are_read(tmp_path):
    onnx.save(cnn(), str(tmp_path / "big.onnx"), save_as_external_data=True, location="big.data", size_threshold=0)
    record = capture(tmp_path, (tmp_path / "big.onnx").read_bytes())
    assert record["digest"] == capture(tmp_path, cnn())["digest"]


def test_a_quantized_graph_is_refused(tmp_path):
    scale = numpy_helper.from_array(np.float32(0.1), "s")
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s"], ["y"]),
    ]
    assert message_of(tmp_path, model_of(nodes, {"x": (1, 2)}, ["y"], [scale])) == (
        "net.onnx is quantized already (it holds DequantizeLinear, QuantizeLinear); edgekit starts from the float "
        "model. Give that one, or check this artifact with edgekit validate."
    )


def node_macs(node: Any, inputs: dict[str, Any], weights: list[Any]) -> tuple[str, int | None]:
    model = onnx.shape_inference.infer_shapes(model_of([node], inputs, list(node.output), weights))
    (found,) = onnx_facts.operations(model)
    return found.role, found.macs


@pytest.mark.parametrize(
    ("node", "inputs", "weights", "expected"),
    [
        (
            helper.make_node("Conv", ["x", "w"], ["y"]),
            {"x": (1, 3, 8, 8)},
            [weight("w", 4, 3, 3, 3)],
            ("convolution", 36 * 4 * 27),
        ),
        (
            helper.make_node("Conv", ["x", "w"], ["y"], group=3),
            {"x": (1, 3, 8, 8)},
            [weight("w", 3, 1, 3, 3)],
            ("depthwise", 36 * 27),
        ),
        (
            helper.make_node("ConvTranspose", ["x", "w"], ["y"]),
            {"x": (1, 3, 8, 8)},
            [weight("w", 3, 4, 3, 3)],
            ("convolution", 64 * 3 * 36),
        ),
        (helper.make_node("Gemm", ["x", "w"], ["y"]), {"x": (1, 4)}, [weight("w", 4, 5)], ("linear", 20)),
        (helper.make_node("Gemm", ["x", "w"], ["y"], transA=1), {"x": (4, 1)}, [weight("w", 4, 5)], ("linear", 20)),
        (helper.make_node("MatMul", ["a", "b"], ["y"]), {"a": (1, 2, 4), "b": (1, 4, 5)}, [], ("matmul", 40)),
        (
            helper.make_node("Einsum", ["a", "b"], ["y"], equation="bij,bkj->bik"),
            {"a": (1, 2, 4), "b": (1, 5, 4)},
            [],
            ("matmul", 40),
        ),
        (
            helper.make_node("Einsum", ["a", "b"], ["y"], equation="...j,...j->..."),
            {"a": (1, 2, 4), "b": (1, 2, 4)},
            [],
            ("matmul", None),
        ),
        (
            helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=3),
            {"x": (5, 1, 4)},
            [weight("w", 1, 12, 4), weight("r", 1, 12, 3)],
            ("recurrent", 5 * (12 * 4 + 12 * 3)),
        ),
        (helper.make_node("Softmax", ["x"], ["y"]), {"x": (1, 4)}, [], ("softmax", 0)),
        (
            helper.make_node("Gather", ["w", "i"], ["y"]),
            {},
            [weight("w", 9, 4), numpy_helper.from_array(np.array([1]), "i")],
            ("embedding", 0),
        ),
    ],
    ids=[
        "conv",
        "depthwise",
        "transposed",
        "gemm",
        "gemm-left",
        "matmul",
        "einsum",
        "einsum-dots",
        "lstm",
        "softmax",
        "gather",
    ],
)
def test_multiply_accumulates_are_exact(node, inputs, weights, expected):
    assert node_macs(node, inputs, weights) == expected
