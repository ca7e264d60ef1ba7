"""Inputs as models have them, through real converters and runtimes: state, graphs, sounds, numbers, dicts, masks."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgekit.cli.app import main

pytestmark = pytest.mark.runtime

CODE = """
import dataclasses
import numpy as np
import torch
from torch import nn


@dataclasses.dataclass
class Past:
    key: torch.Tensor
    value: torch.Tensor


class Stream(nn.Module):
    def __init__(self):
        super().__init__()
        self.cells, self.head = nn.LSTM(6, 8, 2, batch_first=True), nn.Linear(8, 3)

    def forward(self, frame, h, c):
        y, (h, c) = self.cells(frame, (h, c))
        return self.head(y[:, -1]), h, c


class Graph(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, nodes, adjacency, known):
        values = adjacency @ self.first(nodes)
        return self.last(torch.where(known[:, None], torch.relu(values), torch.zeros_like(values)))


class Sound(nn.Module):
    def __init__(self):
        super().__init__()
        self.filters, self.head = nn.Conv1d(1, 4, 16, 8), nn.Linear(4, 3)

    def forward(self, wave):
        return self.head(torch.relu(self.filters(wave[None, None])).mean(-1))


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.places, self.head = nn.Embedding(20, 8), nn.Embedding(16, 8), nn.Linear(8, 20)

    def forward(self, token, position, past, bias=None, *, options=None):
        x = self.tokens(token) + self.places(position)
        x = x + (past.key * past.value).sum(1, keepdim=True)
        return {"logits": self.head(x + options["shift"][0])[:, -1], "key": past.key + x, "position": position + 1}


class Picture(nn.Module):
    def __init__(self):
        super().__init__()
        self.filters, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

    def forward(self, pixels, gain):
        x = pixels.permute(0, 3, 1, 2).to(torch.float32) / 255 * gain.float()
        return self.head(torch.relu(self.filters(x)).mean((2, 3)))


def seeded(kind):
    torch.manual_seed(0)
    return kind().eval()


def stream(): return seeded(Stream)
def graph(): return seeded(Graph)
def sound(): return seeded(Sound)
def decoder(): return seeded(Decoder)
def picture(): return seeded(Picture)


def draw(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def stream_item(seed): return draw(seed, 1, 2, 6), draw(seed + 1, 2, 1, 8), draw(seed + 2, 2, 1, 8)
def sound_item(seed): return (draw(seed, 96),)


def graph_item(seed):
    return draw(seed, 5, 6), np.abs(draw(seed + 1, 5, 5)), draw(seed + 2, 5) > 0


def decoder_item(seed):
    past = Past(key=draw(seed, 1, 4, 8), value=draw(seed + 1, 1, 4, 8))
    return {"options": {"shift": (draw(seed + 2, 8), None)}, "past": past,
            "token": np.array([[seed % 20]]), "position": np.array(seed % 16)}


def picture_item(seed):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (1, 9, 9, 3), dtype=np.uint8), np.full((1, 1, 1, 1), 0.5 + seed / 32, "float16")


def stream_example(): return stream_item(1)
def graph_example(): return graph_item(1)
def sound_example(): return sound_item(1)
def decoder_example(): return decoder_item(1)
def picture_example(): return picture_item(1)


def stream_data(): return [(stream_item(seed), 0) for seed in range(6)]
def graph_data(): return [(graph_item(seed), 0) for seed in range(6)]
def sound_data(): return [(sound_item(seed), 0) for seed in range(6)]
def decoder_data(): return [(decoder_item(seed), 0) for seed in range(6)]
def picture_data(): return [(picture_item(seed), 0) for seed in range(6)]
"""

SIGNATURES: dict[str, dict[str, tuple[list[int], str]]] = {
    "stream": {"frame": ([1, 2, 6], "float32"), "h": ([2, 1, 8], "float32"), "c": ([2, 1, 8], "float32")},
    "graph": {"nodes": ([5, 6], "float32"), "adjacency": ([5, 5], "float32"), "known": ([5], "bool")},
    "sound": {"wave": ([96], "float32")},
    "decoder": {
        "token": ([1, 1], "int64"),
        "position": ([], "int64"),
        "past.key": ([1, 4, 8], "float32"),
        "past.value": ([1, 4, 8], "float32"),
        "options.shift.0": ([8], "float32"),
    },
    "picture": {"pixels": ([1, 9, 9, 3], "uint8"), "gain": ([1, 1, 1, 1], "float16")},
}


MADE = [
    ("stream", "onnx,executorch"),
    ("graph", "onnx,coreml"),
    ("sound", "onnx,tflite"),
    ("decoder", "onnx,executorch,tflite,coreml"),
    ("picture", "onnx,tflite"),
]
"""Formats of each: all for what is hardest, else ONNX, whose snippet is run, and one more."""


def export(folder: Path, name: str, formats: str) -> dict[str, Any]:
    (folder / "net.py").write_text(CODE)
    words = ["export", f"net.py:{name}", "--example-inputs", f"net.py:{name}_example", "--evaluation"]
    words += [f"net.py:{name}_data", "--metric", "cosine", "--device", "pixel8", "--precision", "fp32", "--json"]
    before, written = Path.cwd(), io.StringIO()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(written):
            main([*words, "--format", formats, "-o", "out"])
    finally:
        os.chdir(before)
    report: dict[str, Any] = json.loads(written.getvalue())
    return report


@pytest.mark.parametrize(("name", "formats"), MADE)
def test_a_model_keeps_its_inputs_and_gives_what_it_gave(tmp_path, name, formats):
    report = export(tmp_path, name, formats)
    wanted = SIGNATURES[name]
    assert [entry["runtime"] for entry in report["formats"]] == formats.split(",")
    for entry in report["formats"]:
        artifact, runtime = entry["artifact"], entry["runtime"]
        assert [spec["shape"] for spec in artifact["inputs"]] == [shape or ONE[runtime] for shape, _ in wanted.values()]
        if name == "decoder":
            assert [spec["name"] for spec in artifact["outputs"]] == ["logits", "key", "position_out"]
        (parity,) = [check["value"] for check in entry["checks"] if check["name"] == "parity"]
        assert parity > 80
    snippet = next((tmp_path / "out" / "usage").glob("*onnx*.py"))
    ran = subprocess.run([sys.executable, str(snippet)], check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


ONE: dict[str, list[int]] = {"coreml": [1], "onnx": [], "executorch": [], "tflite": []}
"""What a single number has for a shape: Core ML has no tensor without axes."""
