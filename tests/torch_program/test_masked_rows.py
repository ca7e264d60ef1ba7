"""Attention rows that are masked whole give zeros in every format, as torch's attention does."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.artifact import Artifact, measure_files
from edgekit.converters.base import ConversionRequest, converter
from edgekit.formats.table import find_format
from edgekit.recipe import Recipe
from edgekit.testing.tiny_models import TinyNetwork, capture_tiny
from edgekit.torch_program.canonical_program import canonical
from edgekit.torch_program.trace_module import export_module, run_module
from edgekit.validators.execution import collect_evidence
from edgekit.validators.output_statistics import sqnr_db
from edgekit.workers.worker import silent

LENGTH = 6


class Attention(nn.Module):
    """Attention with a mask input: of booleans, of what is added to scores, or with torch's softmax written out."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x: Any, visible: Any) -> Any:
        seen = visible > 0  # Core ML has no boolean inputs
        q, k, v = self.qkv(x).reshape(1, LENGTH, 2, 12).transpose(1, 2).chunk(3, -1)
        if self.form == "boolean":
            mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        elif self.form == "added":
            mask = torch.zeros(1, 1, LENGTH, LENGTH).masked_fill(~seen, -math.inf)
            mixed = nn.functional.scaled_dot_product_attention(q, k, v, mask)
        else:
            scores = (q @ k.transpose(-1, -2) / 2).masked_fill(~seen, -math.inf)
            mixed = torch.ops.aten._safe_softmax(scores, -1) @ v
        return self.out(mixed.transpose(1, 2).reshape(1, LENGTH, 8))


class Stored(nn.Module):
    """Attention with a mask that is a constant."""

    def __init__(self, seen: Any) -> None:
        super().__init__()
        self.register_buffer("seen", seen)

    def forward(self, x: Any) -> Any:
        return nn.functional.scaled_dot_product_attention(x, x, x, attn_mask=self.seen)


def left_padded() -> Any:
    """Returns a causal mask (1, 1, T, T) in which the first two places are padding: their own rows see nothing."""
    seen = torch.ones(LENGTH, LENGTH).tril().bool()[None, None]
    seen[..., :2] = False
    return seen


def operators(program: Any) -> list[str]:
    return [str(node.target) for node in program.graph.nodes if node.op == "call_function"]


FORMS = ("boolean", "added", "softmax")


@pytest.mark.parametrize("form", FORMS)
def test_capture_keeps_what_torch_gives(form: str) -> None:
    torch.manual_seed(0)
    module, examples = Attention(form).eval(), (torch.randn(1, LENGTH, 8), left_padded().float())
    program = canonical(export_module(module, examples, "net"), examples, "net")
    (got,), expected = run_module(program.module(), examples, "net"), module(*examples)
    assert torch.equal(got, expected)
    assert torch.isfinite(expected).all()
    assert "aten.any.dim" in operators(program)


def test_a_stored_mask_is_opened_only_where_it_hides_a_row() -> None:
    x = torch.randn(1, 2, LENGTH, 4)
    causal = torch.ones(LENGTH, LENGTH).tril().bool()
    for seen, is_opened in ((causal, False), (left_padded(), True)):
        module = Stored(seen).eval()
        program = canonical(export_module(module, (x,), "net"), (x,), "net")
        assert torch.equal(run_module(program.module(), (x,), "net")[0], module(x))
        assert any("masked_fill" in name for name in operators(program)) == is_opened
        assert not any("logical" in name or "any" in name for name in operators(program))  # folded


@pytest.mark.runtime
@pytest.mark.filterwarnings("ignore")  # frameworks warn while they convert
@pytest.mark.parametrize(
    ("runtime", "precision", "least_db", "form"),
    [
        ("tflite", "fp32", 100, "boolean"),
        ("tflite", "fp32", 100, "added"),
        ("onnx", "fp32", 100, "boolean"),
        ("onnx", "fp32", 100, "added"),
        ("executorch", "fp32", 100, "boolean"),
        ("executorch", "fp32", 100, "added"),
        ("coreml", "fp32", 100, "boolean"),
        ("coreml", "fp16", 45, "added"),
    ],
)
def test_every_format_gives_what_torch_gives(
    runtime: str, precision: Any, least_db: float, form: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network = TinyNetwork(
        build=lambda: Attention(form),
        example=lambda: (torch.randn(1, LENGTH, 8), left_padded().float()),
        family="transformer",
    )
    (tmp_path / "model").mkdir()
    tiny = capture_tiny("attention", network, tmp_path / "model")
    path = tmp_path / f"net{find_format(runtime).suffix}"
    (tmp_path / "scratch").mkdir()
    request = ConversionRequest(
        model=tiny.model,
        recipe=Recipe(default=precision),
        calibration=None,
        metadata={},
        scratch=tmp_path / "scratch",
    )
    conversion = converter(runtime).run(request, path, silent)
    size, download, digest = measure_files(path)
    artifact = Artifact(
        path=path,
        runtime=runtime,
        precision=precision,
        size_bytes=size,
        download_bytes=download,
        sha256=digest,
        inputs=conversion.inputs,
        outputs=conversion.outputs,
    )
    evidence = collect_evidence(artifact, folder=tmp_path, evaluation=tiny.samples, pieces=("outputs",))
    assert evidence.outputs is not None
    (expected,), (found,) = tiny.outputs(), evidence.outputs.arrays()
    hidden = slice(0, 2)
    assert np.isfinite(found).all()
    assert np.allclose(found[:, hidden], expected[:, hidden], atol=1e-3)
    assert sqnr_db(expected, found) > least_db
