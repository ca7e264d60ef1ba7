from __future__ import annotations

import sys

import numpy as np
import pytest

from edgekit.annotations.yolo_text import read_yolo
from edgekit.errors import DataError, MissingDependencyError


@pytest.fixture
def folder(tmp_path):
    for part in ("images/val", "labels/val"):
        (tmp_path / part).mkdir(parents=True)
    for name in ("a", "b"):
        (tmp_path / f"images/val/{name}.png").write_bytes(b"")
    (tmp_path / "labels/val/a.txt").write_text("1 0.5 0.5 0.2 0.4\n\n0 0.1 0.1 0.5 0.1 0.5 0.9\n")
    (tmp_path / "data.yaml").write_text("path: .\nval: images/val\nnames:\n  0: cat\n  1: dog\n")
    return tmp_path


def test_boxes_and_outlines_are_shares_and_a_picture_without_a_text_has_none(folder):
    first, second = read_yolo(folder / "data.yaml", ())
    assert first.shares
    assert np.allclose(first.instances[0].box, (0.4, 0.3, 0.6, 0.7))
    assert np.allclose(first.instances[1].box, (0.1, 0.1, 0.5, 0.9))
    assert len(first.instances[1].outline[0]) == 3
    assert [item.category for item in first.instances] == [1, 0]
    assert second.instances == ()


def test_a_folder_without_data_yaml_counts_classes_as_they_are(folder):
    (folder / "data.yaml").unlink()
    assert [item.category for item in read_yolo(folder, ())[0].instances] == [1, 0]


def test_labels_number_the_classes_by_name(folder):
    assert [item.category for item in read_yolo(folder, ("dog", "cat"))[0].instances] == [0, 1]


@pytest.mark.parametrize("numbers", ["0.1 0.2 2 0 0 0", "0.1 0.2 0 0"])
def test_points_follow_the_box(folder, numbers):
    (folder / "data.yaml").write_text("val: images/val\nnames: [cat]\nkpt_shape: [2, 3]\n")
    (folder / "labels/val/a.txt").write_text(f"0 0.5 0.5 0.2 0.4 {numbers}")
    assert read_yolo(folder, ())[0].instances[0].points.tolist() == [[0.1, 0.2, 2], [0, 0, 0]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 0.5 x", ', line 1: "1 0.5 x" was read; expected class cx cy w h, or class and an outline.'),
        ("1 0.5 0.5 20 0.4", ", line 1 holds 20; expected shares of the picture's sides, 0 to 1."),
        ("5 0.5 0.5 0.2 0.4", ", line 1 has the class 5; data.yaml names 0, 1."),
        ("1 0.5 0.5 0.2 0.4 0.5", ", line 1 has an outline of 5 numbers; expected x and y of three points at least."),
    ],
)
def test_a_fault_is_reported_with_file_and_line(folder, line, message):
    (folder / "labels/val/a.txt").write_text(line)
    with pytest.raises(DataError) as caught:
        read_yolo(folder, ())
    assert caught.value.message == f"{folder / 'labels/val/a.txt'}{message}"


def test_a_pose_of_other_points_is_reported(folder):
    (folder / "data.yaml").write_text("val: images/val\nnames: [cat, dog]\nkpt_shape: [3, 3]\n")
    (folder / "labels/val/a.txt").write_text("0 0.5 0.5 0.2 0.4 0.1 0.2 2")
    with pytest.raises(DataError) as caught:
        read_yolo(folder, ())
    assert caught.value.message.endswith("a.txt, line 1 has 8 numbers; a pose of 3 points has 14.")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("val: images/val\n", " has no names: expected a list of class names, or a table from number to name."),
        ("names: [cat]\n", " names no folder of pictures: expected val, test or train with the path of a folder."),
        ("val: other\nnames: [cat]\n", ": the folder {folder}/other does not exist. Correct path and val in it."),
    ],
)
def test_a_wrong_data_yaml_is_reported(folder, text, message):
    (folder / "data.yaml").write_text(text)
    with pytest.raises(DataError) as caught:
        read_yolo(folder, ())
    assert caught.value.message == f"{folder / 'data.yaml'}{message.format(folder=folder)}"


def test_what_is_no_yaml_is_reported(folder):
    (folder / "data.yaml").write_text("names: [")
    with pytest.raises(DataError, match=r"data\.yaml cannot be read as YAML: while parsing a flow node\.$"):
        read_yolo(folder, ())


def test_a_missing_data_yaml_is_reported(folder):
    with pytest.raises(DataError) as caught:
        read_yolo(folder / "other.yaml", ())
    assert caught.value.message == (
        f"{folder / 'other.yaml'} does not exist. Give a data.yaml, or a folder with images and labels."
    )


def test_a_folder_without_pictures_is_reported(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError) as caught:
        read_yolo(tmp_path, ())
    assert caught.value.message == (
        f"{tmp_path / 'images'} holds no picture. A YOLO data set has its pictures in images and a text each in labels."
    )


def test_without_pyyaml_the_line_that_installs_it_is_reported(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(MissingDependencyError) as caught:
        read_yolo(folder, ())
    assert caught.value.message == (
        f"{folder / 'data.yaml'} needs PyYAML, which is not installed. Install it from the checkout: "
        "pip install -e '.[metrics]'"
    )
