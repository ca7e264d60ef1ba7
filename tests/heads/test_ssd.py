from __future__ import annotations

import numpy as np
import pytest

from edgekit.heads.ssd import Ssd

SIZE = (320, 320)
SSD300 = {
    "levels": "38,19,10,5,3,1",
    "ratios": "2;2,3;2,3;2,3;2;2",
    "scales": "0.07,0.15,0.33,0.51,0.69,0.87,1.05",
    "steps": "8,16,32,64,100,300",
}


@pytest.mark.parametrize(
    ("decoder", "size", "generator_settings"),
    [
        (Ssd(), (320, 320), {"aspect_ratios": [[2, 3]] * 6, "min_ratio": 0.2, "max_ratio": 0.95}),
        (
            Ssd(**SSD300),
            (300, 300),
            {
                "aspect_ratios": [[2], [2, 3], [2, 3], [2, 3], [2], [2]],
                "scales": [0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05],
                "steps": [8, 16, 32, 64, 100, 300],
            },
        ),
    ],
    ids=["ssdlite320", "ssd300"],
)
def test_torchvision_decodes_the_same(torchvision_detection, generator, decoder, size, generator_settings):
    import torch
    from torchvision.models.detection._utils import BoxCoder
    from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
    from torchvision.models.detection.image_list import ImageList

    levels = [int(side) for side in decoder.levels.split(",")]
    images = ImageList(torch.zeros(1, 3, *size), [size])
    theirs = DefaultBoxGenerator(**generator_settings)(images, [torch.zeros(1, 1, n, n) for n in levels])[0]
    offsets = torch.from_numpy(generator.standard_normal((len(theirs), 4)).astype(np.float32))
    boxes = BoxCoder(weights=(10.0, 10.0, 5.0, 5.0)).decode_single(offsets, theirs)
    boxes = boxes.clamp(min=0)
    boxes[:, 0::2].clamp_(max=size[1])
    boxes[:, 1::2].clamp_(max=size[0])
    found = decoder.predict((offsets.numpy().astype(np.float64), generator.standard_normal((len(theirs), 3))), size)
    assert np.abs(found.boxes - boxes.numpy()).max() < 1e-3


def test_offsets_move_and_scale_the_default_box(generator):
    decoder = Ssd(levels="2", ratios="2", scales="0.5,1", background=0)
    default = decoder.default_boxes(SIZE)
    assert len(default) == 2 * 2 * 4
    assert np.allclose(default[0], [0.25, 0.25, 0.5, 0.5])
    assert np.allclose(default[2], [0.25, 0.25, 0.5 * 2**0.5, 0.5 / 2**0.5])
    offsets, logits = np.zeros((16, 4)), generator.standard_normal((16, 3))
    offsets[0] = 1, 2, 0.5, -0.5
    found = Ssd(levels="2", ratios="2", scales="0.5,1").predict((offsets, logits), SIZE)
    w, h = 0.5 * np.exp(0.1), 0.5 * np.exp(-0.1)
    cx, cy = 0.25 + 0.1 * 1 * 0.5, 0.25 + 0.1 * 2 * 0.5
    expected = np.array([max(0, cx - w / 2), max(0, cy - h / 2), cx + w / 2, cy + h / 2]) * 320
    assert np.abs(found.boxes[0] - expected).max() < 1e-3


def test_the_background_is_no_class(generator):
    logits = generator.standard_normal((16, 3))
    found = Ssd(levels="2", ratios="2", scales="0.5,1").predict((np.zeros((16, 4)), logits), SIZE)
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert np.allclose(found.scores, chances[:, 1:])


def test_other_shapes_are_refused_with_what_was_expected():
    assert Ssd().why_not(((5, 4), (5, 3)), SIZE) == (
        "they have the shapes (5, 4), (5, 3); expected (3234, 4) and (3234, 1 + classes)"
    )
