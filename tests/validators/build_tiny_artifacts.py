"""Builds one tiny model in every format: two inputs (an image, token ids), two outputs. Run as a script: FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

# coremltools and others import TensorFlow where they find it, for nothing that is used here: 7 s.
sys.modules["tensorflow"] = None  # type: ignore[assignment]  # this is how Python marks a module as not importable

import torch  # noqa: E402  after the line above


class Tiny(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.table = torch.nn.Embedding(16, 8)
        self.linear = torch.nn.Linear(8, 5)

    def forward(self, image, tokens):
        pooled = torch.relu(self.conv(image)).mean((2, 3)) + self.table(tokens).mean(1)
        return self.linear(pooled), pooled


def build(folder: Path) -> None:
    torch.manual_seed(0)
    model = Tiny().eval()
    inputs = (torch.zeros(1, 3, 6, 6), torch.zeros(1, 4, dtype=torch.int64))
    program = torch.export.export(model, inputs)
    torch.export.save(program, folder / "tiny.pt2")
    onnx_program = torch.onnx.export(
        program, (), input_names=["image", "tokens"], output_names=["logits", "pooled"], verbose=False
    )
    onnx_program.save(str(folder / "tiny.onnx"))
    build_tflite(program, inputs, folder)
    build_executorch(program, folder)
    build_coreml(program, folder)


def build_tflite(program, inputs, folder: Path) -> None:
    import litert_torch
    from ai_edge_quantizer import quantizer, recipe

    litert_torch.convert(program.module(), inputs).export(str(folder / "tiny.tflite"))
    generator = np.random.default_rng(1)
    rows = [
        {
            "args_0": generator.standard_normal((1, 3, 6, 6)).astype(np.float32),
            "args_1": generator.integers(0, 16, (1, 4)).astype(np.int32),
        }
        for _ in range(8)
    ]
    integer = quantizer.Quantizer(str(folder / "tiny.tflite"))
    integer.load_quantization_recipe(recipe.static_wi8_ai8())
    integer.quantize(integer.calibrate({"serving_default": rows})).export_model(str(folder / "tiny_int8.tflite"))


def build_executorch(program, folder: Path) -> None:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    lowered = to_edge_transform_and_lower(
        program, partitioner=[XnnpackPartitioner()], constant_methods={"labels": "a,b,c,d,e"}
    )
    (folder / "tiny.pte").write_bytes(lowered.to_executorch().buffer)


def build_coreml(program, folder: Path) -> None:
    import coremltools

    package = coremltools.convert(program.run_decompositions({}), minimum_deployment_target=coremltools.target.iOS17)
    package.user_defined_metadata["labels"] = "a,b,c,d,e"
    package.save(str(folder / "tiny.mlpackage"))


if __name__ == "__main__":
    build(Path(sys.argv[1]))
