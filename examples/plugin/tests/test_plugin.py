"""The plug-in is held to edgekit's contracts: one class for each thing that it brings."""

from __future__ import annotations

import numpy as np
import pytest
from edgekit_npz.npz_file import read_npz

from edgekit.errors import ModelError
from edgekit.testing.device_profile_contract import DeviceProfileContract
from edgekit.testing.format_contract import FormatContract
from edgekit.testing.metric_contract import MetricContract, MetricExample
from edgekit.testing.technique_contract import TechniqueContract


class TestNpz(FormatContract):
    name = "npz"
    cases = (("two_inputs", "fp32"), ("two_outputs", "fp32"), ("two_inputs", "fp16"))
    refused = "onnx"


def test_a_file_that_is_no_npz_model_is_refused_by_name(tmp_path):
    path = tmp_path / "net.npz"
    np.savez(path, weights=np.ones(3))
    expected = r"^net\.npz is no \.npz model: 'graph is not a file in the archive'\. Export it again\.$"
    with pytest.raises(ModelError, match=expected):
        read_npz(path)


class TestRSquared(MetricContract):
    name = "r_squared"

    def example(self):
        generator = np.random.default_rng(0)
        targets = generator.standard_normal((100, 2)).astype(np.float32)
        return MetricExample(outputs=((targets + 0.1).astype(np.float32),), targets=targets)


class TestClipWeights(TechniqueContract):
    name = "clip_weights"
    settings = {"deviations": 2.0}  # noqa: RUF012  never changed
    most_loss = 1.0


class TestNpzBoard(DeviceProfileContract):
    names = ("npz-board",)
