"""The contract of a decoder over edgekit's own."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.heads.table import find_decoder
from edgekit.registry import DECODERS
from edgekit.testing.decoder_contract import DecoderContract

GENERATOR = np.random.default_rng(0)
STRIDES = (8, 16, 32)


def maps(channels, strides=STRIDES):
    return tuple(GENERATOR.standard_normal((channels, -(-64 // s), -(-96 // s))) for s in strides)


EXAMPLES = {
    "yolov5": lambda: maps(3 * 7),
    "yolov8": lambda: maps(64 + 3),
    "yolo11": lambda: maps(64 + 3),
    "yolo26": lambda: maps(4 + 3),
    "yolox": lambda: (np.concatenate([GENERATOR.standard_normal((126, 4)), GENERATOR.random((126, 4))], 1),),
    "picodet": lambda: (GENERATOR.random((128, 3)), GENERATOR.standard_normal((128, 32))),
    "gfl": lambda: (GENERATOR.standard_normal((129, 3)), GENERATOR.standard_normal((129, 68))),
    "ssd": lambda: (GENERATOR.standard_normal((3234, 4)), 3 * GENERATOR.standard_normal((3234, 3))),
    "ssd_finished": lambda: (GENERATOR.random((5, 4)), np.arange(5.0), np.linspace(0.9, 0.1, 5), np.array([5.0])),
    "detr": lambda: (5 * GENERATOR.standard_normal((20, 4)), GENERATOR.uniform(0.2, 0.8, (20, 4))),
    "retinanet": lambda: (
        GENERATOR.standard_normal((len(find_decoder("retinanet", {}).anchors((64, 96))), 3)),
        GENERATOR.standard_normal((len(find_decoder("retinanet", {}).anchors((64, 96))), 4)),
    ),
    "fcos": lambda: (2 * GENERATOR.standard_normal((129, 3)), GENERATOR.random((129, 4)), GENERATOR.random((129, 1))),
    "centernet": lambda: tuple(GENERATOR.random((n, 16, 24)) for n in (3, 2, 2)),
    "dbnet": lambda: (np.pad(np.full((20, 40), 0.9), ((10, 34), (10, 46)))[None],),
    "heatmap": lambda: (GENERATOR.random((5, 16, 24)),),
}


class OfTable(DecoderContract):
    def example(self):
        return self.made

    @pytest.fixture(autouse=True, params=EXAMPLES)
    def _made(self, request):
        type(self).name, type(self).made = request.param, EXAMPLES[request.param]()


class TestOwn(OfTable):
    pass


def test_every_decoder_of_the_table_is_held_to_the_contract():
    assert set(EXAMPLES) == set(DECODERS)
