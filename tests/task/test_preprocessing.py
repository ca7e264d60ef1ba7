"""What is known about how pictures become inputs."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.errors import DataError
from edgekit.model import TensorSpec
from edgekit.task.preprocessing import describe_preprocessing, image_input, known_preprocessing
from edgekit.task.task import ImagePreprocessing, Task

RGB = TensorSpec(name="image", shape=(1, 3, 24, 32), dtype="float32", layout="NCHW")
GREY = TensorSpec(name="image", shape=(1, 28, 28, 1), dtype="float32", layout="NHWC")
IDS = TensorSpec(name="ids", shape=(1, 12), dtype="int64")
THREE = ImagePreprocessing(mean=(1.0, 2.0, 3.0), std=(4.0,))


def task(base: Path, **changes: object) -> Task:
    return replace(Task(model="net.onnx", base=base), **changes)  # type: ignore[arg-type]  # fields by name


def test_a_task_that_says_nothing_has_none(tmp_path: Path) -> None:
    assert known_preprocessing(task(tmp_path, calibration="data.py:calibration"), (RGB,)) is None


def test_a_folder_of_images_is_prepared_by_edgekit_so_it_is_known(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    assert known_preprocessing(task(tmp_path, calibration="images"), (RGB,)) == ImagePreprocessing()
    assert known_preprocessing(task(tmp_path, calibration="images"), (IDS,)) is None


def test_what_the_task_states_is_taken_for_the_one_image_input(tmp_path: Path) -> None:
    stated = task(tmp_path, preprocessing=THREE, preprocessing_stated=True)
    assert known_preprocessing(stated, (IDS, RGB)) == THREE


def test_a_picture_is_refused_where_the_model_takes_none(tmp_path: Path) -> None:
    stated = task(tmp_path, preprocessing=THREE, preprocessing_stated=True)
    expected = (
        "[data.preprocessing] describes pictures, and net.onnx has no single input of floats that takes one "
        "(1 or 3 channels, NCHW or NHWC); it takes ids (1, 12) int64. Remove the table."
    )
    with pytest.raises(DataError, match=f"^{re.escape(expected)}$"):
        known_preprocessing(stated, (IDS,))


def test_another_number_of_channels_is_refused(tmp_path: Path) -> None:
    stated = task(tmp_path, preprocessing=THREE, preprocessing_stated=True)
    expected = (
        '[data.preprocessing] mean has 3 values and the input "image" of net.onnx has 1 channels. '
        "Give one value, or one a channel."
    )
    with pytest.raises(DataError, match=f"^{re.escape(expected)}$"):
        known_preprocessing(stated, (GREY,))


def test_two_pictures_are_not_one() -> None:
    assert image_input((RGB, replace(RGB, name="second"))) is None
    assert image_input((IDS, GREY)) == GREY


@pytest.mark.parametrize(
    ("steps", "spec", "sentence"),
    [
        (
            ImagePreprocessing(resize=36, mean=(1.0, 2.5, 3.0), std=(2.0, 2.0, 2.0), color="bgr"),
            RGB,
            (
                "short side resized to 36 pixels, 24 x 32 cut from the centre, BGR, (pixel - (1, 2.5, 3)) / 2 "
                "with pixels from 0 to 255"
            ),
        ),
        (
            ImagePreprocessing(),
            GREY,
            "resized to 28 x 28, grey, (pixel - 0) / 255 with pixels from 0 to 255",
        ),
        (
            ImagePreprocessing(),
            None,
            "resized to the input's size, RGB, (pixel - 0) / 255 with pixels from 0 to 255",
        ),
    ],
    ids=["cropped", "grey", "no input"],
)
def test_the_steps_are_reported_in_words(steps: ImagePreprocessing, spec: TensorSpec | None, sentence: str) -> None:
    assert describe_preprocessing(steps, spec) == sentence
