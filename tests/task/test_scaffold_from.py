"""`edgekit init --from`: the task file for a model that is there; Python files are read and never run."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.cli.app import main
from edgekit.errors import UsageError
from edgekit.task.scaffold_from import find_task
from edgekit.task.task import load_task

MODEL = """
import torch
raise SystemExit("this file is read, not run")
class Net(torch.nn.Module):
    def __init__(self, width=8): ...
class Inner(torch.nn.Module):
    def __init__(self, width): ...
def train(data): ...
def build(): ...
def example_inputs(): ...
def calibration(): ...
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_python_file_names_its_factory_its_inputs_and_its_data(folder, capsys):
    (folder / "net.py").write_text(MODEL)
    (folder / "data.py").write_text("def evaluation(): ...")
    assert main(["init", "--from", "net.py", "--device", "pixel8"]) == 0
    assert capsys.readouterr().out.splitlines()[:3] == ["wrote edgekit.toml", "", "Next:"]
    task = load_task(folder / "edgekit.toml")
    assert task.model == "net.py:build"
    assert task.example_inputs == "net.py:example_inputs"
    assert (task.calibration, task.evaluation, task.metric) == ("net.py:calibration", "data.py:evaluation", "top1")
    assert sorted(path.name for path in folder.iterdir()) == ["data.py", "edgekit.toml", "net.py"]


def test_a_model_file_knows_its_inputs(folder):
    (folder / "net.onnx").write_bytes(b"x")
    assert main(["init", "here", "--from", "net.onnx"]) == 0
    task = load_task(folder / "here" / "edgekit.toml")
    assert (task.model, task.example_inputs, task.calibration) == ("../net.onnx", None, None)
    assert task.metric == "agreement"


def test_a_factory_may_be_named_and_a_class_may_be_one(folder):
    (folder / "a.py").write_text(MODEL)
    (folder / "b.py").write_text("from torch import nn\nclass Small(nn.Module):\n    pass\n")
    assert find_task("a.py:Net", folder).keys["source"] == "a.py:Net"
    found = find_task("b.py", folder)
    assert found.keys == {"source": "b.py:Small"}
    assert found.needs == (
        "Add a function to b.py that returns the inputs at batch 1, and name it as example_inputs in edgekit.toml.",
    )


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("gone.py", None, "--from gone.py: no such file. Give a model.py, model.py:build, or a model file."),
        (
            "net.txt",
            "x",
            (
                "--from net.txt: not a model. Give a Python file with a factory, or a file that ends in .pt2, .pt, "
                ".ptl, .torchscript, .onnx, .keras, .h5, .hdf5, .pb, .tflite, .lite."
            ),
        ),
        ("net.py", "def (", "--from: net.py cannot be read as Python: invalid syntax (<unknown>, line 1)"),
        (
            "net.py",
            "def one(): ...\ndef two(): ...",
            (
                "--from net.py: no factory was found: it has one, two. Name the function that returns the model: "
                "net.py:build."
            ),
        ),
        (
            "net.py",
            "def one(x): ...",
            (
                "--from net.py: no factory was found: it has no function that takes no argument. Name the function "
                "that returns the model: net.py:build."
            ),
        ),
    ],
    ids=["missing", "suffix", "syntax", "two", "none"],
)
def test_what_is_no_model_is_a_usage_error(folder, name, text, message):
    if text is not None:
        (folder / name).write_text(text)
    with pytest.raises(UsageError) as caught:
        find_task(name, folder)
    assert caught.value.message == message
