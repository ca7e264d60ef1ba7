from __future__ import annotations

import numpy as np

from edgekit.heads.client_form import FinishedForm, RawForm, client_form
from edgekit.heads.retinanet import RetinaNet
from edgekit.heads.ssd_finished import SsdFinished
from edgekit.heads.yolov8 import YoloV8

SIZE = (32, 64)


def test_anchors_are_shares_of_the_input():
    decoder = RetinaNet(strides="32", sizes="0.5", ratios="1", rows_first=True, logits=False)
    form = client_form(decoder, SIZE)
    assert isinstance(form, RawForm)
    assert not form.logits
    # One row of two cells with squares of 64 pixels around their corners.
    assert np.allclose(form.anchors, [[0, 0, 1, 2], [0.5, 0, 1, 2]])


def test_the_form_decodes_what_the_decoder_decodes():
    decoder = RetinaNet(strides="16", sizes="0.5", rows_first=True)
    form = client_form(decoder, SIZE)
    assert isinstance(form, RawForm)
    offsets = np.random.default_rng(0).normal(0, 0.05, (len(form.anchors), 4))
    own = decoder.predict((offsets, np.zeros((len(offsets), 2))), SIZE).boxes
    centre = offsets[:, [1, 0]] * form.anchors[:, 2:] + form.anchors[:, :2]
    sides = np.exp(offsets[:, [3, 2]]) * form.anchors[:, 2:]
    boxes = np.concatenate([centre - sides / 2, centre + sides / 2], 1) * ([SIZE[1], SIZE[0]] * 2)
    assert np.allclose(np.clip(boxes, 0, [SIZE[1], SIZE[0]] * 2), own)


def test_other_heads_have_no_form():
    assert isinstance(client_form(SsdFinished(), SIZE), FinishedForm)
    assert client_form(RetinaNet(), SIZE) is None
    assert client_form(YoloV8(), SIZE) is None
