"""Joined outputs that are taken apart at the capture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import ModelError
from edgekit.model import CapturedModel, JoinedOutput, OpenSizes, State
from edgekit.sources.base import CaptureRequest
from edgekit.sources.capture import run
from edgekit.sources.split_outputs import with_split_outputs
from edgekit.torch_program.architecture import Architecture
from edgekit.torch_program.facts import Capture
from edgekit.torch_program.program_archive import load_program
from edgekit.workers.worker import silent

MODEL = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, head):
        super().__init__()
        self.boxes, self.scores = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 2, 1)
        self.head = head

    def forward(self, x):
        return HEADS[self.head](self, x)

def turned(net, x):
    return torch.cat([net.boxes(x).flatten(2), net.scores(x).flatten(2).sigmoid()], 1).permute(0, 2, 1)

def unnamed(net, x):
    both = net.boxes(x)[:, :, :, :] + net.scores(x)[:, :1]
    return torch.cat([both, both[:, :2].sigmoid()], 1)

def two(net, x):
    return torch.cat([net.boxes(x), net.scores(x)], 1), net.scores(x).exp()

HEADS = {"turned": turned, "unnamed": unnamed, "two": two, "plain": lambda net, x: net.boxes(x)}

def turned_net(): return Net("turned").eval()
def unnamed_net(): return Net("unnamed").eval()
def two_net(): return Net("two").eval()
def plain_net(): return Net("plain").eval()
def example_inputs(): return (torch.ones(1, 3, 2, 2),)
"""


@pytest.fixture
def captured(tmp_path: Path) -> Any:
    """Returns a function from a network's name to what it was captured as, split or not."""
    (tmp_path / "model.py").write_text(MODEL)

    def capture(name: str, *, split: bool = True) -> CapturedModel:
        import torch

        torch.manual_seed(0)
        request = CaptureRequest(
            source=f"model.py:{name}_net", base=tmp_path, output=tmp_path / f"{name}{split}", name="net",
            example_inputs="model.py:example_inputs", split_outputs=split,
        )  # fmt: skip
        return run(request, silent)

    return capture


def values(model: CapturedModel) -> tuple[Any, ...]:
    import torch

    found = load_program(model.path).module(check_guards=False)(torch.linspace(-1, 1, 12).reshape(1, 3, 2, 2))
    return tuple(found) if isinstance(found, (tuple, list)) else (found,)


def test_members_are_named_after_their_modules_and_turned_as_the_output_was(captured: Any) -> None:
    import torch

    split, whole = captured("turned"), captured("turned", split=False)
    assert [(spec.name, spec.shape) for spec in split.outputs] == [("boxes", (1, 4, 4)), ("scores", (1, 4, 2))]
    assert split.joined == (JoinedOutput(name="output", axis=2, members=("boxes", "scores")),)
    assert torch.equal(torch.cat(values(split), 2), values(whole)[0])


def test_members_without_a_module_of_their_own_are_named_by_what_they_are(captured: Any) -> None:
    assert [spec.name for spec in captured("unnamed").outputs] == ["boxes", "scores"]


def test_of_two_outputs_the_joined_one_alone_is_split(captured: Any) -> None:
    found = captured("two")
    assert [spec.name for spec in found.outputs] == ["boxes", "scores", "output_1"]
    assert found.joined == (JoinedOutput(name="output_0", axis=1, members=("boxes", "scores")),)


def test_without_the_request_outputs_stay_whole(captured: Any) -> None:
    found = captured("two", split=False)
    assert [spec.name for spec in found.outputs] == ["output_0", "output_1"]
    assert found.joined == ()


def test_a_model_without_a_joined_output_is_refused(captured: Any) -> None:
    message = r"plain_net has no joined output: output ends in no concatenation\. Omit --split-outputs\.$"
    with pytest.raises(ModelError, match=message):
        captured("plain")


def described(**facts: Any) -> Capture:
    known: dict[str, Any] = {
        "kind": "pt2", "file": "float.pt2", "inputs": (), "outputs": (), "digest": "", "parameters": 0,
        "architecture": Architecture(family="cnn", evidence="", macs=None),
    }  # fmt: skip
    return Capture(**{**known, **facts})


def test_models_that_are_no_torch_programs_are_refused(tmp_path: Path) -> None:
    message = (
        r"net\.keras was captured as keras, and outputs are split in torch and ONNX models only\. Omit "
        r"--split-outputs, or give the model that the file was made from\.$"
    )
    with pytest.raises(ModelError, match=message):
        with_split_outputs(described(kind="keras"), tmp_path, "net.keras")


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        ({"states": (State(input="h", output="h_out"),)}, "states"),
        ({"open_sizes": OpenSizes(dimensions=(), inputs=(), outputs=())}, "open sizes"),
    ],
)
def test_models_with_states_or_open_sizes_are_refused(tmp_path: Path, facts: dict[str, Any], word: str) -> None:
    message = rf"net has {word}, and outputs are split in models without\. Omit --split-outputs\.$"
    with pytest.raises(ModelError, match=message):
        with_split_outputs(described(**facts), tmp_path, "net")
