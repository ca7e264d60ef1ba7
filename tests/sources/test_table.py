from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from edgekit.errors import ModelError
from edgekit.registry import FORMATS, SOURCES
from edgekit.sources.table import ACCEPTED, classify, reach, source

ZIP = b"PK\x03\x04"


def whole_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "b")


def message_of(text: str, base: Path) -> str:
    with pytest.raises(ModelError) as caught:
        classify(text, base)
    return caught.value.message


@pytest.mark.parametrize(
    "text", ["package.module:build", "model.py:build", "folder/model.py:Net.make", "missing:build"]
)
def test_two_halves_around_a_colon_are_a_factory(text, tmp_path):
    assert classify(text, tmp_path) == "torch"


@pytest.mark.parametrize(
    ("name", "head", "kind"),
    [
        ("net.onnx", b"\x08\x07", "onnx"),
        ("net.ONNX", b"\x08\x07", "onnx"),
        ("net.h5", b"\x89HDF\r\n\x1a\n", "keras"),
        ("net.hdf5", b"\x89HDF\r\n\x1a\n", "keras"),
        ("net.tflite", b"\x1c\0\0\0TFL3", "tflite"),
        ("net.lite", b"\x1c\0\0\0TFL3", "tflite"),
    ],
)
def test_a_file_is_known_by_its_suffix_and_first_bytes(name, head, kind, tmp_path):
    (tmp_path / name).write_bytes(head)
    assert classify(name, tmp_path) == kind


@pytest.mark.parametrize(("name", "kind"), [("net.pt2", "pt2"), ("net.keras", "keras")])
def test_an_archive_is_known_by_its_suffix(name, kind, tmp_path):
    whole_zip(tmp_path / name)
    assert classify(name, tmp_path) == kind


def test_a_folder_with_a_graph_is_a_saved_model(tmp_path):
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "saved_model.pb").write_bytes(b"x")
    assert classify("net", tmp_path) == "savedmodel"


def test_an_empty_source_is_refused(tmp_path):
    assert message_of(" ", tmp_path) == f"The model source is empty; expected {ACCEPTED}."


def test_a_text_that_is_nothing_is_refused(tmp_path):
    assert message_of("resnet", tmp_path) == (
        '"resnet" is no model source: there is no such file, and it has no colon. Expected module:factory, '
        "file.py:factory, or a .pt2, TorchScript, .onnx, .keras, .h5, .pb or .tflite file, or a SavedModel folder."
    )


def test_what_a_task_file_names_is_reported_with_its_name(tmp_path):
    with pytest.raises(ModelError) as caught:
        classify("\0", tmp_path, "edgekit.toml")
    assert caught.value.message == (
        'edgekit.toml: model.source: "\0" is no model source: there is no such file, and it has no colon. Expected '
        f"{ACCEPTED}."
    )


def test_a_missing_file_is_reported_with_the_nearest_names(tmp_path):
    (tmp_path / "resnet.onnx").write_bytes(b"x")
    assert message_of("resent.onnx", tmp_path) == (
        f"resent.onnx: no such file or folder in {tmp_path}. Did you mean resnet.onnx?"
    )


def test_a_missing_file_with_nothing_near_is_reported(tmp_path):
    assert message_of("folder/net.onnx", tmp_path) == f"folder/net.onnx: no such file or folder in {tmp_path}."


def test_a_folder_without_a_graph_is_refused(tmp_path):
    (tmp_path / "net").mkdir()
    assert message_of("net", tmp_path) == (
        "net is a folder without saved_model.pb, so it is no SavedModel. Expected a folder that model.export or "
        "tf.saved_model.save wrote, or the path of a model file."
    )


def test_a_core_ml_package_is_an_artifact(tmp_path):
    (tmp_path / "net.mlpackage").mkdir()
    assert message_of("net.mlpackage", tmp_path) == (
        "net.mlpackage is a Core ML package: it is an artifact, not a source. Check it with edgekit validate."
    )


def test_a_program_of_another_runtime_is_an_artifact(tmp_path):
    (tmp_path / "net.pte").write_bytes(b"x")
    assert message_of("net.pte", tmp_path) == ("net.pte is an artifact, not a source. Check it with edgekit validate.")


def test_a_python_file_needs_its_factory(tmp_path):
    (tmp_path / "net.py").write_text("")
    assert message_of("net.py", tmp_path) == "net.py is a Python file; name its factory too, for example net.py:build."


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt", ".pkl"])
def test_a_pickle_is_refused_with_the_way_out(suffix, tmp_path):
    name = f"net{suffix}"
    (tmp_path / name).write_bytes(ZIP)
    assert message_of(name, tmp_path) == (
        f"{name} is a pickle, and loading a pickle runs whatever code it holds: edgekit loads none. "
        "Give a factory that loads the weights only:\n"
        "    def build():\n"
        f"        model = Net(); model.load_state_dict(torch.load('{name}', weights_only=True))\n"
        "        return model.eval()\n"
        "and name it: model.py:build. A whole pickled module must first be saved as a state dict where it came from."
    )


def test_weights_alone_are_refused(tmp_path):
    (tmp_path / "net.safetensors").write_bytes(b"x")
    assert message_of("net.safetensors", tmp_path) == (
        "net.safetensors holds weights without an architecture. Write a factory that builds the module, loads them and "
        "returns it, and give model.py:build."
    )


def test_a_part_of_a_saved_model_is_reported_with_its_folder(tmp_path):
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "saved_model.pb").write_bytes(b"x")
    assert message_of("net/saved_model.pb", tmp_path) == (
        "net/saved_model.pb is a part of a SavedModel; give its folder: net."
    )


@pytest.mark.parametrize(("name", "shown"), [("net.xyz", ".xyz"), ("net", "(none)")])
def test_an_unknown_suffix_is_refused(name, shown, tmp_path):
    (tmp_path / name).write_bytes(b"x")
    assert message_of(name, tmp_path) == (
        f"{name}: the suffix {shown} is not known. Expected module:factory, file.py:factory, "
        "or a .pt2, TorchScript, .onnx, .keras, .h5, .pb or .tflite file, or a SavedModel folder."
    )


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"")
    assert message_of("net.onnx", tmp_path) == "net.onnx is empty (0 bytes)."


def test_a_pointer_of_git_lfs_is_refused(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n")
    assert message_of("net.onnx", tmp_path) == (
        "net.onnx is a Git LFS pointer and not the file itself. Fetch it: git lfs pull."
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("net.pt2", "a zip archive that torch.export.save wrote"),
        ("net.keras", "a zip archive that model.save wrote"),
        ("net.h5", "an HDF5 file"),
        ("net.tflite", "a TFLite flatbuffer"),
    ],
)
def test_a_file_that_is_not_what_its_suffix_says_is_refused(name, words, tmp_path):
    (tmp_path / name).write_bytes(b"hello world!")
    assert message_of(name, tmp_path) == (
        f"{name} is not {words}: it begins with 68 65 6c 6c 6f 20 77 6f (12 bytes). It is damaged, or its suffix is "
        "wrong."
    )


@pytest.mark.parametrize(
    "rest",
    [b"\0" * 40, b"PK\x06\x07" + b"\7" * 16 + b"PK\x05\x06" + b"\xff" * 16 + b"\0\0"],
    ids=["no end", "an end on another disk"],
)
def test_an_archive_that_was_cut_off_is_refused(rest, tmp_path):
    (tmp_path / "net.keras").write_bytes(ZIP + rest)
    size = len(ZIP + rest)
    assert message_of("net.keras", tmp_path) == (
        f"net.keras is damaged: it begins as a zip archive that model.save wrote and has no end ({size} bytes). "
        "Copy or save the file again."
    )


@pytest.mark.parametrize("kind", SOURCES)
def test_each_source_of_the_table_is_of_its_kind_and_says_what_it_needs(kind):
    one = source(kind)
    assert one.kind == kind
    assert one.extra
    assert all(isinstance(name, str) for name in one.needs.values())


@pytest.mark.parametrize("kind", ["torch", "pt2", "onnx", "keras", "savedmodel"])
def test_every_kind_of_model_reaches_every_format(kind):
    assert reach(kind) == dict.fromkeys(FORMATS)


def test_a_tflite_file_reaches_no_format():
    assert reach("tflite") == {
        name: "a .tflite file is an artifact already: it can be checked (edgekit validate, edgekit gate), not "
        f"converted to {name}. Give the model that it was made from."
        for name in FORMATS
    }
