"""Builds one tiny model in every format: two inputs (an image, token ids), two outputs. Run as a script: FOLDER.

Beside it INT8 files with one float convolution (`planted_int8.*`), and models with a convolution that XNNPACK does not
take (`uncommon*`).
"""

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


class Volume(torch.nn.Module):
    """A convolution in three dimensions, which XNNPACK does not take in LiteRT, and a linear layer that it takes."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv3d(1, 4, 3)
        self.linear = torch.nn.Linear(4, 3)

    def forward(self, x):
        return self.linear(torch.relu(self.conv(x)).flatten(2).mean(2))


class Correlation(torch.nn.Module):
    """A convolution with a part of the image: ExecuTorch gives XNNPACK only weights that are stored."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(9, 3)

    def forward(self, x):
        return self.linear(torch.nn.functional.conv2d(x, x[:, :, :3, :3]).flatten(1))


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
    build_uncommon(folder)


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
    calibrated = integer.calibrate({"serving_default": rows})
    integer.quantize(calibrated).export_model(str(folder / "tiny_int8.tflite"))
    planted = quantizer.Quantizer(str(folder / "tiny.tflite"))
    planted.load_quantization_recipe([
        *recipe.static_wi8_ai8(),
        {"regex": ".*", "operation": "CONV_2D", "algorithm_key": "no_quantize"},
    ])  # fmt: skip
    planted.quantize(calibrated).export_model(str(folder / "planted_int8.tflite"))


def build_executorch(program, folder: Path) -> None:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    lowered = to_edge_transform_and_lower(
        program, partitioner=[XnnpackPartitioner()], constant_methods={"labels": "a,b,c,d,e"}
    )
    (folder / "tiny.pte").write_bytes(lowered.to_executorch().buffer)


def build_uncommon(folder: Path) -> None:
    import litert_torch

    volume = (torch.zeros(1, 1, 5, 5, 5),)
    litert_torch.convert(Volume().eval(), volume).export(str(folder / "uncommon.tflite"))
    build_uncommon_program(Correlation().eval(), folder)


def build_uncommon_program(model, folder: Path) -> None:
    """Writes an ExecuTorch program with an INT8 linear layer; the convolution stays float and off XNNPACK."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from executorch.exir import to_edge_transform_and_lower
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    inputs = (torch.randn(1, 2, 5, 5),)
    chooser = XNNPACKQuantizer()
    chooser.set_module_type(torch.nn.Linear, get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(torch.export.export(model, inputs).module(), chooser)
    prepared(*inputs)
    program = torch.export.export(convert_pt2e(prepared), inputs)
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    (folder / "uncommon_int8.pte").write_bytes(lowered.to_executorch().buffer)


def build_coreml(program, folder: Path) -> None:
    import coremltools

    package = coremltools.convert(program.run_decompositions({}), minimum_deployment_target=coremltools.target.iOS17)
    package.user_defined_metadata["labels"] = "a,b,c,d,e"
    package.save(str(folder / "tiny.mlpackage"))
    for name, planted in (("tiny_int8", False), ("planted_int8", True)):
        build_integer_package(coremltools, planted).save(str(folder / f"{name}.mlpackage"))


def build_integer_package(coremltools, planted):
    """Returns a model of two convolutions between quantize and dequantize; `planted`: the second one is float."""
    from coremltools.converters.mil import Builder

    def on_grid(x):
        stored = Builder.quantize(input=x, scale=np.float32(0.1), output_dtype="int8")
        return Builder.dequantize(input=stored, scale=np.float32(0.1))

    weights = np.random.default_rng(2).integers(-127, 128, (4, 4, 3, 3)).astype(np.int8)
    scales = np.full((4, 1, 1, 1), 0.01, np.float32)

    @Builder.program(input_specs=[Builder.TensorSpec(shape=(1, 4, 8, 8))], opset_version=coremltools.target.iOS18)
    def prog(image):
        first = Builder.constexpr_blockwise_shift_scale(data=weights, scale=scales)
        x = on_grid(Builder.conv(x=on_grid(image), weight=first, name="first"))
        if planted:
            return Builder.conv(x=x, weight=weights * scales, name="second")
        return on_grid(
            Builder.conv(x=x, weight=Builder.constexpr_blockwise_shift_scale(data=weights, scale=scales), name="second")
        )

    return coremltools.convert(
        prog,
        minimum_deployment_target=coremltools.target.iOS18,
        compute_precision=coremltools.precision.FLOAT32,
        pass_pipeline=coremltools.PassPipeline.EMPTY,
    )


if __name__ == "__main__":
    build(Path(sys.argv[1]))
