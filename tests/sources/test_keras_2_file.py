"""HDF5 files of Keras 2, in the words of Keras 3."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgekit.sources.keras_2_file import CONFIG, in_words_of_keras_3

h5py = pytest.importorskip("h5py")


def translated(folder: Any, layer: str, config: dict[str, Any]) -> Any:
    architecture = {"class_name": "Functional", "config": {"layers": [{"class_name": layer, "config": config}]}}
    with h5py.File(folder / "net.h5", "w") as file:
        file.attrs[CONFIG] = json.dumps(architecture)
    read = in_words_of_keras_3(folder / "net.h5", folder / "copy.h5")
    with h5py.File(read, "r") as file:
        (found,) = json.loads(file.attrs[CONFIG])["config"]["layers"]
    return read.name, found["config"]


@pytest.mark.parametrize(
    ("layer", "config", "expected"),
    [
        ("DepthwiseConv2D", {"name": "a", "groups": 1}, {"name": "a"}),
        ("LSTM", {"units": 3, "implementation": 2, "time_major": False}, {"units": 3}),
        ("BatchNormalization", {"axis": [3], "fused": None}, {"axis": 3}),
    ],
    ids=["depthwise", "lstm", "norm"],
)
def test_settings_that_change_nothing_are_left_out(tmp_path, layer, config, expected):
    assert translated(tmp_path, layer, config) == ("copy.h5", expected)


@pytest.mark.parametrize(
    ("layer", "config"),
    [("Conv2D", {"groups": 1}), ("DepthwiseConv2D", {"groups": 2}), ("LSTM", {"time_major": True})],
    ids=["still-known", "groups", "time-major"],
)
def test_other_settings_stay_and_the_file_is_read_as_it_is(tmp_path, layer, config):
    assert translated(tmp_path, layer, config) == ("net.h5", config)


def test_a_file_without_an_architecture_is_left_alone(tmp_path):
    h5py.File(tmp_path / "net.h5", "w").close()
    assert in_words_of_keras_3(tmp_path / "net.h5", tmp_path / "copy.h5") == tmp_path / "net.h5"
