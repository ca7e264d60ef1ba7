from __future__ import annotations

import pytest

from edgekit.annotations.mask_folder import read_masks
from edgekit.errors import DataError


@pytest.fixture
def folder(tmp_path):
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    for name in ("images/a.jpg", "images/b.jpg", "masks/a.png", "masks/b.png"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def test_every_picture_has_the_mask_of_its_name(folder):
    assert [(one.file.name, one.mask.name) for one in read_masks(folder)] == [("a.jpg", "a.png"), ("b.jpg", "b.png")]


def test_a_picture_without_a_mask_is_reported(folder):
    (folder / "masks" / "b.png").unlink()
    with pytest.raises(DataError) as caught:
        read_masks(folder)
    assert caught.value.message == (
        f"1 of 2 pictures in {folder / 'images'} have no mask, the first b.jpg: expected {folder / 'masks' / 'b.png'}."
    )


def test_folders_of_other_names_are_reported(tmp_path):
    with pytest.raises(DataError) as caught:
        read_masks(tmp_path)
    assert caught.value.message == (
        f"{tmp_path} is no folder of masks: expected a folder images with pictures, and masks with a PNG of the same "
        "name each."
    )


def test_a_folder_without_pictures_is_reported(tmp_path):
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    with pytest.raises(DataError) as caught:
        read_masks(tmp_path)
    assert caught.value.message == f"{tmp_path / 'images'} holds no picture."
