from __future__ import annotations

import pytest

from edgekit.annotations.voc_xml import read_voc
from edgekit.errors import DataError

OBJECT = """<object><name>{name}</name><difficult>{difficult}</difficult>
<bndbox><xmin>{xmin}</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object>"""


@pytest.fixture
def folder(tmp_path):
    for part in ("Annotations", "JPEGImages"):
        (tmp_path / part).mkdir()
    (tmp_path / "JPEGImages" / "a.jpg").write_bytes(b"")
    write(tmp_path, OBJECT.format(name="dog", difficult=0, xmin=1) + OBJECT.format(name="cat", difficult=1, xmin=5))
    return tmp_path


def write(folder, objects, name="a.jpg"):
    text = f"<annotation><filename>{name}</filename>{objects}</annotation>"
    (folder / "Annotations" / "a.xml").write_text(text)


def test_boxes_count_from_zero_classes_are_sorted_names_and_difficult_ones_are_crowds(folder):
    (picture,) = read_voc(folder, ())
    assert picture.file == folder / "JPEGImages" / "a.jpg"
    assert [item.box for item in picture.instances] == [(0, 1, 30, 40), (4, 1, 30, 40)]
    assert [item.category for item in picture.instances] == [1, 0]
    assert [item.crowd for item in picture.instances] == [False, True]


def test_labels_number_the_classes_by_name(folder):
    assert [item.category for item in read_voc(folder, ("dog", "bird", "cat"))[0].instances] == [0, 2]


def message_of(folder):
    with pytest.raises(DataError) as caught:
        read_voc(folder, ())
    return caught.value.message


def test_a_box_without_size_is_reported(folder):
    write(folder, OBJECT.format(name="dog", difficult=0, xmin=30))
    assert message_of(folder) == (
        f"{folder / 'Annotations' / 'a.xml'}: an object has the bndbox ['30', '2', '30', '40']; expected xmin < xmax "
        "and ymin < ymax in pixels."
    )


def test_an_object_without_a_name_is_reported(folder):
    write(folder, "<object></object>")
    assert message_of(folder) == f"{folder / 'Annotations' / 'a.xml'}: an object has no name."


def test_a_picture_that_is_not_there_is_reported(folder):
    write(folder, "", name="../../b.jpg")
    (folder / "JPEGImages" / "a.jpg").unlink()
    assert message_of(folder) == (
        f"{folder / 'Annotations' / 'a.xml'}: the picture ../../b.jpg is in none of {folder / 'JPEGImages'}, "
        f"{folder / 'images'}, {folder}."
    )


def test_entities_are_refused(folder):
    (folder / "Annotations" / "a.xml").write_text('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>')
    assert message_of(folder) == (
        f"{folder / 'Annotations' / 'a.xml'} declares entities, which may grow without limit. Remove the DOCTYPE; VOC "
        "has none."
    )


def test_what_is_no_xml_is_reported(folder):
    (folder / "Annotations" / "a.xml").write_text("<annotation>")
    assert message_of(folder) == (
        f"{folder / 'Annotations' / 'a.xml'} cannot be read as XML: no element found: line 1, column 12."
    )


def test_a_folder_without_files_is_reported(tmp_path):
    assert message_of(tmp_path) == f"{tmp_path} holds no XML file: expected a folder Annotations with one a picture."
