"""Does a finished file fit a device? Answered without data."""

from __future__ import annotations

import numpy as np
import pytest

import edgekit
from edgekit.errors import DataError

pytestmark = [pytest.mark.runtime, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def with_open_sizes(tmp_path_factory):
    """A Core ML package whose second size is 8 to 32."""
    ct = pytest.importorskip("coremltools")
    mb = ct.converters.mil.Builder

    @mb.program(input_specs=[mb.TensorSpec((1, ct.converters.mil.mil.get_new_symbol(), 8))])
    def program(x):
        return mb.linear(x=x, weight=np.ones((4, 8), np.float32), bias=np.zeros(4, np.float32))

    inputs = [ct.TensorType(name="x", shape=ct.Shape((1, ct.RangeDim(8, 32, default=8), 8)))]
    path = tmp_path_factory.mktemp("open") / "net.mlpackage"
    ct.convert(program, inputs=inputs, minimum_deployment_target=ct.target.iOS17, skip_model_load=True).save(str(path))
    return path


def test_sizes_for_open_inputs_are_no_evidence_that_has_to_show_anything(with_open_sizes):
    outcome = edgekit.plan(with_open_sizes, device="iphone15", inputs={"x": (1, 16, 8)})
    assert outcome.passed
    assert outcome.checks["evidence"].verdict == "not_run"
    assert outcome.checks["evidence"].limit is None


def test_latency_and_precision_come_from_the_files_own_graph(with_open_sizes):
    small, large = (edgekit.plan(with_open_sizes, device="iphone15", inputs={"x": (1, n, 8)}) for n in (8, 32))
    assert (small.checks["latency"].basis, large.checks["latency"].basis) == ("predicted", "predicted")
    assert small.checks["latency"].value < large.checks["latency"].value
    assert small.finished.artifacts["coreml"].precision == "fp16"


def test_open_sizes_are_requested(with_open_sizes):
    with pytest.raises(DataError) as raised:
        edgekit.plan(with_open_sizes, device="iphone15")
    assert str(raised.value).startswith('net.mlpackage leaves sizes of its input "x" free: (1, ?, 8).')
