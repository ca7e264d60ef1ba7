"""The grid of a search, who takes which parameter, and the arithmetic of choosing."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import ConfigError
from edgekit.searching.binding import bind, find_bindings, references_of, task_of
from edgekit.searching.grid import spread, variants_of
from edgekit.searching.halving import FINALISTS, ladder
from edgekit.searching.sorting import crowding_distances, dominates, fronts, select
from edgekit.task.task import SearchSpace, Task, Training, load_task

points = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12)


def test_a_grid_has_every_combination_with_names_for_files():
    made = variants_of(SearchSpace(parameters=(("width", (8, 0.5)), ("kind", ("a/b", "a b")))))
    assert [item.name for item in made] == [
        "width8-kinda_b",
        "width8-kinda_b-2",
        "width0.5-kinda_b",
        "width0.5-kinda_b-2",
    ]
    assert made[1].title == "width=8 kind=a b"


def test_a_huge_grid_is_refused_with_its_size():
    space = SearchSpace(parameters=(("width", tuple(range(30))), ("depth", tuple(range(10)))))
    with pytest.raises(
        ConfigError,
        match=r"^\[search\] has 30 \(width\) x 10 \(depth\) = 300 variants; at most 256 are looked at\. "
        r"Give fewer values\.$",
    ):
        variants_of(space)


@given(costs=st.lists(st.floats(0, 9), min_size=1, max_size=20), count=st.integers(1, 25))
def test_what_is_kept_spreads_over_the_costs_from_end_to_end(costs, count):
    kept = spread(costs, count)
    assert len(set(kept)) == len(kept) == min(count, len(costs))
    assert max(costs) in [costs[i] for i in kept]
    assert count == 1 or min(costs) in [costs[i] for i in kept]


@given(points)
def test_the_first_front_is_what_nothing_dominates_and_every_point_is_on_one_front(given_points):
    found = fronts(given_points)
    assert sorted(i for front in found for i in front) == list(range(len(given_points)))
    best = [i for i, p in enumerate(given_points) if not any(dominates(other, p) for other in given_points)]
    assert list(found[0]) == best
    for before, front in itertools.pairwise(found):
        assert all(any(dominates(given_points[j], given_points[i]) for j in before) for i in front)


@given(points, st.integers(1, 12))
def test_selection_takes_no_point_of_a_later_front_before_an_earlier_one(given_points, count):
    chosen = select(given_points, count)
    assert len(chosen) == min(count, len(given_points))
    rank = {i: k for k, front in enumerate(fronts(given_points)) for i in front}
    left = [rank[i] for i in rank if i not in chosen]
    assert not left or max(rank[i] for i in chosen) <= min(left)


def test_crowding_is_the_share_of_the_range_between_neighbours():
    assert crowding_distances([(0, 4), (1, 1), (4, 0)]) == (math.inf, 1 + 1, math.inf)
    assert crowding_distances([(1, 1)]) == (math.inf,)
    assert select([(0, 10), (1, 9), (9, 1), (10, 0)], 3) in ((0, 1, 3), (0, 2, 3))


@given(trials=st.integers(1, 300), epochs=st.integers(1, 100))
def test_a_ladder_ends_with_few_finalists_and_all_epochs(trials, epochs):
    rungs = ladder(trials, epochs)
    assert (rungs[0].trials, rungs[-1].epochs) == (trials, epochs)
    for before, after in itertools.pairwise(rungs):
        assert after.trials == math.ceil(before.trials / 2)
        assert after.epochs > before.epochs > 0
    assert rungs[-1].trials <= FINALISTS or len(rungs) == epochs


def test_halving_spends_about_as_much_on_every_rung():
    assert [(rung.trials, rung.epochs) for rung in ladder(16, 28)] == [(16, 4), (8, 12), (4, 28)]


CODE = """
def build(width=16, depth=3): ...
def example_inputs(size=32): ...
def data(size=32, **more): ...
def batches(depth, size=32): ...
"""


@pytest.fixture
def task(tmp_path: Path) -> Task:
    (tmp_path / "n.py").write_text(CODE)
    (tmp_path / "images").mkdir()
    training = Training(batches="n.py:batches(size=16)", loss="n.py:loss", epochs=2)
    return Task(
        model="n.py:build", base=tmp_path, example_inputs="n.py:example_inputs", calibration="images",
        evaluation="n.py:data", training=training, metadata={"labels": "a"},
    )  # fmt: skip


def test_a_parameter_goes_to_every_function_that_names_it(task: Task):
    space = SearchSpace(parameters=(("width", (8,)), ("depth", (1,)), ("size", (24,))))
    references = references_of(task, space)
    bindings = find_bindings(references, ["width", "depth", "size"], task.base)
    # A folder is no function, a function of any arguments names none, and the first of batches is the epoch.
    assert bindings == {"width": ["factory"], "depth": ["factory"], "size": ["example_inputs", "batches"]}
    variant = variants_of(space)[0]
    bound = task_of(task, variant, bind(references, dict(variant.arguments), bindings))
    assert bound.model == "n.py:build(width=8, depth=1)"
    assert bound.example_inputs == "n.py:example_inputs(size=24)"
    assert (bound.calibration, bound.evaluation) == ("images", "n.py:data")
    assert bound.training is not None
    assert bound.training.batches == "n.py:batches(size=24)"
    assert bound.metadata == {"labels": "a", "name": "width8-depth1-size24"}


def test_parameters_that_nobody_takes_are_reported_at_once_with_the_nearest(task: Task):
    references = references_of(task, SearchSpace(parameters=()))
    message = (
        '[search]: no function of the task has a parameter "widht" (did you mean width?); no function of the task has '
        'a parameter "xyz" (they have depth, size, width)\n'
        "Functions of the task that were looked at: n.py:build, n.py:example_inputs, n.py:data, n.py:batches(size=16)."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        find_bindings(references, ["widht", "width", "xyz"], task.base)


HEAD = '[model]\nsource = "net.onnx"\n[search]\n'


def test_a_search_table_is_read(tmp_path: Path):
    path = tmp_path / "edgekit.toml"
    path.write_text(HEAD + 'factory = "n.py:build"\nwidth = [8, 0.5]\nkind = ["a", "b"]\n')
    assert load_task(path).search == SearchSpace(
        factory="n.py:build", parameters=(("width", (8, 0.5)), ("kind", ("a", "b")))
    )
    path.write_text(HEAD + 'factory = ["a", "b"]\n')
    assert load_task(path).search == SearchSpace(parameters=(("factory", ("a", "b")),))


@pytest.mark.parametrize(
    ("lines", "faults"),
    [
        (
            'factory = 3\nwidth = 8\n"1a" = [1]\ndepth = []\nsize = [1, [2]]\nkind = [1, 1]\nrate = [inf]',
            (
                'factory: 3 was given; expected a function as "file.py:name" or "module:name"; '
                "width: 8 was given; expected a list of values, such as [8, 12, 16]; "
                '"1a" is no name of a parameter; '
                "depth: a list was given; expected a list of values, such as [8, 12, 16]; "
                "size: a list is in the list; expected numbers, text, true or false; "
                "kind: 1 is in the list twice; "
                "rate: Infinity is in the list; expected numbers, text, true or false"
            ),
        ),
        (
            'factory = "n.py:build"',
            "no parameter is named; expected at least one with its values, such as width = [8, 16]",
        ),
        ("", "a table was given; expected a table of parameters with their values, such as width = [8, 16]"),
    ],
    ids=["every fault", "a factory alone", "empty"],
)
def test_all_faults_of_a_search_table_are_reported_at_once(tmp_path: Path, lines: str, faults: str):
    path = tmp_path / "edgekit.toml"
    path.write_text(HEAD + lines)
    message = (
        f"{path} has 1 fault:\n  search: {faults}\n"
        "The keys of a task file: edgekit init writes one with all of them, explained."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        load_task(path)
