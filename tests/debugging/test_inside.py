from __future__ import annotations

import struct
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.debugging import inspector
from edgekit.debugging.inspector import StoredGrid, grid_of, open_inside, prepared, real_values
from edgekit.debugging.xnnpack_graph import _required
from edgekit.errors import ArtifactError, MissingDependencyError
from edgekit.formats.table import find_format
from edgekit.validators.runners import opened_artifact


def test_integers_come_back_as_real_numbers() -> None:
    grid = grid_of(0.5, -128, "int8")
    assert grid == StoredGrid(scale=0.5, zero_point=-128, least=-128, largest=127)
    assert (grid.low, grid.high) == (0.0, 127.5)
    assert real_values(np.array([-128, -126, 127], np.int8), grid).tolist() == [0.0, 1.0, 127.5]


@pytest.mark.parametrize(("scale", "dtype"), [(0.0, "int8"), (0.1, "float32")], ids=["no scale", "float"])
def test_only_integers_with_a_scale_have_a_grid(scale: float, dtype: str) -> None:
    assert grid_of(scale, 0, dtype) is None


def test_another_number_of_inputs_is_reported() -> None:
    with pytest.raises(opened_artifact.RunError) as raised:
        prepared(Path("net.onnx"), [], [np.zeros((1, 2), np.float32)])
    assert (raised.value.kind, raised.value.message) == (
        "DataError",
        "net.onnx takes 0 inputs and the data has 1 tensors. Give one tensor an input.",
    )


def test_a_missing_file_is_an_artifact_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError) as raised:
        open_inside("onnx", tmp_path / "none.onnx", 1)
    assert raised.value.message == f"{tmp_path / 'none.onnx'}: no such file. Give the path of an artifact."


@pytest.mark.parametrize(
    ("runtime", "suffix", "module", "message"),
    [
        ("onnx", ".onnx", "onnx", "onnx is not installed. Install it from the checkout: pip install -e '.[onnx]'"),
        (
            "onnx",
            ".onnx",
            "onnxruntime",
            "onnxruntime is not installed. Install it from the checkout: pip install -e '.[onnx]'",
        ),
        (
            "tflite",
            ".tflite",
            "ai_edge_litert",
            (
                "ai-edge-litert is not installed, and only its interpreter shows what a TFLite file computes inside. "
                "Install it from the checkout: pip install -e '.[tflite]'"
            ),
        ),
        (
            "executorch",
            ".pte",
            "executorch.exir._serialize._program",
            "executorch is not installed. Install it from the checkout: pip install -e '.[executorch]'",
        ),
    ],
    ids=["onnx", "onnxruntime", "litert", "executorch"],
)
def test_a_missing_package_is_named(
    runtime: str,
    suffix: str,
    module: str,
    message: str,
    small: Any,
    quantized_file: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = quantized_file().write(small, tmp_path / "small.onnx").rename(tmp_path / f"small{suffix}")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError) as raised:
        open_inside(runtime, path, 1)
    assert raised.value.message == message


def test_an_xnnpack_graph_without_a_field_is_refused() -> None:
    # A flatbuffer table whose vtable has no fields: 4 bytes of vtable, then the table's offset back to it.
    table = struct.pack("<HHi", 4, 4, 4)
    with pytest.raises(ArtifactError) as raised:
        _required(table, 4, 3)
    assert raised.value.message == (
        "An XNNPACK graph of the program lacks field 3 of a table. "
        "Export the program again with the ExecuTorch that is installed."
    )


def test_a_format_without_an_inspector_is_refused_with_the_reason(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(inspector, "find_format", lambda _name: replace(find_format("tflite"), inspector=""))
    with pytest.raises(ArtifactError) as raised:
        open_inside("npz", tmp_path / "net.npz", 1)
    assert raised.value.message == (
        "net.npz cannot be debugged: the format npz brings no reader of what its artifacts compute inside. Export the "
        "model to another format and debug that artifact: tflite, onnx, executorch, coreml."
    )
