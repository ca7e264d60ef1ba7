"""onnxruntime's session: exact 8-bit products where the processor needs them, and only there."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from edgekit.validators.runners import onnx_session


@pytest.mark.parametrize(
    ("machine", "flags", "expected"),
    [
        ("x86_64", {"avx2"}, True),
        ("AMD64", set(), True),
        ("x86_64", {"avx2", "avx512_vnni"}, False),
        ("x86_64", {"avx2", "avx_vnni"}, False),
        ("aarch64", set(), False),
        ("arm64", set(), False),
    ],
    ids=["avx2", "untold", "avx512-vnni", "avx-vnni", "linux-arm", "mac-arm"],
)
def test_only_x86_without_vnni_saturates(machine, flags, expected):
    assert onnx_session.saturates(machine, flags) is expected


def write_model(folder, *, quantized):
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    stored = []
    if quantized:
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "scale"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "scale"], ["y"]),
        ]
        stored = [onnx.numpy_helper.from_array(np.float32(0.1), "scale")]
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 2]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], stored)
    path = folder / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return str(path)


class Library:
    """Stands for onnxruntime: notes the options that each session was opened with."""

    __version__ = "0"

    def __init__(self, *, fails_exact=False):
        self.opened = []
        self._fails = fails_exact
        library = self

        class SessionOptions:
            def __init__(self):
                self.entries = {}

            def add_session_config_entry(self, key, value):
                self.entries[key] = value

        class InferenceSession:
            def __init__(self, path, options, providers):
                del path, providers
                if library._fails and options.entries:
                    raise RuntimeError("Attempt to replace the existing tensor")
                library.opened.append(options.entries)

            def get_inputs(self):
                return []

            def get_outputs(self):
                return []

            def get_modelmeta(self):
                return SimpleNamespace(custom_metadata_map={})

        self.SessionOptions, self.InferenceSession = SessionOptions, InferenceSession


def open_with(monkeypatch, path, *, flags, fails_exact=False):
    library = Library(fails_exact=fails_exact)
    runtime = object.__new__(onnx_session.Runtime)
    runtime._library, runtime._threads = library, 1
    monkeypatch.setattr(onnx_session.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(onnx_session, "cpu_flags", lambda: flags)
    return runtime.open(path).settings, library.opened


def test_a_quantized_file_is_run_exactly_where_the_processor_would_saturate(monkeypatch, tmp_path):
    settings, opened = open_with(monkeypatch, write_model(tmp_path, quantized=True), flags={"avx2"})
    assert opened == [{"session.x64quantprecision": "1"}]
    assert settings == (
        "session.x64quantprecision=1: this processor has no VNNI, and its 8-bit products saturate otherwise"
    )


@pytest.mark.parametrize(("quantized", "flags"), [(False, {"avx2"}), (True, {"avx512_vnni"})], ids=["float", "vnni"])
def test_nothing_is_set_where_nothing_is_needed(monkeypatch, tmp_path, quantized, flags):
    assert open_with(monkeypatch, write_model(tmp_path, quantized=quantized), flags=flags) == ("", [{}])


def test_a_file_that_does_not_load_exactly_is_run_as_it_is_and_that_is_said(monkeypatch, tmp_path):
    path = write_model(tmp_path, quantized=True)
    settings, opened = open_with(monkeypatch, path, flags={"avx2"}, fails_exact=True)
    assert opened == [{}]
    assert settings == (
        "without session.x64quantprecision, with which the file does not load; this processor has no VNNI, and its "
        "8-bit products saturate otherwise"
    )


@pytest.mark.parametrize(
    ("shape", "columns", "bits"),
    [
        pytest.param((5, 2, 32), 64, 8, id="whole-groups"),
        pytest.param((5, 1, 32), 24, 8, id="one-group-filled-up"),
        pytest.param((5, 1, 32), 2, 8, id="nearly-empty"),
        pytest.param((5, 3, 16), 70, 4, id="4-bits-filled-up"),
        pytest.param((5, 1, 64), 128, 4, id="4-bits-in-128"),
    ],
)
def test_bits_of_weights_in_groups_do_not_count_what_fills_a_group_up(shape, columns, bits):
    assert onnx_session._bits_in_groups(shape, columns) == bits
