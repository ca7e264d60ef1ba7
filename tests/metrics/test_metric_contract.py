"""The contract of a metric over edgekit's own."""

from __future__ import annotations

import numpy as np

from edgekit.registry import METRICS
from edgekit.testing.metric_contract import MetricContract, MetricExample


class TestTop1(MetricContract):
    name = "top1"


class TestAgreement(MetricContract):
    name = "agreement"
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


def test_every_metric_of_the_table_is_held_to_the_contract():
    assert {cls.name for cls in MetricContract.__subclasses__()} >= set(METRICS)
