"""The contract of a metric over edgekit's own."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.registry import METRICS
from edgekit.testing.metric_contract import MetricContract, MetricExample


class TestTop1(MetricContract):
    name = "top1"


class TestTop5(MetricContract):
    name = "top5"

    def example(self):
        generator = np.random.default_rng(0)
        scores = generator.standard_normal((200, 20)).astype(np.float32)
        labels = np.argsort(-scores, axis=1)[np.arange(200), generator.integers(0, 6, 200)]
        return MetricExample(outputs=(scores,), targets=labels)


class TestMacroF1(MetricContract):
    name = "macro_f1"


class TestAgreement(MetricContract):
    name = "agreement"
    needs_float = True


class TestAgreementOf(MetricContract):
    name = "agreement_of"
    needs_float = True


class TestCosine(MetricContract):
    name = "cosine"
    needs_float = True


class TestSpearman(MetricContract):
    name = "spearman"

    def example(self):
        generator = np.random.default_rng(0)
        first = generator.standard_normal((60, 8)).astype(np.float32)
        nearness = np.linspace(0, 1, 60, dtype=np.float32)[:, None]
        second = nearness * first + (1 - nearness) * generator.standard_normal((60, 8)).astype(np.float32)
        rows = np.stack([first, second], axis=1).reshape(120, 8)
        return MetricExample(outputs=(rows,), targets=nearness[:, 0], item_of_row=np.repeat(np.arange(60), 2))


class OfValues(MetricContract):
    """Outputs near their targets."""

    shape = (3,)

    def example(self):
        generator = np.random.default_rng(0)
        targets = generator.uniform(1, 2, (60, *self.shape)).astype(np.float32)
        near = targets + 0.01 * generator.standard_normal(targets.shape)
        return MetricExample(outputs=(near.astype(np.float32),), targets=targets)


class TestMae(OfValues):
    name = "mae"


class TestRmse(OfValues):
    name = "rmse"


class TestR2(OfValues):
    name = "r2"


class TestPsnr(OfValues):
    name = "psnr"
    shape = (3, 8, 9)


class TestSsim(OfValues):
    name = "ssim"
    shape = (3, 8, 9)


class TestAbsRel(OfValues):
    name = "abs_rel"
    shape = (1, 6, 7)


class TestDelta1(OfValues):
    name = "delta1"
    shape = (1, 6, 7)


class TestRecallAtK(MetricContract):
    name = "recall_at_k"

    def example(self):
        generator = np.random.default_rng(0)
        labels = np.arange(60) % 6
        embeddings = np.eye(6, 16)[labels] + 0.1 * generator.standard_normal((60, 16))
        return MetricExample(outputs=(embeddings.astype(np.float32),), targets=labels)


class TestAuroc(MetricContract):
    name = "auroc"

    def example(self):
        generator = np.random.default_rng(0)
        anomalous = (np.arange(100) % 4 == 0).astype(np.int64)
        scores = anomalous * 2 + generator.standard_normal(100)
        return MetricExample(outputs=(scores[:, None].astype(np.float32),), targets=anomalous)


class TestMiou(MetricContract):
    name = "miou"

    def example(self):
        generator = np.random.default_rng(0)
        masks = generator.integers(0, 4, (40, 6, 7))
        scores = np.eye(4)[masks].transpose(0, 3, 1, 2) + 0.2 * generator.standard_normal((40, 4, 6, 7))
        return MetricExample(outputs=(scores.astype(np.float32),), targets=masks)


class OfText(MetricContract):
    """Scores of characters, steps and classes, the blank first."""

    def example(self):
        generator = np.random.default_rng(0)
        steps = generator.integers(0, 4, (40, 12))
        scores = np.eye(4)[steps] + 0.2 * generator.standard_normal((40, 12, 4))
        targets = np.full((40, 12), -1)
        for row, numbers in enumerate(steps):
            kept = numbers[(np.diff(numbers, prepend=-1) != 0) & (numbers > 0)]
            targets[row, : len(kept)] = kept
        return MetricExample(outputs=(scores.astype(np.float32),), targets=targets)


class TestCer(OfText):
    name = "cer"


class TestWer(OfText):
    name = "wer"
    settings = "(alphabet='ab ')"


SIDE = 64


class OfBoxes(MetricContract):
    """Finished boxes (10, 6) a picture of 64 x 64, with more columns for points."""

    points = 0
    settings = "(decoder='yolo26')"
    inputs = (3, SIDE, SIDE)

    def example(self):
        generator = np.random.default_rng(0)
        rows = np.zeros((40, 10, 6 + 3 * self.points), np.float32)
        tables = []
        for row in rows:
            corners = generator.uniform(0, 40, (10, 2))
            row[:, :4] = np.concatenate([corners, corners + generator.uniform(10, 24, (10, 2))], axis=1)
            row[:, 4] = generator.uniform(0.01, 1, 10)
            row[:, 5] = np.arange(10) % 2
            row[:, 6:] = np.concatenate(
                [generator.uniform(0, 64, (10, self.points, 2)), np.full((10, self.points, 1), 2)], 2
            ).reshape(10, -1)
            real = row[row[:, 4] > 0.5]
            tables.append(np.concatenate([real[:, :4], real[:, 5:6], real[:, 6:]], axis=1))
        targets = np.full((40, 10, tables[0].shape[1]), np.nan)
        for item, table in enumerate(tables):
            targets[item, : len(table)] = table
        return MetricExample(outputs=(rows,), targets=targets)

    def noisy(self, noise):
        made = self.example()
        generator = np.random.default_rng(1)
        made.outputs[0][:, :, :4] += 8 * noise * generator.standard_normal((40, 10, 4))
        made.outputs[0][:, :, 6::3] += 8 * noise * generator.standard_normal((40, 10, self.points))
        return made


class TestMap(OfBoxes):
    name = "map"


class TestMap50(OfBoxes):
    name = "map50"


class TestOksMap(OfBoxes):
    name = "oks_map"
    points = 4
    settings = "(decoder='yolo26', keypoints=4)"


class TestPck(MetricContract):
    name = "pck"
    inputs = (3, SIDE, SIDE)

    def example(self):
        generator = np.random.default_rng(0)
        places = generator.integers(1, 15, (40, 5, 2))
        maps = 0.1 * generator.random((40, 5, 16, 16))
        targets = np.zeros((40, 1, 20))
        targets[:, 0, :5] = (0, 0, SIDE, SIDE, 0)
        targets[:, 0, 7::3] = 2
        for item in range(40):
            maps[item, np.arange(5), places[item, :, 1], places[item, :, 0]] = 1
            targets[item, 0, 5::3], targets[item, 0, 6::3] = 4 * places[item, :, 0], 4 * places[item, :, 1]
        return MetricExample(outputs=(maps.astype(np.float32),), targets=targets)


class TestMaskMap(MetricContract):
    name = "mask_map"
    settings = "(decoder='yolov8', strides='32')"
    inputs = (3, SIDE, SIDE)

    def example(self):
        pytest.importorskip("pycocotools")
        from edgekit.task.instance_masks import encode_instances

        generator = np.random.default_rng(0)
        # Four cells, two classes, one prototype of 16 x 16.
        cells = np.zeros((40, 4 + 2 + 1, 4), np.float32)
        prototypes = np.ones((40, 1, 16, 16), np.float32)
        texts = []
        for item in range(40):
            centre = np.array([[16, 48, 16, 48], [16, 16, 48, 48]])
            cells[item, :4] = np.concatenate([centre, generator.uniform(12, 30, (2, 4))])
            cells[item, 4, :2] = cells[item, 5, 2:] = generator.uniform(0.3, 1, 2)
            cells[item, 6] = 1
            masks = [self.inside(box) for box in cells[item, :4].T]
            texts.append(encode_instances(masks, [0, 0, 1, 1]))
        return MetricExample(outputs=(cells, prototypes), targets=np.asarray(texts))

    @staticmethod
    def inside(box):
        y, x = np.mgrid[:SIDE, :SIDE]
        return (abs(x + 0.5 - box[0]) < box[2] / 2) & (abs(y + 0.5 - box[1]) < box[3] / 2)

    def noisy(self, noise):
        made = self.example()
        made.outputs[0][:, :4] += 5 * noise * np.random.default_rng(1).standard_normal((40, 4, 4))
        return made


def every_subclass(of):
    return {made for cls in of.__subclasses__() for made in (cls, *every_subclass(cls))}


def test_every_metric_of_the_table_is_held_to_the_contract():
    assert {cls.name for cls in every_subclass(MetricContract) if hasattr(cls, "name")} >= set(METRICS)
