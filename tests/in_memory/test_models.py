"""Models in memory: what they are, what they are called, and what cannot be written."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from edgekit.errors import ModelError, UsageError
from edgekit.in_memory.models import file_name, input_names, model_kind, write_model
from edgekit.in_memory.session import in_python_words, session
from edgekit.in_memory.task import TaskSource, refuse_data_alone
from edgekit.sources.base import CaptureRequest
from edgekit.sources.capture import run as capture
from edgekit.workers.worker import silent

torch = pytest.importorskip("torch")


def test_another_object_is_no_model():
    with pytest.raises(UsageError) as caught:
        model_kind(3)
    assert caught.value.message == (
        "model is of type int; expected a torch.nn.Module, an ExportedProgram, an onnx.ModelProto, a keras.Model, or "
        'text as for the command line: "model.py:build", "net.onnx".'
    )


def test_a_file_is_named_after_what_the_user_says_else_after_the_class():
    assert file_name(torch.nn.Linear(1, 1), "module", None) == "linear.pt2"
    assert file_name(torch.nn.Linear(1, 1), "module", "my net/2") == "my-net-2.pt2"
    assert file_name(SimpleNamespace(name="..."), "keras", None) == "model.keras"


def test_inputs_are_named_as_forward_names_them():
    assert input_names(torch.nn.Linear(1, 1)) == ["input"]


def test_a_torch_module_needs_example_inputs(tmp_path):
    with pytest.raises(UsageError) as caught:
        write_model(torch.nn.Linear(1, 1), "module", tmp_path / "linear.pt2", None)
    assert caught.value.message == (
        "linear.pt2: a torch module is captured with example inputs. Give inputs=tensor, or its shape: "
        'inputs={"x": (1, 3, 224, 224)}; the first sample of calibration data in memory does as well.'
    )


@dataclasses.dataclass
class Found:
    boxes: torch.Tensor
    scores: torch.Tensor


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("result", "names"),
    [
        (lambda x: {"boxes": x, "scores": x + 1}, ["boxes", "scores"]),
        (lambda x: Found(boxes=x * 2, scores=x + 1), ["boxes", "scores"]),
        (lambda x: (x * 2, (x + 1,)), ["output_0", "output_1"]),
        (lambda x: {"only": x * 2}, ["only"]),
    ],
    ids=["dict", "dataclass", "nested tuple", "one"],
)
def test_a_module_s_outputs_keep_their_names(result, names, tmp_path):
    class Net(torch.nn.Module):
        def forward(self, x):
            return result(x)

    write_model(Net(), "module", tmp_path / "net.pt2", [np.ones((1, 3), np.float32)])
    request = CaptureRequest(source="net.pt2", base=tmp_path, output=tmp_path / "out", name="net")
    assert [spec.name for spec in capture(request, silent).outputs] == names


@pytest.mark.filterwarnings("ignore")
def test_a_torchscript_module_is_written_as_a_program(tmp_path):
    script = torch.jit.script(torch.nn.Linear(3, 2))
    write_model(script, "module", tmp_path / "linear.pt2", [np.ones((1, 3), np.float32)])
    program, x = torch.export.load(tmp_path / "linear.pt2"), torch.rand(1, 3)
    torch.testing.assert_close(program.module()(x), script(x))


def test_a_module_that_cannot_be_copied_says_so(tmp_path):
    class Net(torch.nn.Linear):
        def __deepcopy__(self, memo):
            raise RuntimeError("no copies")

    with pytest.raises(ModelError) as caught:
        write_model(Net(1, 1), "module", tmp_path / "net.pt2", [])
    assert caught.value.message == (
        "net.pt2: the module cannot be copied, and edgekit leaves yours as it is: RuntimeError: no copies. "
        "Give a function that builds it, model.py:build, or an ExportedProgram of it."
    )


def test_a_model_that_cannot_be_saved_says_so(tmp_path):
    def fail():
        raise ValueError("too large")

    with pytest.raises(ModelError) as caught:
        write_model(SimpleNamespace(SerializeToString=fail), "onnx", tmp_path / "net.onnx", None)
    assert caught.value.message == (
        "net.onnx: the model in memory cannot be saved: ValueError: too large. "
        "Save it to a file yourself, and give its path."
    )


def test_data_without_a_model_to_compare_with_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        refuse_data_alone(TaskSource(evaluation=[1], metric="top1"))
    assert caught.value.message == (
        "evaluation and metric have no effect without the float model that the artifact is compared with. "
        "Give it too: model=..."
    )


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("Give one with --device NAME or", "Give one with device=NAME or"),
        ('--precision "int9" is not known', 'precision="int9" is not known'),
        ("--format: no format is named", "formats: no format is named"),
        ('--max-size "6 apples"', 'max_size="6 apples"'),
        ("edgekit baseline set --keep-artifacts", "edgekit baseline set --keep-artifacts"),
    ],
    ids=["name", "value", "renamed", "limit", "another command's"],
)
def test_messages_speak_of_keywords(message, words):
    assert in_python_words(message) == words


def test_an_unknown_keyword_is_a_type_error():
    with (
        pytest.raises(TypeError, match=r"^export\(\) got an unexpected keyword argument 'max_sise'\. "
                      r"Did you mean \"max_size\"\?$"),
        session("export", {"max_sise": "6 MB"}),
    ):  # fmt: skip
        pass
