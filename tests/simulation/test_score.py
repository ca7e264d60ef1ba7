"""The score of a simulated recipe."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgekit.samples import write_samples
from edgekit.simulation.score import score


def test_a_metric_that_lies_in_the_memory_of_another_process_is_a_reason_and_no_failure(tmp_path):
    samples = write_samples(tmp_path, ["x"], [(np.zeros((1, 2), "f4"),)])
    outputs = [np.zeros((1, 3), "f4")]
    assert score("f1()", Path(), samples, outputs, outputs) == (
        None,
        (
            "The metric f1() is a function of the process that called edgekit, and this is judged in another one. "
            'Give it as text: "metrics.py:function".'
        ),
    )
