from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.artifact import artifact_files, measure_files
from edgekit.errors import ArtifactError
from edgekit.external_data import external_files
from edgekit.workers.atomic_files import copy_atomically

WEIGHT = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)


def save(
    folder: Path, location: str | None = "net.onnx.data", name: str = "net.onnx", weight: np.ndarray = WEIGHT
) -> Path:
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 64]) for name in ("x", "y")]
    node, weight = helper.make_node("MatMul", ["x", "w"], ["y"]), numpy_helper.from_array(WEIGHT, "w")
    graph = helper.make_graph([node], "g", value[:1], value[1:], [weight])
    path = folder / "net.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path, save_as_external_data=location is not None, location=location)
    return path


def edit(path: Path, location: str) -> None:
    """Changes where the file says that its weights are."""
    model = onnx.load(path, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = location
    path.write_bytes(model.SerializeToString())


def test_the_weights_beside_a_file_are_counted_hashed_and_copied(tmp_path: Path) -> None:
    path = save(tmp_path / "one")
    assert external_files(path) == ("net.onnx.data",)
    size, download, digest = measure_files(path)
    assert size == path.stat().st_size + WEIGHT.nbytes
    assert WEIGHT.nbytes < download + 4096
    (tmp_path / "two").mkdir()
    copy_atomically(path, tmp_path / "two" / "net.onnx")
    assert measure_files(tmp_path / "two" / "net.onnx")[2] == digest
    (tmp_path / "two" / "net.onnx.data").write_bytes((2 * WEIGHT).tobytes())
    assert measure_files(tmp_path / "two" / "net.onnx")[2] != digest


def test_a_file_that_holds_its_weights_has_the_hash_of_its_bytes(tmp_path: Path) -> None:
    path = save(tmp_path, location=None)
    assert external_files(path) == ()
    assert [name for name, _ in artifact_files(path)] == [""]


def test_weights_within_branches_are_found(tmp_path: Path) -> None:
    branch = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["z"])],
        "then",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [64, 64])],
        [numpy_helper.from_array(WEIGHT, "w")],
    )
    graph = helper.make_graph(
        [helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)],
        "g",
        [helper.make_tensor_value_info("c", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [64, 64])],
    )
    tensor = graph.node[0].attribute[0].g.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, location="deep.bin")
    path = tmp_path / "net.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    assert external_files(path) == ("deep.bin",)


@pytest.mark.parametrize("content", [b"", b"\x3a", b"\x3a\xff\xff\xff\xff\x7f", b"not an onnx at all"])
def test_what_is_no_onnx_names_no_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    assert external_files(path) == ()


def test_missing_weights_are_reported(tmp_path: Path) -> None:
    path = save(tmp_path)
    (tmp_path / "net.onnx.data").unlink()
    with pytest.raises(ArtifactError) as raised:
        measure_files(path)
    assert raised.value.message == (
        f"{path}: it names weights in net.onnx.data, and there is no such file beside it. Copy it there."
    )


@pytest.mark.parametrize("location", ["../net.onnx.data", "/etc/passwd"])
def test_weights_outside_the_artifacts_folder_are_refused(tmp_path: Path, location: str) -> None:
    path = save(tmp_path)
    edit(path, location)
    with pytest.raises(ArtifactError) as raised:
        measure_files(path)
    assert raised.value.message == (
        f'{path}: it names weights in "{location}", outside its own folder, where no app would have them. '
        "Save it with its weights beside it."
    )


def test_a_package_counts_weights_behind_a_link(tmp_path: Path) -> None:
    package, elsewhere = tmp_path / "net.mlpackage", tmp_path / "weights"
    package.mkdir()
    elsewhere.mkdir()
    (package / "Manifest.json").write_text("{}")
    (elsewhere / "weight.bin").write_bytes(b"1" * 5000)
    (package / "weights").symlink_to(elsewhere)
    (elsewhere / "circle").symlink_to(package)
    assert measure_files(package)[0] == 5002
    assert [name for name, _ in artifact_files(package)] == ["Manifest.json", "weights/weight.bin"]
