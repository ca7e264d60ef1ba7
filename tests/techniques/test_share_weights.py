from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.techniques.base import Context, TorchModel
from edgekit.techniques.codebook import learn_codebook, nearest_value
from edgekit.techniques.share_weights import ShareWeights
from edgekit.torch_program.program_archive import load_program
from edgekit.workers.worker import silent

pytestmark = pytest.mark.filterwarnings("ignore")


def draw(seed, count=200):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(count, generator=generator, dtype=torch.float64),
        torch.rand(count, generator=generator).double(),
    )


def error(weights, importance, book):
    return float(((weights - nearest_value(weights, book)).square() * importance).sum())


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), size=st.sampled_from([2, 4, 16]), zero=st.booleans())
def test_a_codebook_beats_even_steps_and_holds_zero_where_it_has_to(seed, size, zero):
    weights, importance = draw(seed)
    book = learn_codebook(weights, importance, size, holds_zero=zero)
    assert len(book) <= size
    assert bool((book[1:] > book[:-1]).all())
    assert not zero or 0.0 in book.tolist()
    even = torch.linspace(float(weights.min()), float(weights.max()), size, dtype=torch.float64)
    assert zero or error(weights, importance, book) <= error(weights, importance, even)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000))
def test_every_value_is_the_weighted_mean_of_the_weights_that_take_it(seed):
    weights, importance = draw(seed)
    book = learn_codebook(weights, importance, 4, holds_zero=False)
    taken = nearest_value(weights, book)
    for value in book.tolist():
        mine = taken == value
        mean = float((weights[mine] * importance[mine]).sum() / importance[mine].sum())
        assert value == pytest.approx(mean, abs=0.05)


@given(seed=st.integers(0, 10_000))
@settings(deadline=None)
def test_the_nearest_value_is_the_nearest(seed):
    weights, _ = draw(seed, 20)
    book = draw(seed + 1, 5)[0].sort().values
    distances = (weights[:, None] - book).abs()
    torch.testing.assert_close((weights - nearest_value(weights, book)).abs(), distances.min(dim=1).values)


def test_weights_that_already_take_few_values_keep_them():
    weights = torch.tensor([-1.0, 0.5, 2.0] * 20, dtype=torch.float64)
    book = learn_codebook(weights, torch.ones(60, dtype=torch.float64), 16, holds_zero=False)
    torch.testing.assert_close(nearest_value(weights, book), weights)


@pytest.fixture(scope="module")
def shared(tiny, tmp_path_factory):
    given, folder = tiny("attention"), tmp_path_factory.mktemp("shared")
    program = load_program(given.model.path, "test")
    program.state_dict["outer.weight"].data[:, ::2] = 0  # as sparsify leaves them
    context = Context(samples=given.samples, scratch=folder, progress=silent)
    before = TorchModel(facts=given.model, program=program)
    return before, ShareWeights(bits=3).apply(before, context).program.state_dict


def test_large_layers_take_few_values_and_small_ones_stay(shared):
    before, after = shared
    assert len(after["inner.weight"].unique()) <= 8
    assert len(after["outer.weight"].unique()) <= 8
    torch.testing.assert_close(after["query.weight"], before.program.state_dict["query.weight"])


def test_pruned_weights_stay_zero(shared):
    _, after = shared
    assert bool((after["outer.weight"][:, ::2] == 0).all())
    assert bool((after["outer.weight"][:, 1::2] != 0).any())
