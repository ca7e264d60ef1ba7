from __future__ import annotations

import numpy as np

from edgekit.heads.retinanet import RetinaNet

SIZE = (128, 256)


def test_torchvision_decodes_the_same(torchvision_detection, generator):
    import torch
    from torchvision.models.detection._utils import BoxCoder
    from torchvision.models.detection.image_list import ImageList
    from torchvision.models.detection.retinanet import _default_anchorgen

    images = ImageList(torch.zeros(1, 3, *SIZE), [SIZE])
    levels = [torch.zeros(1, 1, SIZE[0] // s, SIZE[1] // s) for s in (8, 16, 32, 64, 128)]
    anchors = _default_anchorgen()(images, levels)[0]
    assert np.abs(RetinaNet().anchors(SIZE) - anchors.numpy()).max() < 1e-3
    offsets = torch.from_numpy(0.3 * generator.standard_normal((len(anchors), 4)).astype(np.float32))
    boxes = BoxCoder(weights=(1.0, 1.0, 1.0, 1.0)).decode_single(offsets, anchors).clamp(min=0)
    boxes[:, 0::2].clamp_(max=SIZE[1])
    boxes[:, 1::2].clamp_(max=SIZE[0])
    logits = generator.standard_normal((len(anchors), 3))
    found = RetinaNet().predict((logits, offsets.numpy().astype(np.float64)), SIZE)
    assert np.abs(found.boxes - boxes.numpy()).max() < 1e-3
    assert np.allclose(found.scores, 1 / (1 + np.exp(-logits)))


def test_the_first_anchors_are_those_of_the_paper():
    anchors = RetinaNet().anchors(SIZE)
    assert len(anchors) == 9 * (16 * 32 + 8 * 16 + 4 * 8 + 2 * 4 + 1 * 2)
    assert anchors[0].tolist() == [-23, -11, 23, 11]  # 32 pixels, height half of the width
    assert anchors[3].tolist() == [-16, -16, 16, 16]
    assert anchors[9].tolist() == [-15, -11, 31, 11]  # the next cell, 8 pixels to the right


def test_offsets_move_and_scale_the_anchor():
    anchors = RetinaNet().anchors(SIZE)
    offsets = np.zeros((len(anchors), 4))
    place = 9 * (32 * 8 + 16) + 3
    offsets[place] = 0.25, -0.5, np.log(2), 0
    box = RetinaNet().predict((np.zeros((len(anchors), 1)), offsets), SIZE).boxes[place]
    assert np.abs(box - [16 * 8 + 8 - 32, 8 * 8 - 16 - 16, 16 * 8 + 8 + 32, 8 * 8 - 16 + 16]).max() < 1e-3


def test_other_shapes_are_refused_with_what_was_expected():
    assert RetinaNet().why_not(((5, 4), (5, 3)), SIZE) == (
        "they have the shapes (5, 4), (5, 3); expected (6138, classes) and (6138, 4)"
    )


def test_rows_first_reads_y_x_height_width():
    anchors = RetinaNet().anchors(SIZE)
    offsets = np.random.default_rng(1).normal(0, 0.1, (len(anchors), 4))
    scores = np.zeros((len(anchors), 1))
    swapped = RetinaNet(rows_first=True).predict((scores, offsets[:, [1, 0, 3, 2]]), SIZE)
    assert np.array_equal(swapped.boxes, RetinaNet().predict((scores, offsets), SIZE).boxes)
