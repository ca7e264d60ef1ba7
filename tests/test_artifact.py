"""Artifacts: what loads them, how large they are."""

from __future__ import annotations

import hashlib
import random
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.artifact import Artifact, measure_files, runtime_of
from edgekit.errors import ArtifactError
from edgekit.model import TensorSpec
from edgekit.workers.structure import structure


@pytest.mark.parametrize(
    ("name", "runtime"),
    [
        ("a.tflite", "tflite"),
        ("a.onnx", "onnx"),
        ("a.pte", "executorch"),
        ("a.mlpackage", "coreml"),
        ("A.ONNX", "onnx"),
    ],
    ids=str,
)
def test_the_suffix_tells_the_runtime(tmp_path: Path, name: str, runtime: str) -> None:
    (tmp_path / name).touch()
    assert runtime_of(tmp_path / name) == runtime


def test_a_suffix_that_no_runtime_loads_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.touch()
    with pytest.raises(ArtifactError) as raised:
        runtime_of(path)
    assert raised.value.message == (
        f'{path}: no runtime loads files that end in ".zip"; expected one of .tflite, .onnx, .pte, .mlpackage, '
        ".mlmodel."
    )


def test_an_artifact_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    with pytest.raises(ArtifactError) as raised:
        runtime_of(path)
    assert raised.value.message == (
        f"{path}: no such file. Give the path of an artifact: .tflite, .onnx, .pte, .mlpackage, .mlmodel."
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=4000))
def test_the_size_and_the_hash_are_those_of_the_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(content)
    size, download, sha256 = measure_files(path)
    assert (size, sha256) == (len(content), hashlib.sha256(content).hexdigest())
    # Deflate stores what it cannot shrink with five bytes a block on top.
    assert download <= size + 8


def test_the_download_size_is_what_a_zip_archive_holds(tmp_path: Path) -> None:
    content = bytes(random.Random(0).choices(range(16), k=3_000_000))
    path = tmp_path / "a.tflite"
    path.write_bytes(content)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        archive.write(path, "a.tflite")
        packed = archive.getinfo("a.tflite").compress_size
    assert measure_files(path)[1] == pytest.approx(packed, rel=0.001)
    assert measure_files(path)[1] < 0.6 * len(content)


def package(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def test_a_package_counts_all_its_files(tmp_path: Path) -> None:
    folder = package(tmp_path / "a.mlpackage", {"Manifest.json": b"{}", "Data/weights.bin": b"\0" * 1000})
    size, download, _ = measure_files(folder)
    assert size == 1002
    assert download < 40


def test_the_hash_of_a_package_depends_on_names_and_contents_alone(tmp_path: Path) -> None:
    one = package(tmp_path / "1", {"a": b"1", "b": b"2"})
    same = package(tmp_path / "2", {"b": b"2", "a": b"1"})
    renamed = package(tmp_path / "3", {"a": b"1", "c": b"2"})
    swapped = package(tmp_path / "4", {"a": b"2", "b": b"1"})
    hashes = [measure_files(folder)[2] for folder in (one, same, renamed, swapped)]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3


def test_json_has_the_keys_that_ci_users_rely_on(tmp_path: Path) -> None:
    spec = TensorSpec(name="x", shape=(1, 3), dtype="int8", layout="NC", scale=0.5, zero_point=-3)
    artifact = Artifact(
        path=tmp_path / "a.tflite",
        runtime="tflite",
        precision="int8-static",
        size_bytes=10,
        download_bytes=8,
        sha256="00",
        inputs=(spec,),
        metadata={"labels": "a b"},
    )
    assert artifact.to_json() == {
        "states": [],
        "signatures": [],
        "signature": "",
        "path": str(tmp_path / "a.tflite"),
        "runtime": "tflite",
        "precision": "int8-static",
        "size_bytes": 10,
        "download_bytes": 8,
        "sha256": "00",
        "inputs": [{"name": "x", "shape": [1, 3], "dtype": "int8", "layout": "NC", "scale": 0.5, "zero_point": -3}],
        "outputs": [],
        "metadata": {"labels": "a b"},
    }


@given(
    st.builds(
        TensorSpec,
        name=st.text(),
        shape=st.lists(st.integers(1, 9)).map(tuple),
        dtype=st.sampled_from(["float32", "int8"]),
        layout=st.none() | st.just("NCHW"),
        scale=st.none() | st.floats(allow_nan=False),
        zero_point=st.none() | st.integers(-128, 127),
    )
)
def test_a_tensor_comes_back_from_json_as_it_was(spec: TensorSpec) -> None:
    assert structure(spec.to_json(), TensorSpec, "tensor") == spec
