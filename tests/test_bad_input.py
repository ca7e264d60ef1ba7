"""Wrong input on the command line, end to end: one message, the right exit code, no traceback, nothing left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.cli.app import main

MODEL = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.conv(x).relu().mean((2, 3))

class Dict(Net):
    def forward(self, x):
        return {"name": "net", "logits": super().forward(x)}

class Shape(Net):
    def forward(self, x):
        return x[x > 0]

def build():
    return Net().eval()

def build_text():
    return Dict().eval()

def build_shape():
    return Shape().eval()

def example_inputs():
    return (torch.zeros(1, 3, 8, 8),)

def good():
    for seed in range(8):
        yield (torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(seed)),)

def zeros():
    for _ in range(8):
        yield (torch.zeros(1, 3, 8, 8),)

def nan():
    yield (torch.full((1, 3, 8, 8), float("nan")),)

def wrong_shape():
    yield (torch.zeros(1, 3, 8, 9),)

def wrong_dtype():
    yield (torch.zeros(1, 3, 8, 8, dtype=torch.uint8),)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with models and data, the current one; the cache is its own."""
    (tmp_path / "model.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


def refuse(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> str:
    """Runs an export that must end with `code` and leave no output folder; returns its message."""
    capsys.readouterr()
    fixed = ["--device", "pi4", "--quiet", "--output", "out", "--format", "onnx"]
    assert main(["export", *fixed, *arguments]) == code
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err + shown.out
    assert not Path("out").exists()
    return shown.err.removeprefix("edgekit: ").removesuffix("\n")


QUICK = [
    pytest.param(
        ["nofile.onnx"],
        "nofile.onnx: no such file or folder in {here}. Did you mean net.onnx?",
        id="no such file",
    ),
    pytest.param(
        ["net.pt2"],
        "net.pt2 is damaged: it begins as a zip archive that torch.export.save wrote and has no end (13 bytes). "
        "Copy or save the file again.",
        id="truncated archive",
    ),
    pytest.param(
        ["weights.pth"],
        "weights.pth is a pickle, and loading a pickle runs whatever code it holds: edgekit loads none. Give a factory "
        "that loads the weights only:\n"
        "    def build():\n"
        "        model = Net(); model.load_state_dict(torch.load('weights.pth', weights_only=True))\n"
        "        return model.eval()\n"
        "and name it: model.py:build. A whole pickled module must first be saved as a state dict where it came from.",
        id="pickle",
    ),
    pytest.param(
        ["model.py:build", "--precision", "int9"],
        '--precision "int9" is not known: accepted are fp32, fp16, int8, int8-static, int8-dynamic, '
        "int8-hybrid, int8-weights, int4.",
        id="precision",
    ),
    pytest.param(
        ["model.py:build", "--max-size", "6"],
        '--max-size: size "6" has no unit: write it as "800 kB", "6 MB" or "64 MiB".',
        id="limit without unit",
    ),
    pytest.param(
        ["model.py:build", "--config", "no.toml"],
        "no.toml: no such file. Give a task file with --config, or make one with: edgekit init",
        id="no task file",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), QUICK)
def test_what_is_wrong_at_first_sight_is_reported_at_once(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    (project / "net.pt2").write_bytes(b"PK\x03\x04truncated")
    (project / "net.onnx").write_bytes(b"not onnx\n")
    (project / "weights.pth").write_bytes(b"\x80\x02.")
    assert refuse(capsys, 2, *arguments) == message.format(here=project)


def test_an_unknown_device_gets_the_nearest_names(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refuse(capsys, 2, "model.py:build", "--device", "pi44").splitlines()
    assert message[0].startswith('No device is called "pi44". Did you mean pi4')
    assert message[1] == "For a device of your own, give the path of a profile, or put it into ./device_profiles/."


def test_an_unknown_key_is_named_with_its_path(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "edgekit.toml").write_text('[model]\nsource = "model.py:build"\n[data]\ncalibratoin = "x"\n')
    assert refuse(capsys, 2) == (
        f"{project / 'edgekit.toml'} has 1 fault:\n"
        '  data.calibratoin: unknown key (did you mean "calibration"?); accepted are calibration, evaluation, task, '
        "metric, images, preprocessing\n"
        "The keys of a task file: edgekit init writes one with all of them, explained."
    )


@pytest.mark.runtime
def test_a_broken_onnx_file_is_named(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "net.onnx").write_bytes(b"not onnx\n")
    assert refuse(capsys, 2, "net.onnx") == (
        "net.onnx cannot be read as an ONNX file (9 bytes): it is damaged or cut off. Copy or export the file again."
    )


DATA = [
    pytest.param(
        "zeros",
        'The calibration data model.py:zeros holds only the value 0 in the input "x", in all 8 samples. '
        "Ranges need real data: give samples like those that the model will see.",
        id="all zeros",
    ),
    pytest.param(
        "nan",
        'The calibration data model.py:nan, item 0 holds 192 values that are NaN or infinite in the input "x". '
        "Ranges and accuracy would mean nothing: mend the data or its preprocessing.",
        id="NaN",
    ),
    pytest.param(
        "wrong_shape",
        'The calibration data model.py:wrong_shape, item 0 has shape (1, 3, 8, 9) for the input "x"; '
        "expected (N, 3, 8, 8), with any batch size N.",
        id="shape",
    ),
    pytest.param(
        "wrong_dtype",
        'The calibration data model.py:wrong_dtype, item 0 is uint8 for the input "x"; the model takes float32. '
        "Convert it, with the scaling that the model was trained with.",
        id="dtype",
    ),
]


@pytest.mark.runtime
@pytest.mark.parametrize(("name", "message"), DATA)
def test_wrong_calibration_data_is_reported(
    project: Path, capsys: pytest.CaptureFixture[str], name: str, message: str
) -> None:
    del project
    arguments = ("model.py:build", "--example-inputs", "model.py:example_inputs", "--calibration", f"model.py:{name}")
    assert refuse(capsys, 2, *arguments) == message


@pytest.mark.runtime
def test_a_model_that_returns_text_is_shown_what_to_do(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    del project
    message = refuse(capsys, 2, "model.py:build_text", "--example-inputs", "model.py:example_inputs")
    assert message == (
        "model.py:build_text: the model returns a str at name; expected a tensor, or tuples, lists, dicts and "
        "dataclasses of tensors. Wrap it in a module whose forward returns tensors only."
    )


@pytest.mark.runtime
def test_a_data_dependent_shape_is_reported_with_its_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refuse(capsys, 2, "model.py:build_shape", "--example-inputs", "model.py:example_inputs")
    line = MODEL.splitlines().index("        return x[x > 0]") + 1
    assert message == (
        "model.py:build_shape: the shape of aten.index.Tensor depends on the values of a tensor, at "
        f"{project / 'model.py'}:{line}: return x[x > 0]. An exported graph is fixed: replace a branch on values by "
        "torch.where or torch.cond, and .item(), .tolist(), nonzero and boolean masks by operations whose output "
        "shape does not depend on values (topk, masked_fill, padding to a fixed length); or leave that step "
        "outside the model."
    )


@pytest.mark.runtime
def test_without_calibration_data_static_int8_is_a_named_failure(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del project
    arguments = ["model.py:build", "--example-inputs", "model.py:example_inputs", "--precision", "int8"]
    assert main(["export", "-d", "pi4", "-q", "-o", "out", "-f", "onnx", *arguments]) == 2
    words = " ".join(capsys.readouterr().out.split())
    assert words == (
        "FAIL onnx int8-static: onnx int8-static needs calibration data and the task names none. Give it as "
        "--calibration DATA or [data] calibration in edgekit.toml (a function, an .npz file or a folder of images), or "
        "take a precision that needs none: --precision int8-dynamic, int8-weights or fp16. FAIL pi4: 0 of 1 artifacts "
        "made"
    )


@pytest.mark.runtime
def test_an_output_folder_that_cannot_be_written_is_reported_before_the_work(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "file").write_text("")
    assert main(["export", "model.py:build", "-d", "pi4", "-o", "file/out"]) == 3
    assert capsys.readouterr().err == (
        "edgekit: The output folder file/out cannot be written: Not a directory. Give another one with --output.\n"
    )
    assert not (project / "cache").exists()


@pytest.mark.runtime
def test_a_missing_extra_is_named_with_its_installation(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A finder that hides onnxscript in this process and, through sitecustomize, in its workers.
    (project / "hide").mkdir()
    (project / "hide" / "sitecustomize.py").write_text(
        "import importlib.util as u\n"
        "find = u.find_spec\n"
        "u.find_spec = lambda name, package=None: None if name == 'onnxscript' else find(name, package)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(project / "hide"))
    arguments = ["model.py:build", "--example-inputs", "model.py:example_inputs", "--precision", "fp32"]
    assert main(["export", "-d", "pi4", "-q", "-o", "out", "-f", "onnx", *arguments]) == 3
    words = " ".join(capsys.readouterr().out.split())
    assert words == (
        "FAIL onnx fp32: onnx needs onnxscript, which is not installed. Install it from the checkout: "
        "pip install -e '.[onnx]' FAIL pi4: 0 of 1 artifacts made"
    )
