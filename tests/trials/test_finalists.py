"""The finalists of a thorough plan: the same checks from this process and from an engine's."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.checks import Check
from edgekit.errors import EdgekitError
from edgekit.exporting.inputs import read_inputs
from edgekit.pipeline.settings import Settings
from edgekit.planner.recipes import resolve_precision, steps_of
from edgekit.recipe import Candidate
from edgekit.task.task import Task
from edgekit.trials.finalists import export_finalists
from edgekit.workers.cache import Cache

pytestmark = [pytest.mark.runtime, pytest.mark.filterwarnings("ignore")]  # torch warns while it exports

DECIDING = ("size", "download", "accuracy", "accuracy_drop", "slice_drop", "parity")

NET = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2)).eval()

def example_inputs():
    return (torch.zeros(1, 6),)

def evaluation():
    torch.manual_seed(1)
    return [((torch.randn(8, 6),), torch.zeros(8, dtype=torch.int64))]
"""


def reported(found: list[tuple[Check, ...] | EdgekitError]) -> list[object]:
    """Returns the checks that a plan takes figures from, without memory, which is measured anew each time."""
    return [
        one.message if isinstance(one, EdgekitError) else [check for check in one if check.name in DECIDING]
        for one in found
    ]


def test_finalists_are_judged_alike_in_this_process_and_by_an_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net.py").write_text(NET)
    task = Task(
        model="net.py:build", base=tmp_path, example_inputs="net.py:example_inputs", evaluation="net.py:evaluation",
        metric="agreement",
    )  # fmt: skip
    recipes = [resolve_precision(name, "mlp", "onnx", {}) for name in ("fp32", "fp16", "int8")]
    candidates = [Candidate(runtime="onnx", recipe=recipe, steps=steps_of(recipe)) for recipe in recipes]
    found: dict[int, list[object]] = {}
    for jobs in (1, 2):
        monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / f"cache{jobs}"))
        settings = Settings(cache=Cache(root=tmp_path / f"cache{jobs}"), jobs=jobs)
        inputs = read_inputs(task, ["onnx"], settings)
        found[jobs] = reported(export_finalists(candidates, inputs, settings))
    assert found[1] == found[2]
    assert isinstance(found[1][0], list)
    assert {"size", "download", "accuracy_drop", "parity"} <= {check.name for check in found[1][0]}
    assert [isinstance(one, str) for one in found[1]] == [False, False, True]  # int8 has no calibration data
