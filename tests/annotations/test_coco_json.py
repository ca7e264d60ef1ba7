from __future__ import annotations

import json

import pytest

from edgekit.annotations.coco_json import read_coco
from edgekit.errors import DataError


@pytest.fixture
def data():
    return {
        "images": [{"id": 7, "file_name": "b.png"}, {"id": 3, "file_name": "a.png"}],
        "categories": [{"id": 18, "name": "dog"}, {"id": 2, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 3, "category_id": 18, "bbox": [1, 2, 10, 20], "iscrowd": 1},
            {"id": 2, "image_id": 3, "category_id": 2, "bbox": [0, 0, 5, 5], "segmentation": [[0, 0, 5, 0, 5, 5]]},
        ],
    }


@pytest.fixture
def write(tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "images" / name).write_bytes(b"")

    def save(data):
        path = tmp_path / "val.json"
        path.write_text(json.dumps(data))
        return path

    return save


def test_pictures_come_in_the_order_of_their_numbers_with_corners_and_classes(data, write):
    first, second = read_coco(write(data), None, ())
    assert (first.file.name, second.file.name) == ("a.png", "b.png")
    assert [item.box for item in first.instances] == [(1, 2, 11, 22), (0, 0, 5, 5)]
    assert [item.category for item in first.instances] == [1, 0]  # 2 is the first category, 18 the second
    assert [item.crowd for item in first.instances] == [True, False]
    assert first.instances[1].outline[0].tolist() == [[0, 0], [5, 0], [5, 5]]
    assert second.instances == ()


def test_labels_number_the_classes_by_name(data, write):
    first, _ = read_coco(write(data), None, ("bird", "Dog", "cat"))
    assert [item.category for item in first.instances] == [1, 2]


def test_keypoints_are_triples(data, write):
    data["annotations"][0]["keypoints"] = [1, 2, 2, 0, 0, 0]
    assert read_coco(write(data), None, ())[0].instances[0].points.tolist() == [[1, 2, 2], [0, 0, 0]]


def broken(data, change):
    table, place, key, value = change
    data[table][place][key] = value
    return data


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("annotations", 0, "bbox", [1, 2, -3, 4]),
            "annotations[0] has the bbox [1, 2, -3, 4]; expected x, y, width and height in pixels.",
        ),
        (("annotations", 1, "image_id", 9), "annotations[1] has the image_id 9, which no entry of images has."),
        (
            ("annotations", 1, "category_id", 9),
            "annotations[1] has the category_id 9, which no entry of categories has.",
        ),
        (("images", 0, "id", "x"), "images[0] has no whole number id, or no file_name."),
        (
            ("annotations", 1, "segmentation", [[1, 2]]),
            "annotations[1] has a segmentation that is no list of polygons x1, y1, x2, y2, x3, y3 and so on.",
        ),
        (
            ("annotations", 0, "keypoints", [1, 2]),
            "annotations[0] has keypoints that are no list of x, y and visible of each point.",
        ),
    ],
)
def test_a_fault_is_reported_with_its_entry(data, write, change, message):
    path = write(broken(data, change))
    with pytest.raises(DataError) as caught:
        read_coco(path, None, ())
    assert caught.value.message == f"{path}: {message}"


def test_another_file_is_reported(write):
    path = write({"images": []})
    with pytest.raises(DataError) as caught:
        read_coco(path, None, ())
    assert caught.value.message == (
        f"{path} is no COCO file: it has no list annotations, categories. Expected images, annotations and categories."
    )


def test_a_missing_file_is_reported(tmp_path):
    with pytest.raises(DataError) as caught:
        read_coco(tmp_path / "val.json", None, ())
    expected = f"{tmp_path / 'val.json'} does not exist. Give a COCO file such as instances_val.json."
    assert caught.value.message == expected


def test_pictures_that_are_elsewhere_are_requested(data, write, tmp_path):
    path = write(data)
    with pytest.raises(DataError) as caught:
        read_coco(path, tmp_path / "val2017", ())
    assert caught.value.message == (
        f"{path}: the picture b.png is not in {tmp_path / 'val2017'}. "
        'Say where the pictures lie: [data] images = "val2017" in the task file.'
    )


def test_labels_that_lack_a_class_are_reported(data, write):
    path = write(data)
    with pytest.raises(DataError) as caught:
        read_coco(path, None, ("cat",))
    assert caught.value.message == (
        f"{path} has the classes dog, and [model] labels has no such line. Write the labels as the data calls them, "
        "one a line in the order of the model's classes."
    )
