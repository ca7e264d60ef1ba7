from __future__ import annotations

import numpy as np
import pytest

from edgekit.techniques.base import Context, TorchModel
from edgekit.techniques.program_editing import model_rows, open_graph
from edgekit.techniques.smooth_activations import SmoothActivations, _linear_readers
from edgekit.techniques.value_ranges import channel_ranges
from edgekit.torch_program.graph_nodes import operator_name
from edgekit.torch_program.program_archive import load_program
from edgekit.workers.worker import silent

pytestmark = pytest.mark.filterwarnings("ignore")


def spread(tiny_model, model):
    """Returns by how much the largest channel that a linear layer reads surpasses the mean one, for each such value."""
    graph = open_graph(TorchModel(facts=model, program=load_program(model.path, "test")))
    axes = {value: len(value.meta["val"].shape) - 1 for value in _linear_readers(graph)}
    rows = model_rows(TorchModel(facts=model, program=None), tiny_model.samples, range(tiny_model.samples.count))
    return [float(reach.max() / reach.mean()) for reach in channel_ranges(graph, axes, rows, silent).values()]


def count(model, name):
    return sum(operator_name(node) == name for node in load_program(model.path, "test").graph.nodes)


@pytest.fixture(scope="module", params=[4, 2], ids=["with products", "normalizations only"])
def smoothed(request, tiny, tmp_path_factory):
    """Returns (the tiny model, what it became, how many products that adds).

    Each normalization's residual adds one; where products may be inserted, what the attention and the GELU write adds
    one each.
    """
    given, folder = tiny("attention"), tmp_path_factory.mktemp("smoothed")
    context = Context(samples=given.samples, scratch=folder / "scratch", progress=silent)
    technique = SmoothActivations(inserts_products=request.param == 4)
    return given, technique.run(given.model, context, folder / "out"), request.param


def test_the_float_function_is_preserved_on_data(smoothed):
    given, changed, _ = smoothed
    before, after = given.outputs(), given.outputs(changed)
    np.testing.assert_allclose(after, before, atol=1e-5 * np.abs(before).max())


def test_outlier_channels_get_smaller(smoothed):
    given, changed, _ = smoothed
    before, after = spread(given, given.model), spread(given, changed)
    assert after[0] < 0.5 * before[0]


def test_a_normalization_takes_the_factors_and_the_residual_gets_them_back(smoothed):
    given, changed, products = smoothed
    assert count(changed, "mul") - count(given.model, "mul") == products
