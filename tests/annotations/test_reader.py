from __future__ import annotations

import pytest

from edgekit.annotations.reader import kind_of, read_annotations


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        (("images/a.png", "labels/a.txt"), "yolo"),
        (("data.yaml",), "yolo"),
        (("Annotations/a.xml",), "voc"),
        (("a.xml",), "voc"),
        (("images/a.png", "masks/a.png"), "masks"),
        (("cat/a.png", "dog/b.png"), None),
    ],
)
def test_a_folder_is_known_by_its_files(tmp_path, files, kind):
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert kind_of(tmp_path) == kind


@pytest.mark.parametrize(("name", "kind"), [("val.json", "coco"), ("data.yaml", "yolo"), ("data.npz", None)])
def test_a_file_is_known_by_its_suffix(tmp_path, name, kind):
    assert kind_of(tmp_path / name) == kind


def test_the_reader_of_the_kind_reads(tmp_path):
    for name in ("images/a.png", "masks/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert read_annotations(tmp_path, None, ())[0].mask == tmp_path / "masks" / "a.png"
