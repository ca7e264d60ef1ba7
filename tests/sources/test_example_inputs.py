from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgekit.errors import DataError, ModelError
from edgekit.samples import write_samples
from edgekit.sources.base import CaptureRequest
from edgekit.sources.example_inputs import gather, require
from edgekit.torch_program.trace_module import describe

HOW = (
    "Add a function that returns them and name it in edgekit.toml:\n"
    "    def example_inputs():\n"
    "        return (torch.zeros(1, 3, 224, 224),)\n"
    '    [model] example_inputs = "model.py:example_inputs"\n'
    "or on the command line: --example-inputs model.py:example_inputs"
)


def request_in(folder: Path, **settings: Any) -> CaptureRequest:
    return CaptureRequest(source="net.onnx", base=folder, output=folder / "out", name="net", **settings)


def returned(folder: Path, value: str, *, calibration: bool = False) -> Any:
    text = f"import numpy as np, torch\ndef give():\n    return {value}\n"
    (folder / "data.py").write_text(text)
    key = "calibration" if calibration else "example_inputs"
    return gather(request_in(folder, **{key: "data.py:give"}))


@pytest.mark.parametrize(
    "value",
    [
        "(torch.zeros(1, 4),)",
        "[torch.zeros(1, 4)]",
        "torch.zeros(1, 4)",
        "np.zeros((1, 4))",
        "(torch.zeros(1, 4, dtype=torch.bfloat16),)",
    ],
    ids=["tuple", "list", "tensor", "array", "brain float"],
)
def test_tensors_and_arrays_become_tensors_of_a_width_that_devices_have(tmp_path, value):
    found = returned(tmp_path, value)
    assert describe(found) == "float32 (1, 4)"


@pytest.mark.parametrize(
    ("value", "forms"),
    [
        ("(np.zeros((1, 4), 'f2'),)", "float16 (1, 4)"),
        ("(torch.zeros(1, 4, dtype=torch.uint8), np.ones((1, 2), bool))", "uint8 (1, 4), bool (1, 2)"),
        ("torch.tensor(4)", "int64 ()"),
        ("(torch.zeros(2, 1, 4), torch.zeros(8))", "float32 (2, 1, 4), float32 (8,)"),
        ("{'x': torch.zeros(1, 4), 'past': ((torch.zeros(2, 1), None), np.zeros(3))}",
         "float32 (1, 4), float32 (2, 1), float32 (3,)"),
    ],
    ids=["half", "bytes and bools", "single number", "no batch", "nested"],
)  # fmt: skip
def test_inputs_keep_the_form_that_the_model_has(tmp_path, value, forms):
    assert describe(returned(tmp_path, value)) == forms


def test_integers_keep_their_type(tmp_path):
    assert describe(returned(tmp_path, "(torch.zeros(1, 4, dtype=torch.int32), np.zeros((1, 2), 'i8'))")) == (
        "int32 (1, 4), int64 (1, 2)"
    )


def test_nothing_is_given_where_the_task_names_nothing(tmp_path):
    assert gather(request_in(tmp_path)) is None


def test_a_task_that_names_nothing_is_shown_what_to_add(tmp_path):
    with pytest.raises(ModelError) as caught:
        require(request_in(tmp_path), "sizes are free")
    assert caught.value.message == (
        f"net.onnx: sizes are free, and the task has neither example inputs nor calibration data. {HOW}"
    )


WANTED = "expected a tuple of tensors, one for each input: return (torch.zeros(1, 3, 224, 224),)"
REFUSED = {
    "3": f"data.py:give returned a int; {WANTED}",
    "{'x': 1}": (
        "data.py:give: input x is of type int; expected a tensor. Bind what is no tensor inside the factory "
        "(functools.partial, or an attribute of the module)."
    ),
    "()": f"data.py:give returned an empty tuple; {WANTED}",
    "(torch.zeros(1, 4), 3)": (
        "data.py:give: input 1 is of type int; expected a tensor. Bind what is no tensor inside the factory "
        "(functools.partial, or an attribute of the module)."
    ),
    "torch.zeros(0, 4)": "data.py:give: input 0 has shape (0, 4), which holds no values.",
}


@pytest.mark.parametrize(
    ("value", "shown"), REFUSED.items(), ids=["number", "dict", "empty", "bound number", "no values"]
)
def test_other_example_inputs_are_refused(tmp_path, value, shown):
    with pytest.raises(ModelError) as caught:
        returned(tmp_path, value)
    assert caught.value.message == shown


def test_the_first_calibration_sample_is_taken(tmp_path):
    found = returned(tmp_path, "[(torch.arange(8.0).reshape(4, 2),), (torch.ones(4, 2),)]", calibration=True)
    assert torch.equal(found[0], torch.arange(8.0).reshape(4, 2))


def test_calibration_may_be_an_npz_file(tmp_path):
    np.savez(tmp_path / "data.npz", a=np.arange(6.0).reshape(3, 2), b=np.zeros((3, 1), dtype=np.int64))
    found = gather(request_in(tmp_path, calibration="data.npz"))
    assert describe(found) == "float32 (1, 2), int64 (1, 1)"


def test_calibration_may_be_a_sample_folder(tmp_path):
    write_samples(tmp_path / "samples", ["x"], [(np.ones((1, 3), dtype=np.float32),)])
    assert describe(gather(request_in(tmp_path, calibration="samples"))) == "float32 (1, 3)"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("3", "data.py:give returned something of type int; expected an iterable of input tuples, one item a sample."),
        ("[]", "data.py:give yields no sample; at least one is needed to capture the model."),
    ],
    ids=["number", "empty"],
)
def test_calibration_without_a_sample_is_refused(tmp_path, value, shown):
    with pytest.raises(DataError) as caught:
        returned(tmp_path, value, calibration=True)
    assert caught.value.message == shown


def test_a_calibration_sample_without_rows_is_refused(tmp_path):
    with pytest.raises(ModelError) as caught:
        returned(tmp_path, "[(torch.zeros(0, 2),)]", calibration=True)
    assert caught.value.message == "data.py:give: input 0 has shape (0, 2), which holds no values."


def test_a_folder_of_files_is_no_example(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(ModelError) as caught:
        gather(request_in(tmp_path, calibration="images"))
    assert caught.value.message == (
        f"images is a folder, and its files do not say how the model wants them as tensors. {HOW}"
    )


def test_an_npz_file_without_rows_is_refused(tmp_path):
    np.savez(tmp_path / "data.npz", a=np.zeros((0, 2)))
    with pytest.raises(DataError) as caught:
        gather(request_in(tmp_path, calibration="data.npz"))
    assert caught.value.message == ("data.npz holds no rows; expected one array (N, ...) for each input, N at least 1.")


def test_a_damaged_npz_file_is_refused(tmp_path):
    (tmp_path / "data.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(DataError) as caught:
        gather(request_in(tmp_path, calibration="data.npz"))
    assert caught.value.message.startswith("data.npz cannot be read as an .npz file: ")
    assert caught.value.message.endswith(". Write it with numpy.savez.")
