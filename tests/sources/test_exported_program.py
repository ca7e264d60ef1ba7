"""Exported programs from files: what is read, what is refused, and that reading a file runs no code from it."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from edgekit.errors import ModelError, UsageError
from edgekit.sources.base import CaptureRequest
from edgekit.sources.capture import run
from edgekit.task.input_sizes import InputSizes, read_input_sizes
from edgekit.torch_program.program_archive import load_program
from edgekit.workers.structure import unstructure
from edgekit.workers.worker import silent


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)

    def forward(self, x: Any) -> Any:
        with torch.no_grad():
            scale = x.mean()
        return self.conv(x) * scale


def saved(path: Path, example: Any, dynamic: Any = None, *, with_example: bool = True) -> str:
    torch.manual_seed(0)
    program = torch.export.export(Net().eval(), (example,), dynamic_shapes=dynamic)
    if not with_example:
        program._example_inputs = None
    torch.export.save(program, str(path / "net.pt2"))
    return "net.pt2"


def capture(folder: Path, source: str = "net.pt2", **settings: Any) -> dict[str, Any]:
    request = CaptureRequest(source=source, base=folder, output=folder / "out", name="net", **settings)
    return unstructure(run(request, silent))


def message_of(folder: Path, **settings: Any) -> str:
    with pytest.raises(ModelError) as caught:
        capture(folder, **settings)
    return caught.value.message


def test_a_program_is_captured_with_its_own_shapes(tmp_path):
    saved(tmp_path, torch.rand(1, 3, 8, 8))
    record = capture(tmp_path)
    assert (record["source_kind"], record["kind"]) == ("pt2", "pt2")
    assert record["inputs"][0]["shape"] == [1, 3, 8, 8]
    assert record["parameters"] == 3 * 4 * 9 + 4


class Named(torch.nn.Module):
    def forward(self, x: Any) -> Any:
        return {"scores": x.mean((2, 3)), "features": (x + 1, None, x * 2)}


def test_outputs_are_called_what_the_program_s_result_calls_them(tmp_path):
    torch.export.save(torch.export.export(Named(), (torch.rand(1, 3, 4, 4),)), str(tmp_path / "net.pt2"))
    outputs = capture(tmp_path)["outputs"]
    assert [spec["name"] for spec in outputs] == ["scores", "features.0", "features.2"]
    assert [spec["shape"] for spec in outputs] == [[1, 3], [1, 3, 4, 4], [1, 3, 4, 4]]


def test_a_dynamic_batch_becomes_one(tmp_path):
    saved(tmp_path, torch.rand(5, 3, 8, 8), {"x": {0: torch.export.Dim("batch")}})
    assert capture(tmp_path)["inputs"][0]["shape"] == [1, 3, 8, 8]


def test_another_dynamic_size_is_the_stored_examples(tmp_path):
    dims = {"x": {0: torch.export.Dim("batch"), 3: torch.export.Dim("width", min=8, max=64)}}
    saved(tmp_path, torch.rand(5, 3, 8, 9), dims)
    assert capture(tmp_path)["inputs"][0]["shape"] == [1, 3, 8, 9]


def test_another_dynamic_size_is_the_tasks_example_inputs(tmp_path):
    dims = {"x": {0: torch.export.Dim("batch"), 3: torch.export.Dim("width", min=8, max=64)}}
    saved(tmp_path, torch.rand(5, 3, 8, 9), dims)
    (tmp_path / "data.py").write_text("import torch\ndef give():\n    return torch.zeros(1, 3, 8, 12)\n")
    assert capture(tmp_path, example_inputs="data.py:give")["inputs"][0]["shape"] == [1, 3, 8, 12]


def test_another_dynamic_size_is_what_the_user_gives(tmp_path):
    dims = {"x": {0: torch.export.Dim("batch"), 3: torch.export.Dim("width", min=8, max=64)}}
    saved(tmp_path, torch.rand(5, 3, 8, 9), dims)
    assert capture(tmp_path, input_sizes=read_input_sizes(["x=1x3x8x12"]))["inputs"][0]["shape"] == [1, 3, 8, 12]
    with pytest.raises(UsageError) as caught:
        capture(tmp_path, input_sizes=read_input_sizes(["image=1x3x8x12"]))
    assert caught.value.message == '--input image=1x3x8x12: net.pt2 has no input "image"; its inputs are x.'


def test_a_dynamic_size_without_an_example_is_refused(tmp_path):
    dims = {"x": {0: torch.export.Dim("batch"), 3: torch.export.Dim("width", min=8, max=64)}}
    saved(tmp_path, torch.rand(5, 3, 8, 9), dims, with_example=False)
    assert message_of(tmp_path) == (
        'net.pt2: axis 3 of the input "x" is dynamic, and artifacts have fixed shapes. '
        "Give the size that you want: --input x=1x3x8x224, or example inputs of that size."
    )


def test_a_fixed_first_size_is_the_programs(tmp_path):
    saved(tmp_path, torch.rand(5, 3, 8, 8))
    assert capture(tmp_path)["inputs"][0]["shape"] == [5, 3, 8, 8]


def test_sizes_that_the_user_gives_come_first(tmp_path):
    dims = {"x": {0: torch.export.Dim("batch"), 3: torch.export.Dim("width", min=8, max=64)}}
    saved(tmp_path, torch.rand(5, 3, 8, 9), dims)
    sizes = (InputSizes(name="x", shape=(2, 3, 8, 16)),)
    assert capture(tmp_path, input_sizes=sizes)["inputs"][0]["shape"] == [2, 3, 8, 16]


def test_nested_inputs_are_named_by_the_way_to_each(tmp_path):
    class Cached(torch.nn.Module):
        def forward(self, x: Any, past: Any, scale: Any = None) -> Any:
            return x + past[0]["key"] * past[1] * scale

    arguments = (torch.ones(1, 2), ({"key": torch.ones(1, 2)}, torch.ones(())))
    program = torch.export.export(Cached(), arguments, {"scale": torch.ones(2)})
    torch.export.save(program, str(tmp_path / "net.pt2"))
    inputs = capture(tmp_path)["inputs"]
    assert [(spec["name"], spec["shape"]) for spec in inputs] == [
        ("x", [1, 2]), ("past.0.key", [1, 2]), ("past.1", []), ("scale", [2]),
    ]  # fmt: skip


def test_a_wrong_number_of_example_inputs_is_refused(tmp_path):
    saved(tmp_path, torch.rand(1, 3, 8, 8))
    (tmp_path / "data.py").write_text("import torch\ndef give():\n    return torch.zeros(1, 3), torch.zeros(1, 3)\n")
    assert message_of(tmp_path, example_inputs="data.py:give") == (
        "net.pt2 takes 1 inputs (x) and data.py:give returned 2."
    )


def rewrite(folder: Path, change: Any, added: dict[str, bytes] | None = None) -> None:
    """Writes net.pt2 again with each part changed (None drops it) and parts added."""
    path = folder / "net.pt2"
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    root = next(iter(parts)).partition("/")[0]
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            new = change(name, data)
            if new is not None:
                archive.writestr(name, new)
        for name, data in (added or {}).items():
            archive.writestr(f"{root}/{name}", data)


def keep(_: str, data: bytes) -> bytes:
    return data


def test_a_cut_off_archive_is_refused(tmp_path):
    saved(tmp_path, torch.rand(1, 3, 8, 8))
    path = tmp_path / "net.pt2"
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(ModelError) as caught:
        load_program(path, "net.pt2")
    assert caught.value.message == (
        "net.pt2 is damaged: it is no complete zip archive (400 bytes). Copy or save the file again."
    )


def test_a_part_with_a_wrong_checksum_is_refused(tmp_path):
    saved(tmp_path, torch.rand(1, 3, 8, 8))
    path = tmp_path / "net.pt2"
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        info = next(one for one in archive.infolist() if one.filename.endswith("weight_0"))
    data[info.header_offset + 200] ^= 0xFF
    path.write_bytes(bytes(data))
    got = message_of(tmp_path)
    assert got.startswith("net.pt2 is damaged: ")
    assert got.endswith(" inside it fails its checksum. Copy or save the file again.")


def test_a_state_dict_under_this_suffix_is_refused(tmp_path):
    torch.save(Net().state_dict(), tmp_path / "net.pt2")
    assert message_of(tmp_path) == (
        "net.pt2 is a pickle that torch.save or torch.jit.save wrote, and edgekit loads none. "
        "Save the model with torch.export.save, or give its factory: model.py:build."
    )


def test_another_archive_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "net.pt2", "w") as archive:
        archive.writestr("serialized_exported_program.json", "{}")
    assert message_of(tmp_path) == (
        "net.pt2 is no archive that torch.export.save of torch 2.9 or newer wrote. Load it where it came from and "
        "save it again with torch.export.save."
    )


def test_an_archive_that_torch_cannot_read_is_refused(tmp_path):
    saved(tmp_path, torch.rand(1, 3, 8, 8))
    rewrite(tmp_path, lambda name, data: data.replace(b"aten.conv2d", b"aten.conv9d") if "/models/" in name else data)
    got = message_of(tmp_path)
    assert got.startswith("net.pt2 cannot be read as an exported program: ")
    assert got.endswith(
        f"\nIt is damaged, or a torch version other than {torch.__version__.split('+')[0]} wrote it. "
        "Save it again with torch.export.save(torch.export.export(model, example_inputs), path)."
    )


def test_a_program_that_is_no_program_is_refused(tmp_path):
    saved(tmp_path, torch.rand(1, 3, 8, 8))
    rewrite(tmp_path, lambda name, data: b"{}" if name.endswith("models/model.json") else data)
    assert message_of(tmp_path) == (
        "net.pt2 holds what this edgekit does not know, and loading it could run code (models/model.json): "
        "program.graph_module is missing. Export the model again with torch.export.save, without custom objects."
    )
