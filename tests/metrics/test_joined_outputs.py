"""Outputs that were split, joined again."""

from __future__ import annotations

import numpy as np

from edgekit.metrics.joined_outputs import JOINED_KEY, join, joined_metadata, read_joined
from edgekit.metrics.measure_drop import measure_drop
from edgekit.model import JoinedOutput
from edgekit.samples import write_samples

WHOLE = JoinedOutput(name="found", axis=1, members=("boxes", "scores"))


def test_what_is_embedded_is_read_back() -> None:
    assert read_joined(joined_metadata([WHOLE])) == (WHOLE,)
    assert joined_metadata([]) == {}
    assert read_joined({}) == ()


def test_somebody_elses_entry_of_that_name_counts_as_not_there() -> None:
    assert read_joined({JOINED_KEY: "yes"}) == ()
    assert read_joined({JOINED_KEY: '[{"name": 1}]'}) == ()


def test_members_are_joined_in_their_order_in_the_place_of_the_first() -> None:
    boxes, mask, scores = np.zeros((5, 4, 3)), np.ones((5, 2)), np.ones((5, 2, 3))
    names, arrays = join(("boxes", "mask", "scores"), (boxes, mask, scores), [WHOLE])
    assert names == ("found", "mask")
    assert arrays[0].shape == (5, 6, 3)
    assert arrays[0][:, 4:].all()


def test_members_that_are_not_there_stay_apart() -> None:
    names, arrays = join(("boxes",), (np.zeros((1, 4)),), [WHOLE])
    assert names == ("boxes",)
    assert arrays[0].shape == (1, 4)


def test_a_metric_sees_split_outputs_joined(tmp_path) -> None:
    metric = tmp_path / "metrics.py"
    metric.write_text("def width(outputs, targets):\n    return outputs.shape[1] / 10\n")
    rows = [(np.zeros((1, 4), "f4"), np.zeros((1, 2), "f4"))] * 8
    outputs = write_samples(tmp_path / "outputs", ["boxes", "scores"], rows)
    reference = write_samples(tmp_path / "reference", ["boxes", "scores"], rows)
    evaluation = write_samples(tmp_path / "data", ["x"], [(np.zeros((1, 1), "f4"),)] * 8)
    drop = measure_drop(f"{metric}:width", outputs, reference, evaluation, joined=(WHOLE,))
    assert drop.artifact_value == 60
