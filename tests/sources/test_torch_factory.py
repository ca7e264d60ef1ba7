"""Torch factories, through the worker's entry: what is captured, and what is told when it cannot be."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch

from edgekit.errors import ConfigError, ModelError
from edgekit.sources.base import CaptureRequest
from edgekit.sources.capture import run
from edgekit.workers.structure import unstructure
from edgekit.workers.worker import Job, JobOptions, run_job, silent

FIXED = (
    "An exported graph is fixed: replace a branch on values by torch.where or torch.cond, and .item(), .tolist(), "
    "nonzero and boolean masks by operations whose output shape does not depend on values (topk, masked_fill, padding "
    "to a fixed length); or leave that step outside the model."
)

HEAD = """
import torch
from torch import nn

def images():
    return (torch.rand(1, 3, 8, 8),)
"""

MODELS = """
class Cnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU6(inplace=True), nn.Dropout(0.1),
            nn.Conv2d(8, 8, 3, groups=8, bias=False), nn.BatchNorm2d(8),
        )
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))

def cnn():
    torch.manual_seed(0)
    return Cnn()

class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(50, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, input_ids, mask):
        hidden = self.layer(self.words(input_ids))
        return (hidden * mask[:, :, None]).sum(1), [hidden, mask * 2]

def tokens():
    return torch.zeros(1, 6, dtype=torch.int64), torch.ones(1, 6, dtype=torch.float64)

class Lstm(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 3, 2, batch_first=True)

    def forward(self, x):
        return self.lstm(x)[0][:, -1]

def steps():
    return torch.rand(1, 5, 4)

class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.first(x).relu())

def rows():
    return (torch.rand(1, 4),)
"""


@pytest.fixture
def user(tmp_path: Path) -> Any:
    """Returns a function that captures `source` of a model.py whose text is given."""

    def capture(source: str, text: str = MODELS, **settings: Any) -> dict[str, Any]:
        (tmp_path / "model.py").write_text(HEAD + textwrap.dedent(text))
        request = CaptureRequest(source=source, base=tmp_path, output=tmp_path / "out", name="net", **settings)
        return unstructure(run(request, silent))

    return capture


def message_of(user: Any, source: str, text: str, **settings: Any) -> str:
    with pytest.raises((ModelError, ConfigError)) as caught:
        user(source, text, **{"example_inputs": "model.py:images", **settings})
    return caught.value.message


def test_a_cnn_is_captured_with_its_facts(user, tmp_path):
    record = user("model.py:cnn", example_inputs="model.py:images", metadata={"labels": "a,b"})
    assert record["kind"] == "pt2"
    assert record["source_kind"] == "torch"
    assert record["inputs"] == [
        {
            "name": "x",
            "shape": [1, 3, 8, 8],
            "dtype": "float32",
            "layout": "NCHW",
            "scale": None,
            "zero_point": None,
            "axes": [],
            "largest": [],
        }
    ]
    assert [(spec["name"], spec["shape"]) for spec in record["outputs"]] == [("output", [1, 5])]
    # 3 * 8 * 9 + 8, 8 * 9, two batch norms of 16, 8 * 5 + 5: as torch counts, before folding.
    assert record["parameters"] == 224 + 72 + 32 + 45
    # 64 positions * 8 * 27, 36 positions * 8 * 9, 8 * 5.
    assert record["macs"] == 64 * 8 * 27 + 36 * 8 * 9 + 40
    assert (record["family"], record["family_evidence"]) == ("cnn", "2 convolutions (1 depthwise), 1 linear layer")
    assert record["metadata"] == {"labels": "a,b"}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["float.pt2", "model.json"]


def test_the_captured_graph_is_canonical_and_computes_the_same(user, tmp_path):
    user("model.py:cnn", example_inputs="model.py:images")
    program = torch.export.load(str(tmp_path / "out" / "float.pt2"))
    calls = [node for node in program.graph.nodes if node.op == "call_function"]
    assert [str(node.target) for node in calls] == [
        *("aten.conv2d.default", "aten.hardtanh.default", "aten.conv2d.default", "aten.mean.dim", "aten.linear.default")
    ]
    names = [list(node.meta["nn_module_stack"].values())[-1][0] for node in calls]
    assert names == ["features.0", "features.2", "features.4", "", "head"]
    scope: dict[str, Any] = {}
    exec(HEAD + MODELS, scope)
    x = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x), scope["cnn"]().eval()(x), rtol=1e-5, atol=1e-5)


def test_several_inputs_and_outputs_are_flat_and_in_order(user):
    record = user("model.py:Encoder", example_inputs="model.py:tokens")
    assert [(spec["name"], spec["dtype"], spec["shape"]) for spec in record["inputs"]] == [
        ("input_ids", "int64", [1, 6]),
        ("mask", "float32", [1, 6]),
    ]
    assert [(spec["name"], spec["shape"]) for spec in record["outputs"]] == [
        ("output_0", [1, 8]),
        ("output_1", [1, 6, 8]),
        ("output_2", [1, 6]),
    ]
    assert record["family"] == "transformer"
    assert record["family_evidence"] == "4 linear layers, 1 attention, 1 embedding table"
    # Attention: q, k, v and the product with v; projections 8x24 and 8x8; feed forward 8x16 twice.
    assert record["macs"] == 6 * (8 * 24 + 8 * 8 + 2 * 8 * 16) + 2 * 6 * 6 * 8


def test_a_recurrent_model_is_one(user):
    record = user("model.py:Lstm", example_inputs="model.py:steps")
    assert (record["family"], record["family_evidence"]) == ("rnn", "1 recurrent layer")
    assert record["macs"] == 5 * (12 * (4 + 3) + 12 * (3 + 3))


def test_tied_weights_count_once(user):
    record = user("model.py:Mlp", example_inputs="model.py:rows")
    assert (record["family"], record["parameters"], record["macs"]) == ("mlp", 16, 32)


def test_a_module_may_stand_in_place_of_its_factory(user):
    assert user("model.py:net", MODELS + "\nnet = Mlp()\n", example_inputs="model.py:rows")["parameters"] == 16


def test_half_precision_models_are_captured_in_float32(user):
    record = user("model.py:half", MODELS + "\ndef half():\n    return Mlp().half()\n", example_inputs="model.py:rows")
    assert record["inputs"][0]["dtype"] == "float32"
    assert record["float_types"] == ["float16"]


def test_a_model_that_casts_to_another_type_is_captured_in_float32(user):
    text = MODELS + (
        "\nclass Casting(nn.Module):\n    def forward(self, x):\n        return (x.double() * 2).bfloat16().float()\n"
    )
    record = user("model.py:Casting", text, example_inputs="model.py:rows")
    assert record["float_types"] == ["bfloat16", "float64"]
    assert user("model.py:Mlp", example_inputs="model.py:rows")["float_types"] == []


def test_equal_models_have_equal_digests_across_processes(user, tmp_path):
    here = user("model.py:cnn", example_inputs="model.py:images")
    request = CaptureRequest(
        source="model.py:cnn",
        base=tmp_path,
        output=tmp_path / "other",
        name="net",
        example_inputs="model.py:images",
    )
    there = run_job(Job(work=run), request, JobOptions(title="capture")).value
    assert there.digest == here["digest"]
    again = CaptureRequest(source="out/float.pt2", base=tmp_path, output=tmp_path / "third", name="net")
    assert run(again, silent).digest == here["digest"]


def test_other_weights_give_another_digest(user):
    text = MODELS + "\ndef other():\n    torch.manual_seed(1)\n    return Cnn()\n"
    digests = {user(f"model.py:{name}", text, example_inputs="model.py:images")["digest"] for name in ("cnn", "other")}
    assert len(digests) == 2


def test_without_example_inputs_the_first_calibration_sample_is_taken(user):
    text = MODELS + "\ndef data():\n    for _ in range(3):\n        yield (torch.rand(7, 3, 8, 8),)\n"
    assert user("model.py:cnn", text, calibration="model.py:data")["inputs"][0]["shape"] == [1, 3, 8, 8]


def test_without_any_inputs_it_is_shown_how_to_give_them(user):
    assert message_of(user, "model.py:cnn", MODELS, example_inputs=None) == (
        "model.py:cnn: a torch model is captured with example inputs, and the task has neither example inputs nor "
        "calibration data. Give the sizes: --input x=1x3x224x224\n"
        "Or add a function that returns them and name it in edgekit.toml:\n"
        "    def example_inputs():\n"
        "        return (torch.zeros(1, 3, 224, 224),)\n"
        '    [model] example_inputs = "model.py:example_inputs"\n'
        "or on the command line: --example-inputs model.py:example_inputs"
    )


def line_of(tmp_path: Path, text: str) -> int:
    lines = (tmp_path / "model.py").read_text().splitlines()
    return next(i for i, line in enumerate(lines, 1) if text in line)


def net(body: str) -> str:
    return f"class Net(nn.Module):\n    def forward(self, x):\n        {body}\n"


def test_a_factory_that_fails_is_reported_by_its_own_line(user, tmp_path):
    got = message_of(user, "model.py:build", "def build():\n    raise ValueError('no weights')\n")
    path = tmp_path / "model.py"
    assert got == (
        f"model.py:build failed:\n  {path}:{line_of(tmp_path, 'raise')} in build\n    raise ValueError('no weights')\n"
        "ValueError: no weights"
    )


def test_a_factory_that_needs_arguments_is_refused(user):
    assert message_of(user, "model.py:build", "def build(width):\n    pass\n") == (
        "[model] source: model.py:build needs arguments (width); edgekit calls it without any. "
        "Give them defaults, or write a function that calls it."
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [("3", "int; expected a torch.nn.Module in eval mode."),
     ("(nn.Linear(1, 1), 3)", "tuple; expected a torch.nn.Module in eval mode. Return the model alone."),
     ("nn.Linear(1, 1).state_dict()", "OrderedDict; expected a torch.nn.Module in eval mode.")],
    ids=["number", "tuple", "weights"],
)  # fmt: skip
def test_a_factory_that_returns_no_module_is_refused(user, value, shown):
    assert (
        message_of(user, "model.py:build", f"def build():\n    return {value}\n")
        == f"model.py:build returned a {shown}"
    )


def test_a_torchscript_module_is_captured(user):
    text = """
    import warnings
    def build():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.jit.trace(nn.Linear(8, 2), torch.zeros(1, 3, 8, 8))
    """
    assert user("model.py:build", text, example_inputs="model.py:images")["outputs"][0]["shape"] == [1, 3, 8, 2]


def test_a_forward_that_fails_is_reported_by_its_own_line(user, tmp_path):
    got = message_of(user, "model.py:Net", net("return x @ torch.zeros(5, 5)"))
    assert got == (
        "model.py:Net: the model's forward failed on the example inputs (float32 (1, 3, 8, 8)):\n"
        f"  {tmp_path / 'model.py'}:{line_of(tmp_path, 'zeros(5')} in forward\n    return x @ torch.zeros(5, 5)\n"
        "RuntimeError: mat1 and mat2 shapes cannot be multiplied (24x8 and 5x5)"
    )


def test_a_model_that_returns_a_dict_has_outputs_with_its_keys(user):
    captured = user("model.py:Net", net("return {'logits': x, 'aux': (x * 2, None)}"), example_inputs="model.py:images")
    assert [spec["name"] for spec in captured["outputs"]] == ["logits", "aux.0"]


@pytest.mark.parametrize(("value", "shown"), [("None", "a NoneType"), ("()", "a tuple")], ids=["none", "empty"])
def test_a_model_that_returns_no_tensor_is_refused(user, value, shown):
    assert message_of(user, "model.py:Net", net(f"return {value}")) == (
        f"model.py:Net: the model returns {shown} without any tensor; expected a tensor, or tuples, lists, dicts and "
        "dataclasses of tensors. Return what the app must read."
    )


def test_a_model_that_returns_a_number_is_refused(user):
    assert message_of(user, "model.py:Net", net("return 3.0")) == (
        "model.py:Net: the model returns a float; expected a tensor, or tuples, lists, dicts and dataclasses of "
        "tensors. Wrap it in a module whose forward returns tensors only."
    )


@pytest.mark.parametrize(
    "line",
    ["if x.sum() > 0: x = x + 1", "x = torch.zeros(int(x.sum().item()) + 9)", "x = x[: x.argmax().item() + 1]"],
    ids=["branch", "size", "slice"],
)
def test_control_flow_on_values_is_refused_with_its_line(user, tmp_path, line):
    got = message_of(user, "model.py:Net", net(f"{line}\n        return x"))
    place = f"{tmp_path / 'model.py'}:{line_of(tmp_path, line)}: {line}"
    assert (
        got
        == f"model.py:Net: the model's control flow or a shape depends on the values of a tensor, at {place}. {FIXED}"
    )


def test_a_shape_that_depends_on_values_is_refused_with_its_line(user, tmp_path):
    got = message_of(user, "model.py:Net", net("return x[x > 0.5]"))
    place = f"{tmp_path / 'model.py'}:{line_of(tmp_path, '0.5')}: return x[x > 0.5]"
    assert got == f"model.py:Net: the shape of aten.index.Tensor depends on the values of a tensor, at {place}. {FIXED}"


def test_a_loop_operator_is_refused(user, tmp_path):
    line = "return torch._higher_order_ops.while_loop(lambda a: a.sum() < 9, lambda a: (a + 1,), (x,))"
    got = message_of(user, "model.py:Net", net(line))
    place = f"{tmp_path / 'model.py'}:{line_of(tmp_path, 'while_loop')}: {line}"
    assert (
        got
        == f"model.py:Net: the model uses torch.while_loop, at {place}, which edgekit converts to no format. {FIXED}"
    )


def test_a_loop_operator_inside_a_layer_is_refused_with_the_layer(user, tmp_path):
    line = "return torch._higher_order_ops.while_loop(lambda a: a.sum() < 9, lambda a: (a + 1,), (x,))"
    text = f"""
    class Gate(nn.Module):
        def forward(self, x):
            {line}

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate = Gate()
        def forward(self, x):
            return self.gate(x)
    """
    place = f"{tmp_path / 'model.py'}:"
    got = message_of(user, "model.py:Net", text)
    assert got.startswith(f"model.py:Net: the model uses torch.while_loop in the layer gate, at {place}")
    assert got.endswith(f": {line}, which edgekit converts to no format. {FIXED}")


@pytest.mark.parametrize(
    ("line", "operator"),
    [("return x + torch.randn_like(x)", "randn_like"), ("return nn.functional.dropout(x, 0.5, True)", "dropout")],
    ids=["noise", "dropout"],
)
def test_random_numbers_are_refused_with_their_line(user, tmp_path, line, operator):
    got = message_of(user, "model.py:Net", net(line))
    place = f"{tmp_path / 'model.py'}:{line_of(tmp_path, line)}: {line}"
    assert got == (
        f"model.py:Net: the model draws random numbers (aten.{operator}.default), at {place}, so its outputs cannot be "
        "reproduced on a device. Make them an input, or switch them off in eval mode."
    )


def test_a_call_into_numpy_is_refused_with_its_line(user, tmp_path):
    line = "return torch.from_numpy(x.numpy() * 2)"
    got = message_of(user, "model.py:Net", net(line))
    assert got == (
        f"model.py:Net: torch.export cannot capture the model, at {tmp_path / 'model.py'}:{line_of(tmp_path, line)}: "
        f"{line}. RuntimeError: .numpy() is not supported for tensor subclasses.\n"
        "The model runs, but holds something that has no graph (calls into NumPy or other libraries, printing of "
        "values, custom autograd functions). Rewrite that line with torch operations, or leave that step outside the "
        "model."
    )


@pytest.mark.parametrize("change", ["self.k.add_(1)", "self.k[0] = self.k[1] + x[0, 0, 0, 0]"], ids=["whole", "part"])
def test_a_buffer_that_changes_becomes_an_input_and_an_output(user, change):
    text = f"""
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("k", torch.zeros(8))
        def forward(self, x):
            {change}
            return x + self.k
    """
    captured = user("model.py:Net", text, example_inputs="model.py:images")
    assert [spec["name"] for spec in captured["inputs"]] == ["x", "state_k"]
    assert [spec["name"] for spec in captured["outputs"]] == ["output", "state_k_next"]
    assert captured["states"] == [{"input": "state_k", "output": "state_k_next", "initial": [0.0], "buffer": "k"}]


def test_a_parameter_that_changes_is_refused(user):
    text = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.k = nn.Parameter(torch.zeros(8))
        def forward(self, x):
            self.k.add_(1)
            return x + self.k
    """
    assert message_of(user, "model.py:Net", text) == (
        'model.py:Net: the model changes its own tensor "k" (aten.add_.Tensor) when it runs. Only a buffer can be a '
        'state that goes from call to call: self.register_buffer("k", ...), or make it an input and an output.'
    )


def test_a_model_that_counts_its_calls_in_python_is_refused(user):
    text = """
    class Net(nn.Module):
        calls = 0
        def forward(self, x):
            self.calls += 1
            return x * self.calls
    """
    got = message_of(user, "model.py:Net", text)
    assert got.startswith("model.py:Net: the captured graph gives values that differ by up to ")
    assert got.endswith(
        " in output 0. The model draws random numbers, keeps state between calls or changes its inputs; "
        "its forward must depend on its inputs alone."
    )


def test_nothing_is_left_behind_by_a_failed_capture(user, tmp_path):
    message_of(user, "model.py:Net", net("return x[x > 0.5]"))
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []


def test_a_capture_replaces_the_one_before(user, tmp_path):
    user("model.py:Mlp", example_inputs="model.py:rows")
    (tmp_path / "out" / "old").write_text("x")
    user("model.py:Mlp", example_inputs="model.py:rows")
    assert not (tmp_path / "out" / "old").exists()
