"""Model files from strangers: what points out of its folder, and what is no file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgekit.errors import ModelError
from edgekit.sources.table import classify


def write_onnx(folder: Path, location: str, **entries: str) -> Path:
    """Writes a model whose only weight lies in another file."""
    from onnx import TensorProto, helper

    weight = TensorProto(name="w", data_type=1, dims=[4, 4], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, "offset": "0", "length": "64", **entries}.items():
        entry = weight.external_data.add()
        entry.key, entry.value = key, value
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", 1, [1, 4])],
        [helper.make_tensor_value_info("y", 1, [1, 4])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of a model, beside a file that is none of its business; a link, a FIFO and a folder lie in it."""
    (tmp_path / "secret.bin").write_bytes(bytes(64))
    inside = tmp_path / "model"
    (inside / "folder").mkdir(parents=True)
    (inside / "weights.bin").write_bytes(bytes(64))
    (inside / "link.bin").symlink_to(tmp_path / "secret.bin")
    os.mkfifo(inside / "pipe")
    return inside


@pytest.mark.parametrize(
    ("location", "entries"),
    [
        ("../secret.bin", {}),
        ("folder/../../secret.bin", {}),
        ("{outside}/secret.bin", {}),
        ("/dev/zero", {}),
        ("link.bin", {}),
        ("folder", {}),
        ("pipe", {}),
        ("none.bin", {}),
        ("weights.bin", {"offset": "-5"}),
        ("weights.bin", {"length": "999999999999"}),
        ("weights.bin", {"offset": "9" * 5000}),
    ],
    ids=[
        "parent",
        "way round",
        "absolute",
        "device",
        "link",
        "folder",
        "FIFO",
        "missing",
        "before",
        "behind",
        "digits",
    ],
)
def test_weights_outside_of_the_models_folder_are_not_read(
    folder: Path, location: str, entries: dict[str, str]
) -> None:
    from edgekit.sources.onnx_file import load

    path = write_onnx(folder, location.format(outside=folder.parent), **entries)
    with pytest.raises(ModelError, match=r"^net\.onnx: its weights lie in a second file that cannot be read: "):
        load(path, "net.onnx")


def test_weights_inside_of_the_models_folder_are_read(folder: Path) -> None:
    from edgekit.sources.onnx_file import load

    assert load(write_onnx(folder, "weights.bin"), "net.onnx").graph.initializer[0].raw_data == bytes(64)


@pytest.mark.parametrize("name", ["pipe.pt2", "pipe.onnx", "pipe.keras", "pipe.tflite"])
def test_a_fifo_is_no_model(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(ModelError, match=rf"^{name} is a FIFO or a device; expected .+\.$"):
        classify(name, tmp_path)
