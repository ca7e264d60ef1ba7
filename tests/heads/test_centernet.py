from __future__ import annotations

import numpy as np

from edgekit.heads.centernet import CenterNet

SIZE = (64, 96)


def test_peaks_decode_as_published(generator):
    heat = generator.standard_normal((2, 16, 24))
    sides, offset = generator.uniform(1, 5, (2, 16, 24)), generator.uniform(0, 1, (2, 16, 24))
    found = CenterNet(score=0.0, most=1000).decode((heat, sides, offset), SIZE)
    expected = []
    for number in range(2):
        for y in range(16):
            for x in range(24):
                near = heat[number, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
                if heat[number, y, x] == near.max():
                    cx, cy = x + offset[0, y, x], y + offset[1, y, x]
                    w, h = sides[:, y, x]
                    box = [4 * (cx - w / 2), 4 * (cy - h / 2), 4 * (cx + w / 2), 4 * (cy + h / 2)]
                    expected.append((1 / (1 + np.exp(-heat[number, y, x])), number, box))
    expected.sort(key=lambda item: -item[0])
    assert len(found.scores) == len(expected)
    assert np.abs(found.boxes - np.array([box for _, _, box in expected])).max() < 1e-3
    assert found.classes.tolist() == [number for _, number, _ in expected]
    assert np.allclose(found.scores, [score for score, _, _ in expected])


def test_other_shapes_are_refused_with_what_was_expected():
    assert CenterNet().why_not(((2, 16, 24), (2, 16, 24)), SIZE) == (
        "they have the shapes (2, 16, 24), (2, 16, 24); expected (classes, 16, 24), then twice (2, 16, 24)"
    )
