"""A metric that is a function in memory."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.errors import DataError
from edgekit.metrics.measure_drop import measure_drop
from edgekit.metrics.metric_function import MetricFunction
from edgekit.samples import SampleWriter, write_samples


def same(outputs, targets):
    return float((outputs.argmax(1) == targets).mean())


@pytest.fixture
def samples(tmp_path):
    outputs = write_samples(tmp_path / "outputs", ["y"], [(np.eye(4, dtype="f4")[i : i + 1],) for i in range(4)])
    with SampleWriter(tmp_path / "evaluation", ["x"]) as writer:
        for i in range(4):
            writer.add((np.zeros((1, 2), "f4"),))
            writer.add_item(i)
    from edgekit.samples import Samples

    return outputs, Samples.open(tmp_path / "evaluation")


def test_it_judges_by_its_function_and_is_named_after_it(samples):
    outputs, evaluation = samples
    drop = measure_drop(MetricFunction(same), outputs, outputs, evaluation)
    assert (drop.metric, drop.artifact_value, drop.value) == ("same()", 100.0, 0.0)


def test_another_process_that_has_only_its_name_says_why_it_cannot_judge(samples):
    outputs, evaluation = samples
    with pytest.raises(DataError) as caught:
        measure_drop(str(MetricFunction(same)), outputs, outputs, evaluation)
    assert caught.value.message == (
        "The metric same() is a function of the process that called edgekit, and this is judged in another one. "
        'Give it as text: "metrics.py:function".'
    )
