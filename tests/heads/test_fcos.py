from __future__ import annotations

import numpy as np
import pytest

from edgekit.heads.fcos import Fcos

SIZE = (128, 256)
COUNTS = [(128 // s) * (256 // s) for s in (8, 16, 32, 64, 128)]


@pytest.fixture
def outputs(generator):
    count = sum(COUNTS)
    return (
        generator.standard_normal((count, 3)),
        generator.uniform(0, 3, (count, 4)),
        generator.standard_normal((count, 1)),
    )


def test_cells_decode_as_published(outputs):
    classes, distances, centerness = outputs
    found = Fcos().predict(outputs, SIZE)
    index = 0
    for stride in (8, 16, 32, 64, 128):
        for y in range(128 // stride):
            for x in range(256 // stride):
                left, top, right, bottom = distances[index] * stride
                cx, cy = stride // 2 + x * stride, stride // 2 + y * stride
                box = np.clip([cx - left, cy - top, cx + right, cy + bottom], 0, [256, 128, 256, 128])
                assert np.abs(found.boxes[index] - box).max() < 1e-3
                index += 1
    expected = np.sqrt(1 / (1 + np.exp(-classes)) / (1 + np.exp(-centerness)))
    assert np.allclose(found.scores, expected)


def test_levels_decode_as_all_together(outputs):
    ends = np.cumsum(COUNTS)[:-1]
    levels = [part for array in outputs for part in np.split(array, ends)]
    assert np.array_equal(Fcos().predict(tuple(levels), SIZE).boxes, Fcos().predict(outputs, SIZE).boxes)


def test_torchvision_decodes_the_same(torchvision_detection, outputs):
    import torch
    from torchvision.models.detection._utils import BoxLinearCoder
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.image_list import ImageList

    images = ImageList(torch.zeros(1, 3, *SIZE), [SIZE])
    levels = [torch.zeros(1, 1, SIZE[0] // s, SIZE[1] // s) for s in (8, 16, 32, 64, 128)]
    made = AnchorGenerator(((8,), (16,), (32,), (64,), (128,)), ((1.0,),) * 5)(images, levels)[0]
    boxes = BoxLinearCoder(normalize_by_size=True).decode(torch.from_numpy(outputs[1]), made).numpy()
    found = Fcos(offset=0.0).predict(outputs, SIZE)
    assert np.abs(found.boxes - np.clip(boxes, 0, [256, 128, 256, 128])).max() < 1e-3


def test_other_shapes_are_refused_with_what_was_expected():
    assert Fcos().why_not(((5, 3), (5, 4)), SIZE) == (
        "they have the shapes (5, 3), (5, 4); expected (cells, classes), (cells, 4) and (cells, 1) for 682 cells, "
        "together or level by level [512, 128, 32, 8, 2]"
    )
