"""What the Core ML evaluator says about packages that are broken or of another kind."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest

from edgekit.errors import ArtifactError, MissingDependencyError
from edgekit.validators.coreml_evaluator import load

REMEDY = "Copy the whole .mlpackage folder, or export it again."
MODEL = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"


@pytest.fixture
def package(packages, tmp_path):
    """A copy of a good package, to break."""
    return shutil.copytree(packages / "network.mlpackage", tmp_path / "model.mlpackage")


def message_of(path):
    with pytest.raises(ArtifactError) as caught:
        load(path)
    return caught.value.message


def edited(package, change):
    """Changes the protobuf of a package."""
    from edgekit.validators.coreml_evaluator.protobuf_classes import protobuf_classes

    spec = protobuf_classes().model.Model()
    spec.ParseFromString((package / MODEL).read_bytes())
    change(spec)
    (package / MODEL).write_bytes(spec.SerializeToString())


def first_constant(spec, *, in_file):
    block = spec.mlProgram.functions["main"].block_specializations["CoreML5"]
    for operation in block.operations:
        if operation.type == "const":
            value = operation.attributes["val"]
            if (value.WhichOneof("value") == "blobFileValue") == in_file:
                return operation.outputs[0].name, value
    raise AssertionError("the package has no such constant")


def test_a_path_without_a_package(tmp_path):
    path = tmp_path / "none.mlpackage"
    assert message_of(path) == f"{path}: there is no such package. Expected a .mlpackage folder or a .mlmodel file."


def test_an_empty_file(tmp_path):
    path = tmp_path / "model.mlmodel"
    path.write_bytes(b"")
    assert message_of(path) == (
        f"{path}: it holds a model of type none; the Core ML evaluator runs ML Programs and neural networks, "
        "alone or before a non-maximum suppression. Validate this model on a Mac."
    )


def test_a_package_without_a_manifest(package):
    (package / "Manifest.json").unlink()
    assert message_of(package) == f"{package}: the package has no Manifest.json. {REMEDY}"


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        ("{}", "KeyError: 'itemInfoEntries'"),
        ("[]", "TypeError: list indices must be integers or slices, not str"),
    ],
    ids=["no model", "a list"],
)
def test_a_manifest_that_names_no_model(content, detail, package):
    (package / "Manifest.json").write_text(content)
    assert message_of(package) == f"{package / 'Manifest.json'}: the manifest names no model ({detail}). {REMEDY}"


def test_a_manifest_that_is_no_json(package):
    manifest = package / "Manifest.json"
    manifest.write_text("{")
    problem = "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"
    assert message_of(package) == f"{manifest} is not valid JSON: {problem}. {REMEDY}"


def test_a_package_whose_model_is_missing(package):
    (package / MODEL).unlink()
    assert message_of(package) == f"{package / MODEL}: the package's model file is missing. {REMEDY}"


def test_a_truncated_model(package):
    content = (package / MODEL).read_bytes()
    (package / MODEL).write_bytes(content[: len(content) // 2])
    message = message_of(package)
    assert message.startswith(f"{package / MODEL}: not a Core ML model, or a truncated one (")
    assert message.endswith(f"). {REMEDY}")


def test_a_model_of_trees_in_a_package(package):
    edited(package, lambda spec: spec.treeEnsembleClassifier.SetInParent())
    assert message_of(package) == (
        f"{package}: it holds a model of type treeEnsembleClassifier; the Core ML evaluator runs ML Programs and "
        "neural networks, alone or before a non-maximum suppression. Validate this model on a Mac."
    )


def test_an_empty_model(package):
    (package / MODEL).write_bytes(b"")
    assert message_of(package) == (
        f"{package}: it holds a model of type none; the Core ML evaluator runs ML Programs and neural networks, "
        "alone or before a non-maximum suppression. Validate this model on a Mac."
    )


def test_a_package_without_its_weight_file(package):
    (package / WEIGHTS).unlink()
    assert message_of(package) == f"{package / WEIGHTS}: the package's weight file is missing. {REMEDY}"


def test_an_empty_weight_file(package):
    (package / WEIGHTS).write_bytes(b"")
    assert message_of(package) == (
        f"{package / WEIGHTS}: the weight file is empty. The package is corrupt: export it again."
    )


def test_a_truncated_weight_file(package):
    (package / WEIGHTS).write_bytes((package / WEIGHTS).read_bytes()[:300])
    assert message_of(package) == (
        f'{package / WEIGHTS}: the file ends at byte 300, but constant "features_weight_0" needs bytes 128 to 560. '
        "The file is truncated: copy or export the package again."
    )


def test_a_weight_file_of_something_else(package):
    (package / WEIGHTS).write_bytes(b"\x01" * 2000)
    assert message_of(package) == (
        f'{package / WEIGHTS}: no blob starts at byte 64, where constant "features_weight_0" should be '
        "(0x01010101 instead of 0xDEADBEEF). The package is corrupt: export it again."
    )


def test_a_weight_of_another_format_than_declared(package):
    edited(package, lambda spec: setattr(first_constant(spec, in_file=True)[1].type.tensorType, "dataType", 10))
    assert message_of(package) == (
        f'{package / WEIGHTS}: constant "features_weight_0" is declared as fp16 (blob format 1) and stored as blob '
        "format 2. The package is corrupt: export it again."
    )


def test_a_weight_with_more_elements_than_stored(package):
    def change(spec):
        first_constant(spec, in_file=True)[1].type.tensorType.dimensions[0].constant.size = 5

    edited(package, change)
    assert message_of(package) == (
        f'{package / WEIGHTS}: constant "features_weight_0" is too short: 135 elements of fp32 need 540 bytes, got '
        "432. The package is corrupt: export it again."
    )


def test_a_constant_of_a_type_that_no_opset_has(package):
    edited(package, lambda spec: setattr(first_constant(spec, in_file=True)[1].type.tensorType, "dataType", 13))
    assert message_of(package) == (
        'Constant "features_weight_0" has element type 13 of MIL.proto, which the Core ML evaluator does not read '
        "(it reads bool, fp16, fp32, fp64, int8, int16, int32, int64, int4, uint8, uint16, uint32, uint64, uint4, "
        "uint2, uint1, uint6, uint3). Export for iOS 18 or earlier."
    )


def test_a_constant_without_a_shape(package):
    def change(spec):
        first_constant(spec, in_file=True)[1].type.tensorType.dimensions[0].unknown.variadic = False

    edited(package, change)
    assert message_of(package) == (
        'Constant "features_weight_0" is declared without a fixed shape. The package is corrupt: export it again.'
    )


def test_a_constant_that_does_not_fill_its_shape(package):
    def change(spec):
        _, value = numbers(spec)
        del value.immediateValue.tensor.ints.values[:]
        value.immediateValue.tensor.ints.values.extend([2, 3, 4])

    edited(package, change)
    assert message_of(package) == (
        'Constant "pooled_axes_0" does not hold the 2 int32 values of its shape [2]: cannot reshape array of size 3 '
        "into shape (2,). The package is corrupt: export it again."
    )


def numbers(spec):
    block = spec.mlProgram.functions["main"].block_specializations["CoreML5"]
    for operation in block.operations:
        if operation.type == "const" and operation.outputs[0].name == "pooled_axes_0":
            return operation, operation.attributes["val"]
    raise AssertionError("the package has no axes")


def test_a_constant_that_is_a_tuple(package):
    edited(package, lambda spec: numbers(spec)[1].immediateValue.tuple.values.add())
    assert message_of(package) == (
        'Constant "pooled_axes_0" holds a tuple value, which the Core ML evaluator does not read '
        "(it reads tensors and lists). Export the package again with coremltools 9."
    )


def test_an_opset_without_code(package):
    edited(package, lambda spec: setattr(spec.mlProgram.functions["main"], "opset", "CoreML6"))
    assert message_of(package) == (
        'Function "main" asks for opset "CoreML6" and has code for: CoreML5. Expected one CoreML opset (CoreML5 to '
        "CoreML9). The package is corrupt or not made by coremltools: export it again."
    )


def test_a_compressed_constant_without_its_data(packages, tmp_path):
    package = shutil.copytree(packages / "constexpr_affine_dequantize.mlpackage", tmp_path / "model.mlpackage")

    def change(spec):
        (block,) = spec.mlProgram.functions["main"].block_specializations.values()
        for operation in block.operations:
            if operation.type.startswith("constexpr_"):
                del operation.attributes["quantized_data"]

    edited(package, change)
    assert message_of(package) == (
        'Constant "constexpr_affine_dequantize_0" (constexpr_affine_dequantize) cannot be decompressed: '
        "'quantized_data'. The package is corrupt: export it again."
    )


def test_a_compressed_constant_of_another_shape_than_declared(packages, tmp_path):
    package = shutil.copytree(packages / "constexpr_cast.mlpackage", tmp_path / "model.mlpackage")

    def change(spec):
        (block,) = spec.mlProgram.functions["main"].block_specializations.values()
        for operation in block.operations:
            if operation.type.startswith("constexpr_"):
                operation.outputs[0].type.tensorType.dimensions[0].constant.size = 7

    edited(package, change)
    assert message_of(package) == (
        'Constant "constexpr_cast_0" (constexpr_cast) decompresses to shape [6], but is declared with [7]. '
        "The package is corrupt: export it again."
    )


def test_a_compressed_constant_that_needs_one_not_there(packages, tmp_path):
    package = shutil.copytree(packages / "constexpr-chain.mlpackage", tmp_path / "model.mlpackage")

    def change(spec):
        (block,) = spec.mlProgram.functions["main"].block_specializations.values()
        for operation in block.operations:
            if operation.type == "constexpr_blockwise_shift_scale":
                operation.inputs["data"].arguments[0].name = "gone"

    edited(package, change)
    assert message_of(package) == (
        'Operator constexpr_blockwise_shift_scale needs constant "gone", which the program does not define before it. '
        "The package is corrupt: export it again."
    )


def error_of_run(package):
    with pytest.raises(ArtifactError) as caught:
        load(package).run({"x": np.zeros((1, 3, 8, 8), np.float32)})
    return caught.value.message


def operation_of(spec, kind):
    block = spec.mlProgram.functions["main"].block_specializations["CoreML5"]
    return next(operation for operation in block.operations if operation.type == kind)


def test_a_program_that_uses_a_value_nothing_computes(package):
    edited(package, lambda spec: setattr(operation_of(spec, "relu").inputs["x"].arguments[0], "name", "gone"))
    assert error_of_run(package) == (
        'The program uses "gone" before anything computes it. The package is corrupt: export it again.'
    )


def test_an_operator_without_a_required_input(package):
    def change(spec):
        del operation_of(spec, "relu").inputs["x"]

    edited(package, change)
    assert error_of_run(package) == (
        'Operator relu "active" has no input "x". The package is corrupt: export it again.'
    )


def test_an_operator_with_an_input_of_another_kind(package):
    edited(
        package,
        lambda spec: setattr(operation_of(spec, "relu").inputs["x"].arguments[0], "name", "features_pad_type_0"),
    )
    assert error_of_run(package) == (
        'Operator relu "active" got a str as input "x", which must be a Tensor. '
        "The package is corrupt: export it again."
    )


def test_an_operator_whose_inputs_do_not_fit(package):
    edited(package, lambda spec: setattr(operation_of(spec, "linear").inputs["x"].arguments[0], "name", "active"))
    message = error_of_run(package)
    assert message.startswith('Operator linear "scores" cannot be computed on these inputs: ')
    assert message.endswith(". The package is inconsistent, or an input has a shape that the model was not made for.")


def test_a_result_of_another_shape_than_declared(package):
    def change(spec):
        operation_of(spec, "linear").outputs[0].type.tensorType.dimensions[1].constant.size = 6

    edited(package, change)
    assert error_of_run(package) == (
        'Operator linear "scores" gives "scores" the shape [1, 5], but the package declares [1, 6]. '
        "The package is inconsistent: export it again."
    )


def test_an_output_that_is_no_tensor(packages, tmp_path):
    package = shutil.copytree(packages / "lists.mlpackage", tmp_path / "model.mlpackage")

    def change(spec):
        (block,) = spec.mlProgram.functions["main"].block_specializations.values()
        block.outputs[0] = next(item.outputs[0].name for item in block.operations if item.type == "make_list")

    edited(package, change)
    program = load(package)
    with pytest.raises(ArtifactError) as caught:
        program.run({"x": np.zeros((2, 3), np.float32)})
    name = program.outputs[0].name
    assert caught.value.message == (
        f'Output "{name}" is a ElementList, which Core ML cannot return. Expected a tensor or a class label: '
        "end the model with a tensor (gather a list's elements)."
    )


def test_a_classifier_with_too_few_labels(packages, tmp_path):
    package = shutil.copytree(packages / "classifier-text.mlpackage", tmp_path / "model.mlpackage")

    def change(spec):
        (block,) = spec.mlProgram.functions["main"].block_specializations.values()
        operation = next(item for item in block.operations if item.type == "classify")
        del operation.inputs["classes"].arguments[0].value.immediateValue.list.values[2:]

    edited(package, change)
    with pytest.raises(ArtifactError) as caught:
        load(package).run({"x": np.zeros((1, 4), np.float32)})
    assert caught.value.message == (
        'Operator classify "classify_0" has 4 probabilities and a list of 2 class labels; expected as many labels. '
        "The package is corrupt: export it again."
    )


def test_a_machine_without_coremltools(package, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.delitem(sys.modules, "coremltools", raising=False)
    with pytest.raises(MissingDependencyError) as caught:
        load(package)
    assert caught.value.message == (
        "coremltools is not installed; the Core ML evaluator needs its protobuf classes. "
        "Install the extra: pip install -e '.[coreml]'"
    )


def test_a_coremltools_without_the_protobuf_classes(package, monkeypatch):
    def fail(name):
        raise ImportError(f"no {name}")

    monkeypatch.setattr("importlib.import_module", fail)
    with pytest.raises(MissingDependencyError) as caught:
        load(package)
    assert caught.value.message == (
        "coremltools is installed but its protobuf classes cannot be imported (no coremltools.proto.Model_pb2). "
        "Install coremltools 9: pip install -e '.[coreml]'"
    )


def test_a_machine_without_torch(package, monkeypatch):
    prefix = "edgekit.validators.coreml_evaluator"
    for loaded in [key for key in sys.modules if key.startswith((f"{prefix}.operators", f"{prefix}.interpreter"))]:
        monkeypatch.delitem(sys.modules, loaded)
    real = __import__

    def fail(name, *rest, **options):
        if name == "torch" or name.startswith("torch."):
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        return real(name, *rest, **options)

    monkeypatch.setattr("builtins.__import__", fail)
    with pytest.raises(MissingDependencyError) as caught:
        load(package)
    assert caught.value.message == (
        "torch is not installed; the Core ML evaluator computes with it. Install the extra: pip install -e '.[coreml]'"
    )


def test_the_manifest_is_read_as_json(package):
    """Guards the fixture: the copy that the tests above break is a good package."""
    assert json.loads((package / "Manifest.json").read_text())["fileFormatVersion"]
    assert load(package).operator_counts["conv"] == 1
