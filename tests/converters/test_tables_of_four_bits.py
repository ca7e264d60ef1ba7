"""Embedding tables of 4 bits, in every format: what its runtime gives is the table that the rounding made."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit.artifact import measure_files
from edgekit.formats.table import find_format
from edgekit.quantization.grouped_weights import round_groups
from edgekit.recipe import Recipe
from edgekit.registry import FORMATS
from edgekit.workers.structure import unstructure

pytestmark = [pytest.mark.runtime, pytest.mark.filterwarnings("ignore")]  # frameworks warn while converting

INT4 = Recipe(default="int4_weights")
# Core ML computes in 16 bits otherwise.
TABLES = dict.fromkeys(FORMATS, INT4) | {
    "coreml": Recipe(default="fp32", overrides=(("*", "int4_weights"),)),
}
# What looks up is in 4 bits, what scores in 8.
PARTED = {
    name: Recipe(default="int4_weights", overrides=(("head", "int8_weights" if name == "coreml" else "int8_dynamic"),))
    for name in FORMATS
}
CASES = {
    "tables": ("tables", TABLES),
    "tied": ("tied_table", dict.fromkeys(FORMATS, INT4)),
    "parted": ("tied_table", PARTED),
}


@pytest.fixture(scope="module", params=sorted(FORMATS))
def made(request, tiny, tmp_path_factory):
    """Returns (format, folder of its artifacts, what each conversion says)."""
    folder, runtime = tmp_path_factory.mktemp(request.param), request.param
    items = [
        {
            "model": unstructure(tiny(name).captured),
            "recipe": recipes[runtime].to_json(),
            "calibration": str(tiny(name).calibration),
            "io": "float",
            "output": str(folder / f"{case}{find_format(runtime).suffix}"),
        }
        for case, (name, recipes) in CASES.items()
    ]
    payload = {"runtime": runtime, "items": items, "results": str(folder / "results.json")}
    script = Path(__file__).with_name("convert_tiny.py")
    subprocess.run([sys.executable, str(script)], input=json.dumps(payload), text=True, check=True)
    results = json.loads((folder / "results.json").read_text())
    return runtime, folder, dict(zip(CASES, results, strict=True))


def outputs_of(runtime, folder, name, rows):
    path = str(folder / f"{name}{find_format(runtime).suffix}")
    session = importlib.import_module(find_format(runtime).session).Runtime(path, "", 1).open(path)
    dtypes = [item["dtype"] for item in session.inputs]
    results = [session.run([a.astype(t) for a, t in zip(row, dtypes, strict=True)]) for row in rows]
    return [np.concatenate([item[i] for item in results]) for i in range(len(results[0]))]


def reference(tiny, rows):
    """Returns what float tables give that hold what the rounding made of them."""
    import torch

    state = torch.export.load(tiny("tables").captured.path).state_dict
    ids = np.concatenate([row[0] for row in rows])
    return [
        round_groups(state["wide.weight"].detach().numpy(), 64).values()[ids],
        round_groups(state["middle.weight"].detach().numpy(), 32).values()[ids],
    ]


def test_the_runtime_gives_the_rows_that_the_rounding_made(made, tiny):
    runtime, folder, results = made
    assert "error" not in results["tables"], results["tables"]
    rows = tiny("tables").rows
    wide, middle, odd = outputs_of(runtime, folder, "tables", rows)
    for expected, found in zip(reference(tiny, rows), (wide, middle), strict=True):
        assert np.abs(expected - found).max() < 1e-6
    exact = tiny("tables").outputs[2]
    assert np.abs(odd - exact).max() <= np.abs(exact).max() / 127  # 8 bits: half a step of each row


def test_the_file_holds_half_a_byte_a_weight(made, tiny):
    runtime, folder, _ = made
    size = measure_files(folder / f"tables{find_format(runtime).suffix}")[0]
    assert size < 500 * (128 + 96) * 0.5 + 500 * 40 + 30_000


@pytest.mark.parametrize("case", ["tied", "parted"])
def test_a_table_that_scores_words_too_is_near_the_float_model(made, tiny, sqnr, case):
    runtime, folder, results = made
    assert "error" not in results[case], results[case]
    found = outputs_of(runtime, folder, case, tiny("tied_table").rows)
    assert sqnr(tiny("tied_table").outputs[0], found[0]) > {"tied": 13, "parted": 15}[case]
