"""What an artifact says about itself, read back from its metadata."""

from __future__ import annotations

import json

import pytest

from edgekit.pipeline.artifact_metadata import PREPROCESSING_KEY, Embedded, labels_line, origin_line, read_embedded
from edgekit.task.task import ImagePreprocessing

STEPS = ImagePreprocessing(resize=256, mean=(1.0, 2.0, 3.0), std=(4.0,), color="bgr")


def test_what_was_embedded_comes_back() -> None:
    metadata = {
        "labels": "cat\ndog",
        PREPROCESSING_KEY: json.dumps(STEPS.to_json()),
        "edgekit.version": "1.2",
        "edgekit.digest": "ab" * 32,
        "other": "not ours",
    }
    embedded = read_embedded(metadata)
    assert embedded.labels == ("cat", "dog")
    assert embedded.preprocessing == STEPS
    assert embedded.provenance == {"version": "1.2", "digest": "ab" * 32}
    assert embedded.to_json()["preprocessing"] == {
        "resize": 256,
        "mean": [1.0, 2.0, 3.0],
        "std": [4.0],
        "color": "bgr",
    }


@pytest.mark.parametrize(
    "text", ["", "no json", "[]", "{}", '{"resize": null, "mean": 3, "std": [1], "color": "rgb"}'], ids=repr
)
def test_somebody_elses_entry_counts_as_not_there(text: str) -> None:
    assert read_embedded({PREPROCESSING_KEY: text}) == Embedded()


@pytest.mark.parametrize(
    ("known", "line"),
    [
        ({}, "The file does not say where it comes from."),
        ({"version": "1.2"}, "Made by edgekit 1.2 from an unnamed model."),
        (
            {
                "version": "1.2",
                "source": "model.py:build",
                "digest": "0123456789abcdef",
                "precision": "int8-static",
                "techniques": "equalize",
                "calibration": "fedcba9876543210",
            },
            (
                "Made by edgekit 1.2 from model.py:build (digest 0123456789ab), int8-static, after equalize, "
                "calibrated on data fedcba987654."
            ),
        ),
    ],
    ids=["elsewhere", "bare", "full"],
)
def test_the_origin_is_one_sentence(known: dict[str, str], line: str) -> None:
    assert origin_line(Embedded(provenance=known)) == line


def test_many_labels_are_counted_and_few_are_shown() -> None:
    assert labels_line(("cat", "dog")) == "2: cat, dog"
    assert labels_line(("cat", "dog", "horse", "cow")) == "4: cat, dog, horse ..."
