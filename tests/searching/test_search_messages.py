"""What a search refuses, and how it says so; which variant it recommends."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgekit.artifact import Artifact
from edgekit.budget import Budget, read_limit
from edgekit.checks import judge
from edgekit.cli.app import main
from edgekit.cli.search_text import SearchText
from edgekit.errors import (
    ArtifactError,
    ConfigError,
    DataError,
    EdgekitError,
    ModelError,
    ResourceError,
    TechniqueError,
    UsageError,
)
from edgekit.model import CapturedModel
from edgekit.pipeline.settings import Settings
from edgekit.recipe import Recipe
from edgekit.samples import Samples, SampleWriter
from edgekit.searching import run, survey
from edgekit.searching.measuring import MeasuredVariant, check_same_items, check_targets
from edgekit.searching.result import Row, SearchResult, read_search
from edgekit.searching.worker_entry import TrainRequest, VariantFacts, VariantsResult, train
from edgekit.task.task import SearchSpace, Task, Training
from edgekit.task.technique_text import split_step
from edgekit.training.schedule import Schedule
from edgekit.workers.cache import Cache
from edgekit.workers.worker import silent

SPACE = SearchSpace(parameters=(("width", (1, 2)),))
TASK = Task(
    model="net.py:build", base=Path("/nowhere"), evaluation="net.py:evaluation", metric="top1",
    training=Training(batches="net.py:batches", loss="net.py:loss"), search=SPACE,
)  # fmt: skip


def message_of(kind: type[EdgekitError], call: Any, *args: Any) -> str:
    with pytest.raises(kind) as caught:
        call(*args)
    return caught.value.message


def test_everything_that_a_search_lacks_is_reported_at_once():
    bare = Task(model="net.py:build", base=Path("/nowhere"), metric="agreement")
    assert message_of(ConfigError, run._require, bare) == (
        "The task: edgekit search needs\n"
        "  [search], a table of parameters with their values, such as width = [8, 16]\n"
        "  [training] with batches and loss: every variant is trained\n"
        "  [data] evaluation with targets: accuracy decides between variants\n"
        '  another [data] metric than "agreement", which compares a network with its own float model and says nothing '
        'between two networks: "top1", "spearman" or "metrics.py:function"\n'
        "See docs/commands/search.md."
    )
    assert run._require(TASK) == (SPACE, TASK.training)


def test_a_file_needs_a_factory(tmp_path: Path):
    (tmp_path / "net.onnx").write_bytes(b"onnx")
    task = replace(TASK, model="net.onnx", base=tmp_path)
    assert message_of(ConfigError, run._require, task) == (
        "The task: net.onnx is a file, and variants need a function that builds them. "
        'Name it: [search] factory = "model.py:build".'
    )
    named = replace(SPACE, factory="net.py:build")
    assert run._require(replace(task, search=named)) == (named, TASK.training)


def test_a_model_that_no_format_can_hold_is_refused(monkeypatch: pytest.MonkeyPatch):
    from edgekit.recipe import Rejection

    refused = SimpleNamespace(chosen=None, rejected=(Rejection(candidate="onnx int8", reason="no"),))
    monkeypatch.setattr(run, "analyze_model", lambda *_: None)
    monkeypatch.setattr(run, "why_not_made", lambda *_: None)
    monkeypatch.setattr(run, "find_float_heads", lambda *_: ())
    monkeypatch.setattr(run, "make_plan", lambda *_, **__: refused)
    profile: Any = SimpleNamespace(name="pi4")
    request = run.SearchRequest(task=TASK, profile=profile, budget=Budget())
    model: Any = SimpleNamespace(source="net.py:build")
    assert message_of(UsageError, run._choose, request, model, Settings()) == (
        "net.py:build cannot be exported for pi4:\n  onnx int8: no\n"
        "Name another format with --format, or another precision with --precision."
    )


def test_a_search_without_a_variant_that_can_be_built_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    failed = VariantFacts(error="boom")
    looked = VariantsResult(bindings={"width": ("factory",)}, variants={"width1": failed, "width2": failed})
    monkeypatch.setattr(Settings, "run", lambda *_: SimpleNamespace(value=looked))
    target: Any = None
    variants = run.variants_of(SPACE)
    assert TASK.training is not None
    with pytest.raises(ConfigError, match=r"^\[search\]: no variant can be built\. width=1 cannot be built: boom$"):
        survey.survey(TASK, SPACE, TASK.training, variants, target, 0, Settings(cache=Cache(root=tmp_path)))


def samples(folder: Path, targets: list[int] | None) -> Samples:
    with SampleWriter(folder, ["x"]) as writer:
        for index in range(3):
            writer.add((np.zeros((1, 2), np.float32) + index,), item=index)
            writer.add_item(None if targets is None else targets[index])
    return Samples.open(folder)


def test_evaluation_without_targets_is_refused(tmp_path: Path):
    data = samples(tmp_path / "a", None)
    inputs: Any = SimpleNamespace(task=TASK, evaluation=data, reference=data)
    assert message_of(DataError, check_targets, inputs) == (
        "net.py:evaluation yields no targets. A search compares networks by how often they are right: yield "
        "(inputs, target) from [data] evaluation."
    )


def test_a_variant_must_be_judged_on_the_same_items(tmp_path: Path):
    one, other = samples(tmp_path / "a", [0, 1, 1]), samples(tmp_path / "b", [1, 0, 1])
    check_same_items(one, one, "width=1")
    assert message_of(DataError, check_same_items, one, other, "width=1") == (
        "The evaluation data of width=1 has 3 items and other targets than the 3 of the task's own model. Accuracy is "
        "compared item by item: yield the same items in the same order, whatever the parameters are."
    )


def training_of(factory: str, folder: Path, schedule: Schedule) -> TrainRequest:
    return TrainRequest(
        name="a", references={"factory": factory}, base=folder, training_sha256="", untrained=None, calibration=None,
        training=Training(batches="net.py:batches", loss="net.py:loss", held_out="net.py:held_out"), metadata={},
        schedule=schedule, seed=0, until=1, key="k", checkpoint=folder / "c.ckpt",
    )  # fmt: skip


def test_a_variant_with_nothing_to_train_is_refused(tmp_path: Path):
    (tmp_path / "net.py").write_text("import torch\ndef build(width):\n    return torch.nn.ReLU()\n")
    request = training_of("net.py:build(width=1)", tmp_path, Schedule(epochs=1, learning_rate=0.1))
    assert message_of(ModelError, train, request, silent) == (
        "net.py:build(width=1) returned a module without a parameter that can be trained. "
        "Leave requires_grad on where edgekit search must train."
    )


def test_a_loss_that_is_no_number_is_reported_with_the_rate(tmp_path: Path):
    (tmp_path / "net.py").write_text(
        "import torch\ndef build():\n    return torch.nn.Linear(1, 1)\n"
        "def batches(epoch):\n    return [((torch.ones(2, 1),), torch.ones(2, 1))]\n"
        "def held_out():\n    return [((torch.full((2, 1), 3e38),), torch.ones(2, 1))]\n"
        "def loss(output, target):\n    return (output * 9 * target).square().mean()\n"
    )
    request = training_of("net.py:build", tmp_path, Schedule(epochs=1, learning_rate=0.1))
    assert message_of(TechniqueError, train, request, silent) == (
        "The loss of net.py:build on the held-out batches is inf. Give a smaller --learning-rate than 0.1."
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--optimizer", "lion"], '--optimizer "lion" is not known: accepted are sgd, adamw.'),
        (["--learning-rate", "0"], "--learning-rate 0 was given; expected more than 0."),
    ],
    ids=["optimizer", "learning rate"],
)
def test_wrong_flags_are_reported(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]):
    assert main(["search", "--device", "pi4", *flags]) == 2
    assert capsys.readouterr().err == f"edgekit: {message}\n"


def test_arguments_of_a_reference_survive_in_a_technique_s_settings():
    text = "distill:student=net.py:build(width=8, kind='a,b('),epochs=3"
    assert split_step(text, "x") == ("distill", {"student": "net.py:build(width=8, kind='a,b(')", "epochs": "3"})


def row(name: str, accuracy: float, latency: float, size: float, *, kept: bool = True) -> Row:
    budget = Budget(limits=(read_limit("size", "5 MB" if kept else "1 B", "profile"),))
    artifact = Artifact(
        path=Path(f"{name}.onnx"), runtime="onnx", precision="fp32", size_bytes=int(size), download_bytes=1, sha256="0"
    )
    checks = (judge("size", size, budget.get("size")), judge("latency", latency, None, basis="predicted"))
    model: Any = CapturedModel(
        name=name, source="net.py:build", source_kind="torch", kind="pt2", path=Path("gone.pt2"), inputs=(), outputs=(),
        digest="d", parameters=1, macs=int(latency), family="cnn",
    )  # fmt: skip
    measured = MeasuredVariant(artifact=artifact, checks=checks, accuracy={"artifact": accuracy, "float": accuracy})
    arguments = {"width": name} if name else {}
    return Row(name=name, arguments=arguments, fate="measured", model=model, measured=measured)


def result(*rows: Row) -> SearchResult:
    return SearchResult(
        device="pi4", device_title="Pi", runtime="onnx", recipe=Recipe(), metric="top1", limits=(),
        parameters={"width": ("a", "c")}, bindings={}, epochs=1, seed=0, rungs=(), reference=row("", 80, 9, 900),
        rows=rows,
    )  # fmt: skip


def test_the_front_and_the_recommendation():
    found = result(row("a", 82, 8, 800), row("b", 81, 8, 800), row("c", 90, 20, 2000, kept=False), row("d", 70, 1, 100))
    assert [item.name for item in found.front] == ["a", "c", "d"]
    assert found.recommended is not None
    assert found.recommended.name == "a"
    assert [item.name for item in found.kept] == ["a", "c", "d"]
    assert result(row("c", 90, 20, 2000, kept=False)).recommended is None
    nothing = result(Row(name="e", arguments={}, fate="turned down", reason="too large"))
    assert (nothing.recommended, nothing.kept, nothing.to_json()["passed"]) == (None, (), False)


def words_of(found: SearchResult, *, quiet: bool = False) -> str:
    from io import StringIO

    from rich.console import Console

    text = SearchText(result=found, folder=Path("out"), config=None)
    screen = Console(file=StringIO(), width=100, no_color=True, highlight=False)
    for part in text.verdict() if quiet else text.story(verbose=False):
        screen.print(part, soft_wrap=isinstance(part, str))
    return screen.file.getvalue()  # type: ignore[attr-defined]  # a StringIO


def test_a_search_is_reported_in_words():
    down = Row(name="e", arguments={"width": 99}, fate="turned down", reason="predicted size 9 MB exceeds 5 MB")
    found = words_of(result(row("a", 82, 8, 800), row("c", 90, 20, 2000, kept=False), down))
    for words in (
        "*  a     pass               -         -  82.0 %     -   800 B  8 ms        -",
        "*  c     FAIL               -         -  90.0 %     -    2 kB  20 ms        -",
        "width=99: predicted size 9 MB exceeds 5 MB",
        "width=c fail: size 2 kB exceeds 1 B by 2 kB (limit from profile)",
        "Recommended width=a: top1 82.0 %, 800 B, 8 ms predicted on pi4",
        "edgekit export out/a.pt2 --device pi4 --format onnx --precision fp32",
        "out/a.pt2  out/a-fp32.onnx",
        "edgekit report out",
    ):
        assert " ".join(words.split()) in " ".join(found.split())
    nothing = words_of(result(down))
    assert "No variant keeps every budget of pi4.\nYour model keeps every budget as it is.\n" in nothing
    assert "rejected" in nothing
    assert "turned down" not in nothing
    assert "To get one, give other values in [search], or loosen the limit that the nearest misses." in nothing
    assert words_of(result(row("a", 70, 8, 800)), quiet=True).startswith("Recommended width=a")
    assert "Your model keeps every budget as it is and is more accurate by 10.00 pp." in words_of(
        result(row("a", 70, 8, 800))
    )


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path):
    gone = tmp_path / "gone"
    assert message_of(ResourceError, run._write, result(), gone) == (
        f"{gone} cannot be written: No such file or directory. Give another one with --output."
    )
    assert message_of(ResourceError, run._write, result(row("a", 82, 8, 800)), gone) == (
        f"{gone} cannot be written: No such file or directory. Give another one with --output."
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "{folder}: no search.json there. Give the folder that edgekit search wrote."),
        ("{", "{folder}/search.json is not valid JSON: {problem}. Run edgekit search again."),
        (
            json.dumps({"schema_version": 9}),
            (
                "{folder}/search.json: not a search that this edgekit reads (schema_version 9, expected 1). "
                "Run edgekit search again."
            ),
        ),
    ],
    ids=["missing", "no JSON", "another version"],
)
def test_a_record_that_cannot_be_read_is_reported(text: str | None, message: str, tmp_path: Path):
    if text is not None:
        (tmp_path / "search.json").write_text(text)
    expected = message.replace("{folder}", str(tmp_path))
    pattern = re.escape(expected).replace(re.escape("{problem}"), ".*")
    with pytest.raises(ArtifactError, match=f"^{pattern}$"):
        read_search(tmp_path)
