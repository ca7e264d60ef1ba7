"""Annotated pictures as evaluation items: boxes, poses, instances and masks lie where the pixels lie."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgekit.annotations.picture import AnnotatedPicture, Instance
from edgekit.errors import DataError
from edgekit.model import TensorSpec
from edgekit.samples import Samples
from edgekit.task.annotated_items import annotated_items
from edgekit.task.data import DataRequest, materialize
from edgekit.task.task import ImagePreprocessing
from edgekit.workers.worker import silent

Image = pytest.importorskip("PIL.Image")

SPEC = TensorSpec(name="image", shape=(1, 3, 32, 32), dtype="float32", layout="NCHW")
PIXELS = ImagePreprocessing(std=(1.0,))
FITS = {
    "stretch": PIXELS,
    "letterbox": ImagePreprocessing(std=(1.0,), letterbox=True),
    "crop": ImagePreprocessing(std=(1.0,), resize=32),
}


@pytest.fixture
def picture(tmp_path):
    """A picture of 64 x 32, black, with a white rectangle from 20, 4 to 44, 20."""
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[4:20, 20:44] = 255
    path = tmp_path / "images" / "a.png"
    path.parent.mkdir()
    Image.fromarray(pixels).save(path)
    return path


def item(picture, targets, fit="stretch", **instance):
    made = AnnotatedPicture(file=picture, instances=(Instance(box=(20, 4, 44, 20), category=2, **instance),))
    return next(iter(annotated_items([made], targets, SPEC, FITS[fit])))


@pytest.mark.parametrize("fit", FITS)
def test_the_box_lies_around_the_white_pixels(picture, fit):
    (pixels,), table = item(picture, "boxes", fit)
    white = pixels[0, 0] > 200
    rows, columns = np.flatnonzero(white.any(1)), np.flatnonzero(white.any(0))
    found = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    assert np.abs(table[0, :4] - found).max() <= 1
    assert table[0, 4:].tolist() == [2, 0]


def test_a_letterbox_is_grey_beside_the_picture(picture):
    (pixels,), _ = item(picture, "boxes", "letterbox")
    assert (pixels[0, :, :8] == 114).all()
    assert (pixels[0, :, 24:] == 114).all()
    assert (pixels[0, :, 8] == 0).all()


def test_an_object_that_is_cut_away_is_no_object(picture):
    made = AnnotatedPicture(file=picture, instances=(Instance(box=(0, 0, 10, 10), category=0),))
    _, table = next(iter(annotated_items([made], "boxes", SPEC, FITS["crop"])))
    assert table.shape == (0, 6)


def test_shares_are_of_the_picture_s_sides(picture):
    instance = Instance(box=(20 / 64, 4 / 32, 44 / 64, 20 / 32), category=2)
    made = AnnotatedPicture(file=picture, instances=(instance,), shares=True)
    _, table = next(iter(annotated_items([made], "boxes", SPEC, FITS["letterbox"])))
    assert np.allclose(table, item(picture, "boxes", "letterbox")[1])


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("form", ["outline", "counts", "text"])
def test_the_mask_covers_the_white_pixels(picture, fit, form):
    library = pytest.importorskip("pycocotools.mask")
    mask = np.zeros((32, 64), np.uint8)
    mask[4:20, 20:44] = 1
    runs = library.encode(np.asfortranarray(mask))
    flat = mask.T.reshape(-1)
    changes = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *changes, flat.size]).tolist()
    shape = {
        "outline": {"outline": (np.array([[20, 4], [44, 4], [44, 20], [20, 20]], np.float64),)},
        "counts": {"runs": {"size": [32, 64], "counts": counts}},
        "text": {"runs": {"size": [32, 64], "counts": runs["counts"].decode()}},
    }[form]
    (pixels,), text = item(picture, "instances", fit, **shape)
    (one,) = json.loads(text)
    found = library.decode({"size": one["size"], "counts": one["counts"].encode()})
    white = pixels[0, 0] > 127
    assert one["class"] == 2
    assert (found & white).sum() / (found | white).sum() > 0.9


def test_points_outside_of_the_input_are_not_visible(picture):
    points = np.array([[32, 10, 2], [2, 10, 2]], np.float64)
    _, table = item(picture, "poses", "crop", points=points)
    assert table[0, 5:].tolist() == [16, 10, 2, -14, 10, 0]


@pytest.fixture
def masked(picture):
    mask = np.zeros((32, 64), np.uint8)
    mask[4:20, 20:44] = 3
    path = picture.parent.parent / "masks" / "a.png"
    path.parent.mkdir()
    Image.fromarray(mask).save(path)
    return AnnotatedPicture(file=picture, mask=path)


@pytest.mark.parametrize("fit", FITS)
def test_class_numbers_lie_on_the_white_pixels_and_bars_do_not_count(masked, fit):
    (pixels,), (mask,) = next(iter(annotated_items([masked], "mask", SPEC, FITS[fit])))
    white = pixels[0, 0] > 127
    white &= pixels[0, 0] != 114
    assert ((mask == 3) == white).mean() > 0.97
    assert set(np.unique(mask)) == ({0, 3, 255} if fit == "letterbox" else {0, 3})


def test_without_targets_there_are_inputs_alone(masked):
    assert len(next(iter(annotated_items([masked], None, SPEC, PIXELS)))) == 1


def message(pictures, targets):
    with pytest.raises(DataError) as caught:
        list(annotated_items(pictures, targets, SPEC, PIXELS))
    return caught.value.message


def test_what_an_annotation_lacks_is_reported(picture, masked, tmp_path):
    box = AnnotatedPicture(file=picture, instances=(Instance(box=(1, 2, 30, 20), category=0),))
    assert message([box], "poses") == f"An object of {picture} has no keypoints, which the task pose needs."
    assert message([box], "instances") == (
        f"An object of {picture} has no outline, which the task instance_segmentation needs."
    )
    assert message([box], "mask") == (
        f"{picture} has boxes or outlines and no mask of class numbers, which the task segmentation needs. Give a "
        "folder with images and masks."
    )
    runs = AnnotatedPicture(
        file=picture, instances=(Instance(box=(1, 2, 30, 20), category=0, runs={"size": [2, 2], "counts": [1]}),)
    )
    assert message([runs], "instances") == f"A mask of {picture} is no list of counts that fill its size [2, 2]."
    Image.new("RGB", (64, 32)).save(masked.mask)
    assert message([masked], "mask") == (
        f"The mask {masked.mask} is a picture of colours (RGB); expected a PNG whose pixels are class numbers, grey or "
        "with a palette."
    )
    Image.new("L", (64, 30)).save(masked.mask)
    assert message([masked], "mask") == (
        f"The mask {masked.mask} is 64 x 30 and its picture 64 x 32. Write the mask in the picture's size."
    )


def test_a_coco_file_becomes_samples_with_padded_tables(picture, tmp_path):
    Image.new("RGB", (64, 32)).save(picture.parent / "b.png")
    boxes = [{"id": i, "image_id": 1, "category_id": 1, "bbox": [20, 4, 24, 16]} for i in (1, 2)]
    (tmp_path / "val.json").write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}],
                "categories": [{"id": 1, "name": "dog"}],
                "annotations": boxes,
            }
        )
    )
    samples = read(tmp_path, "val.json", "map(decoder='yolov8')")
    assert samples.count == 2
    targets = samples.targets()
    assert targets.shape == (2, 2, 6)
    assert targets[0].tolist() == [[10, 4, 22, 20, 0, 0]] * 2
    assert np.isnan(targets[1]).all()


def test_poses_of_pictures_without_any_are_padded_too(picture, tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("0 0.5 0.5 0.2 0.4 0.5 0.5 2")
    Image.new("RGB", (64, 32)).save(picture.parent / "b.png")
    (tmp_path / "data.yaml").write_text("val: images\nnames: [dog]\nkpt_shape: [1, 3]\n")
    targets = read(tmp_path, "data.yaml", "oks_map(decoder='yolov8', keypoints=1)").targets()
    assert targets.shape == (2, 1, 8)


def test_one_box_in_one_picture_is_a_table_and_no_row(tmp_path):
    (tmp_path / "data.py").write_text(
        "import numpy as np\n"
        "def evaluation():\n"
        "    yield (np.zeros((1, 3, 32, 32), np.float32),), np.array([[1, 2, 3, 4, 0]])\n"
        "    yield (np.zeros((2, 3, 32, 32), np.float32),), [np.zeros((0, 5)), np.ones((2, 5))]\n"
    )
    samples = read(tmp_path, "data.py:evaluation", "map")
    assert (samples.items, samples.targets().shape) == (3, (3, 2, 5))


def test_an_item_of_several_rows_needs_a_table_each(tmp_path):
    (tmp_path / "data.py").write_text(
        "import numpy as np\ndef evaluation():\n    yield (np.zeros((2, 3, 32, 32), np.float32),), np.ones((2, 5))\n"
    )
    with pytest.raises(DataError) as caught:
        read(tmp_path, "data.py:evaluation", "map")
    assert caught.value.message == (
        "The evaluation data data.py:evaluation, item 0 has 2 rows and ndarray; expected a list of 2 targets, one a "
        "row."
    )


def read(base: Path, reference: str, metric: str) -> Samples:
    request = DataRequest(
        reference=reference, base=base, purpose="evaluation", inputs=(SPEC,), metric=metric, preprocessing=PIXELS,
        folder=base / "samples",
    )  # fmt: skip
    return materialize(request, silent)
