"""From a task file with `[search]` to the recommended variant: interrupted, taken up again, measured by a runtime."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import pytest

from edgekit.cli.app import main
from edgekit.pipeline.settings import Settings
from edgekit.searching import halving
from edgekit.workers.worker import JobResult

pytestmark = [pytest.mark.runtime, pytest.mark.filterwarnings("ignore")]  # torch warns while it exports

CONFIG = """
[model]
source = "net.py:build"
example_inputs = "net.py:example_inputs"
[data]
evaluation = "net.py:evaluation"
metric = "top1"
[training]
batches = "net.py:batches"
held_out = "net.py:held_out"
loss = "net.py:loss"
epochs = 2
[search]
factory = "net.py:variant"
width = [4, 6, 400, 0]
size = [6]
"""

NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width, size):
        super().__init__()
        if not width:
            raise ValueError("a net of no width")
        self.inner, self.norm, self.outer = nn.Linear(size, width), nn.BatchNorm1d(width), nn.Linear(width, 2)

    def forward(self, x):
        return self.outer(torch.relu(self.norm(self.inner(x))))


def rows(count, size, seed):
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(0, 2, (count,), generator=generator)
    return torch.randn(count, size, generator=generator) + 2.0 * target[:, None], target


def build():
    torch.manual_seed(0)
    net = Net(8, 8)
    optimizer = torch.optim.Adam(net.parameters(), 0.05)
    for step in range(30):
        inputs, target = rows(64, 8, step)
        optimizer.zero_grad()
        loss(net(inputs), target).backward()
        optimizer.step()
    return net.eval()


def variant(width, size=8):
    return Net(width, size)


def example_inputs(size=8):
    return (torch.zeros(1, size),)


def evaluation(size=8):
    inputs, target = rows(400, size, 999)
    yield (inputs.numpy(),), target.numpy()


def batches(epoch, size=8):
    return [((rows(32, size, 100 * epoch + step)[0],), rows(32, size, 100 * epoch + step)[1]) for step in range(20)]


def held_out(size=8):
    inputs, target = rows(100, size, 998)
    return [((inputs,), target)]


def loss(output, target):
    return nn.functional.cross_entropy(output, target)
"""

COMMAND = [
    "search", "--device", "pi4", "-f", "onnx", "-p", "fp32", "-o", "out", "--max-size", "5 kB", "--max-drop", "20 pp",
    "--learning-rate", "0.05",
]  # fmt: skip


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """An interrupted search and the one that went on: (exit codes, titles of the jobs of each, folder)."""
    folder = tmp_path_factory.mktemp("search")
    (folder / "edgekit.toml").write_text(CONFIG)
    (folder / "net.py").write_text(NET)
    patch = pytest.MonkeyPatch()
    patch.setenv("EDGEKIT_CACHE_DIR", str(folder / "cache"))
    patch.setattr(halving, "FINALISTS", 1)
    jobs: list[str] = []

    def run(self, title, job, request, progress, **_):
        """Runs the job here, which costs a tenth of a worker process; the second training is interrupted."""
        jobs.append(title)
        if title.startswith("training") and len([t for t in jobs if t.startswith("training")]) == 2:
            raise KeyboardInterrupt
        value = job.work(request, progress)
        return JobResult(value=value, wall_s=1.0, cpu_s=0.0, peak_memory_bytes=0)

    patch.setattr(Settings, "run", run)
    before = Path.cwd()
    os.chdir(folder)
    try:
        codes = [main([*COMMAND, "-q"])]
        first, jobs[:] = list(jobs), ["training, so that none is interrupted any more"] * 2
        codes.append(main(COMMAND))
        yield codes, first, jobs[2:], folder
    finally:
        patch.undo()
        os.chdir(before)


def trained(titles):
    return [title.removeprefix("training of ") for title in titles if title.startswith("training")]


def test_an_interrupted_search_goes_on_where_it_stopped(story):
    codes, first, second, _ = story
    assert codes == [130, 0]
    assert trained(first) == ["width=4 size=6", "width=6 size=6"]
    # The first variant's first rung was found; one of the two goes on to the second rung.
    assert trained(second)[0] == "width=6 size=6"
    assert len(trained(second)) == 2


def test_the_record_tells_what_became_of_each_variant(story):
    found = json.loads((story[3] / "out" / "search.json").read_text())
    rows = {row["arguments"]["width"]: row for row in found["variants"]}
    assert found["bindings"] == {
        "width": ["factory"],
        "size": ["factory", "example_inputs", "evaluation", "batches", "held_out"],
    }
    assert found["rungs"] == [{"trials": 2, "epochs": 1}, {"trials": 1, "epochs": 2}]
    assert rows[400]["fate"] == "turned down"
    assert rows[400]["reason"].startswith("predicted size ")
    assert rows[400]["reason"].endswith(" exceeds 5 kB (--max-size) by " + rows[400]["reason"].rpartition(" by ")[2])
    assert rows[0]["fate"] == "failed"
    assert rows[0]["reason"].startswith("cannot be built: net.py:variant(width=0, size=6) failed:\n")
    assert sorted(rows[width]["fate"] for width in (4, 6)) == ["dropped", "measured"]


def test_the_finalist_is_measured_on_its_own_inputs_and_compared_with_the_model(story):
    folder = story[3] / "out"
    found = json.loads((folder / "search.json").read_text())
    (row,) = [row for row in found["variants"] if row["measured"]]
    assert (found["recommended"], found["passed"], row["passed"]) == (row["name"], True, True)
    assert row["model"]["inputs"][0]["shape"] == [1, 6]
    assert row["trained"]["epochs"] == len(row["trained"]["history"]) == 2
    measured, own = row["measured"], found["reference"]["measured"]
    checks = {check["name"]: check for check in measured["checks"]}
    assert measured["accuracy"]["artifact"] > 85
    assert checks["accuracy_drop"]["value"] == pytest.approx(
        own["accuracy"]["float"] - measured["accuracy"]["artifact"]
    )
    assert checks["parity"]["value"] > 60  # against its own float, not against the other network
    assert checks["latency"]["basis"] == "predicted"
    assert measured["host"]["ratio_to_reference"] > 0
    assert own["host"]["ratio_to_reference"] is None
    kept = {path.name for path in folder.iterdir()}
    assert kept == {"search.json", f"{row['name']}.pt2", f"{row['name']}-fp32.onnx"}


def test_the_next_command_exports_the_variant_with_its_own_data(story):
    from edgekit.cli.search_text import SearchText
    from edgekit.searching.result import Row
    from edgekit.task.request import make_request

    row = Row(
        name="width4", arguments={"width": 4}, fate="measured", references={"evaluation": "net.py:evaluation(size=6)"}
    )
    result = type("Result", (), {"runtime": "onnx", "device": "pi4", "recipe": type("R", (), {"name": "fp32"})})
    text = SearchText(result=result, folder=Path("out"), config=Path("edgekit.toml"))
    words = shlex.split(text.next_command(row))
    assert words[:5] == ["edgekit", "export", "out/width4.pt2", "-c", "edgekit.toml"]
    overrides = {"evaluation": words[words.index("--evaluation") + 1]}
    request = make_request(
        model=words[2], device="pi4", config=story[3] / "edgekit.toml", limits={}, overrides=overrides, cwd=story[3]
    )
    assert request.task.evaluation == "net.py:evaluation(size=6)"


def test_the_page_of_a_search_shows_every_variant(story, capsys):
    assert main(["report", str(story[3] / "out"), "-o", str(story[3] / "page.html")]) == 0
    page = (story[3] / "page.html").read_text()
    for words in ("Variants of", "width=400 size=6", "exceeds 5 kB", "chart-variants", "your model"):
        assert words in page
