from __future__ import annotations

import numpy as np
import pytest

from edgekit.errors import DataError, PluginError
from edgekit.heads import table
from edgekit.heads.table import find_decoder
from edgekit.heads.yolov8 import YoloV8
from edgekit.registry import DECODERS, decoder_targets


@pytest.mark.parametrize("name", DECODERS)
def test_every_decoder_of_the_table_is_made_with_its_defaults(name):
    assert find_decoder(name, {}).title


def test_settings_reach_the_decoder():
    assert find_decoder("yolov8", {"classes": 3, "score": 1}) == YoloV8(classes=3, score=1)


def test_a_decoder_that_nobody_knows_is_refused():
    with pytest.raises(DataError) as caught:
        find_decoder("yolo99", {})
    assert caught.value.message == f'[head] decoder is "yolo99"; accepted are {", ".join(decoder_targets())}.'


def test_a_setting_that_nobody_knows_is_refused_with_those_that_are_known():
    with pytest.raises(DataError) as caught:
        find_decoder("detr", {"anchors": "1"})
    assert caught.value.message == ('The decoder detr has no setting "anchors": accepted are score, iou, most, scores.')


@pytest.mark.parametrize("value", ["a", True])
def test_a_value_of_another_type_is_refused(value):
    with pytest.raises(DataError) as caught:
        find_decoder("yolov8", {"classes": value})
    assert caught.value.message == f"The decoder yolov8: classes is {value!r}; expected a whole number."


def test_what_is_no_decoder_is_refused(monkeypatch):
    monkeypatch.setattr(table, "decoder_targets", lambda: {"own": "numpy:ndarray"})
    with pytest.raises(PluginError) as caught:
        find_decoder("own", {})
    assert caught.value.message == (
        'The entry point "own" of edgekit.decoders must name a subclass of edgekit.heads.decoder.Decoder; '
        "numpy:ndarray is not one. Mend the distribution that brings it."
    )


def test_outputs_of_another_head_are_refused_with_what_to_do():
    with pytest.raises(DataError) as caught:
        find_decoder("heatmap", {}).decode((np.zeros((3, 5)),), (64, 96))
    assert caught.value.message == (
        "The outputs are no head of heatmaps: they have the shapes (3, 5); expected one (points, h, w) of the input's "
        "proportions. Correct [head] in the task file; the decoders and their settings: docs/guides/tasks.md."
    )
