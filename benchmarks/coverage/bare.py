"""The same cell by the format's own tools, used as their documentation does it; nothing of edgekit's but the runner."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from capture import CALIBRATION_ROWS, drawn, flat, judged
from judge import WRONG_DB, judgement, run_file


def measure(name: str, runtime: str, precision: str, work: Path, folder: Path) -> dict[str, Any]:
    """Returns the judgement of the outputs; for int8, of the best of the tool's quantizers, and dB of each by name."""
    from zoo import build

    warnings.simplefilter("ignore")
    wanted = judged(name, work)
    module, example = build(name), drawn(name, "judged", 1)[0]
    makers = FLOAT[runtime] if precision == "fp32" else INTEGER[runtime]
    found: dict[str, dict[str, float]] = {}
    reasons: list[str] = []
    for title, make in makers.items():
        try:
            path = make(module, example, name, folder)
            got, _ = run_file(runtime, path, wanted.rows, [], [])
            found[title] = judgement(wanted.expected, got)
        except Exception as error:
            first = (str(error).strip().splitlines() or [""])[0]
            reasons.append(f"{title}: {type(error).__name__}: {first[:200]}")
    best = max(found.values(), key=_quality, default={"db": None})
    return {**best, "each": {title: item["db"] for title, item in found.items()}, "reason": "; ".join(reasons)}


def _quality(made: dict[str, float]) -> tuple[bool, float, float]:
    return made["db"] > WRONG_DB, made.get("equal", 100.0), made["db"]


def calibration(name: str) -> list[tuple[Any, ...]]:
    return drawn(name, "calibration", CALIBRATION_ROWS)


def onnx_float(module: Any, example: Any, name: str, folder: Path) -> Path:
    import torch

    del name
    path = folder / "bare.onnx"
    torch.onnx.export(module, example, path, dynamo=True, external_data=False, verbose=False)
    return path


def onnx_static(module: Any, example: Any, name: str, folder: Path) -> Path:
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    path, prepared = folder / "static.onnx", folder / "prepared.onnx"
    quant_pre_process(onnx_float(module, example, name, folder), prepared)
    names = [item.name for item in onnx.load(prepared).graph.input]

    class Reader(CalibrationDataReader):  # type: ignore[misc]  onnxruntime has no types
        def __init__(self) -> None:
            self.rows = iter([dict(zip(names, flat(row), strict=True)) for row in calibration(name)])

        def get_next(self) -> Any:
            return next(self.rows, None)

    quantize_static(
        prepared,
        path,
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return path


def onnx_dynamic(module: Any, example: Any, name: str, folder: Path) -> Path:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    path = folder / "dynamic.onnx"
    quantize_dynamic(onnx_float(module, example, name, folder), path, weight_type=QuantType.QUInt8)
    return path


def tflite_float(module: Any, example: Any, name: str, folder: Path) -> Path:
    import litert_torch

    del name
    path = folder / "bare.tflite"
    litert_torch.convert(module, example).export(str(path))
    return path


def tflite_static(module: Any, example: Any, name: str, folder: Path) -> Path:
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe

    source, path = tflite_float(module, example, name, folder), folder / "static.tflite"
    quantize = quantizer.Quantizer(str(source))
    quantize.load_quantization_recipe(recipe.static_wi8_ai8())
    signatures = Interpreter(str(source)).get_signature_list()
    key = next(iter(signatures))
    names = sorted(signatures[key]["inputs"], key=lambda text: int(text.rpartition("_")[2]))
    ranges = quantize.calibrate({key: [dict(zip(names, flat(row), strict=True)) for row in calibration(name)]})
    quantize.quantize(ranges).export_model(str(path), overwrite=True)
    return path


def tflite_dynamic(module: Any, example: Any, name: str, folder: Path) -> Path:
    from ai_edge_quantizer import quantizer, recipe

    path = folder / "dynamic.tflite"
    quantize = quantizer.Quantizer(str(tflite_float(module, example, name, folder)))
    quantize.load_quantization_recipe(recipe.dynamic_wi8_afp32())
    quantize.quantize().export_model(str(path), overwrite=True)
    return path


def _lowered(program: Any, path: Path) -> Path:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
    path.write_bytes(lowered.buffer)
    return path


def executorch_float(module: Any, example: Any, name: str, folder: Path) -> Path:
    import torch

    del name
    return _lowered(torch.export.export(module, example), folder / "bare.pte")


def _prepared(module: Any, example: Any, name: str, quantizer: Any) -> Any:
    import torch
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    graph = prepare_pt2e(torch.export.export(module, example).module(), quantizer)
    with torch.no_grad():
        for row in calibration(name):
            graph(*row)
    return torch.export.export(convert_pt2e(graph), example)


def _xnnpack(*, dynamic: bool) -> Callable[[Any, Any, str, Path], Path]:
    def make(module: Any, example: Any, name: str, folder: Path) -> Path:
        from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
            XNNPACKQuantizer,
            get_symmetric_quantization_config,
        )

        config = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=dynamic)
        program = _prepared(module, example, name, XNNPACKQuantizer().set_global(config))
        return _lowered(program, folder / f"bare-{dynamic}.pte")

    return make


def _package(program: Any, path: Path, *, quantized: bool = False, single: bool = True) -> Path:
    from edgekit.converters.to_coreml_program import import_coremltools

    ct = import_coremltools()  # coremltools itself, with the warnings that clash with pytest silenced
    passes = ct.PassPipeline.DEFAULT
    if quantized:
        passes.remove_passes({"common::int_op_canonicalization"})
    ct.convert(
        program.run_decompositions({}),
        convert_to="mlprogram",
        minimum_deployment_target=ct.target.iOS17,
        compute_precision=ct.precision.FLOAT32 if single else None,
        pass_pipeline=passes,
        skip_model_load=True,
    ).save(str(path))
    return path


def coreml_float(module: Any, example: Any, name: str, folder: Path) -> Path:
    import torch

    del name
    return _package(torch.export.export(module, example), folder / "bare.mlpackage")


def coreml_static(module: Any, example: Any, name: str, folder: Path) -> Path:
    import torch
    from coremltools.optimize.torch.quantization.quantization_config import LinearQuantizerConfig
    from executorch.backends.apple.coreml.quantizer import CoreMLQuantizer

    config = {
        "quantization_scheme": "symmetric",
        "milestones": [0, 0, 10, 10],
        "activation_dtype": torch.quint8,
        "weight_dtype": torch.qint8,
        "weight_per_channel": True,
    }
    quantizer = CoreMLQuantizer(LinearQuantizerConfig.from_dict({"global_config": config}))
    return _package(_prepared(module, example, name, quantizer), folder / "static.mlpackage", quantized=True)


def coreml_weights(module: Any, example: Any, name: str, folder: Path) -> Path:
    import coremltools as ct
    import coremltools.optimize as cto

    made = ct.models.MLModel(str(coreml_float(module, example, name, folder)), skip_model_load=True)
    config = cto.coreml.OptimizationConfig(global_config=cto.coreml.OpLinearQuantizerConfig(mode="linear_symmetric"))
    path = folder / "weights.mlpackage"
    cto.coreml.linear_quantize_weights(made, config).save(str(path))
    return path


FLOAT = {
    "tflite": {"litert-torch": tflite_float},
    "onnx": {"torch.onnx": onnx_float},
    "executorch": {"xnnpack": executorch_float},
    "coreml": {"coremltools": coreml_float},
}
INTEGER = {
    "tflite": {"static_wi8_ai8": tflite_static, "dynamic_wi8_afp32": tflite_dynamic},
    "onnx": {"quantize_static": onnx_static, "quantize_dynamic": onnx_dynamic},
    "executorch": {"static": _xnnpack(dynamic=False), "dynamic": _xnnpack(dynamic=True)},
    "coreml": {"W8A8": coreml_static, "weights": coreml_weights},
}
