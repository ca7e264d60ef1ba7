"""ONNX INT8 as onnxruntime's documentation does it: export, preprocess, quantize_static (U8S8, per channel)."""

import sys
from pathlib import Path

import torch
from bare_common import images, model
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process


class Reader(CalibrationDataReader):
    def __init__(self) -> None:
        self.samples = iter({"input": image.numpy()} for image in images())

    def get_next(self) -> dict | None:
        return next(self.samples, None)


out = Path(sys.argv[1])
example = (torch.zeros(1, 3, 224, 224),)
torch.onnx.export(model(), example, out / "f.onnx", dynamo=True, external_data=False, input_names=["input"])
quant_pre_process(out / "f.onnx", out / "p.onnx")
quantize_static(
    out / "p.onnx",
    out / "bare.onnx",
    Reader(),
    quant_format=QuantFormat.QDQ,
    per_channel=True,
    activation_type=QuantType.QUInt8,
    weight_type=QuantType.QInt8,
)
