"""Plants one fault each into the tiny artifacts and debugs them. Run as a script: TINY FOLDER; writes reports.json."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np

from edgekit.debugging.job import ComparisonRequest
from edgekit.model import CapturedModel
from edgekit.samples import Samples
from edgekit.workers.structure import read_value

# coremltools and others import TensorFlow where they find it, for nothing that is used here: 7 s.
sys.modules["tensorflow"] = None  # type: ignore[assignment]  # this is how Python marks a module as not importable

from edgekit.artifact import runtime_of  # noqa: E402  after the line above
from edgekit.debugging.inspector import open_inside  # noqa: E402  after the line above
from edgekit.debugging.job import run  # noqa: E402  after the line above
from edgekit.errors import EdgekitError  # noqa: E402  after the line above
from edgekit.samples import write_samples  # noqa: E402  after the line above


def edit_tflite(source: Path, target: Path, *, zero_point: int = 0, scale: float = 1.0) -> None:
    """Changes the grid of the convolution's output, and of the tensors that only move its values about."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(source.read_bytes(), 0))
    graph = model.subgraphs[0]
    convolution = next(
        item
        for item in graph.operators
        if model.operatorCodes[item.opcodeIndex].builtinCode == schema.BuiltinOperator.CONV_2D
    )
    wanted = graph.tensors[convolution.outputs[0]].quantization.scale[0]
    for tensor in graph.tensors:
        grid = tensor.quantization
        if grid is not None and grid.scale is not None and len(grid.scale) == 1 and grid.scale[0] == wanted:
            grid.zeroPoint, grid.scale = [int(grid.zeroPoint[0]) + zero_point], [float(grid.scale[0]) * scale]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    target.write_bytes(bytes(builder.Output()))


def swap_channels(source: Path, target: Path) -> None:
    """Reverses the input channels of the XNNPACK convolution's weight: (8, 3, 3, 3), channels last."""
    from executorch.exir._serialize._program import deserialize_pte_binary, serialize_pte_binary

    file = deserialize_pte_binary(source.read_bytes())
    buffers = file.named_data.buffers
    (place,) = [i for i, item in enumerate(buffers) if len(item.buffer if hasattr(item, "buffer") else item) == 864]
    item = buffers[place]
    weight = np.frombuffer(item.buffer if hasattr(item, "buffer") else item, np.float32).reshape(8, 3, 3, 3)
    changed = np.ascontiguousarray(weight[..., ::-1]).tobytes()
    if hasattr(item, "buffer"):
        item.buffer = changed
    else:
        buffers[place] = changed
    target.write_bytes(bytes(serialize_pte_binary(file, extract_delegate_segments=True)))


def lose_activation(source: Path, target: Path) -> None:
    """Makes the program's relu an operator that does nothing."""
    from edgekit.validators.coreml_evaluator.protobuf_classes import protobuf_classes

    shutil.copytree(source, target)
    path = next(target.rglob("*.mlmodel"))
    spec = protobuf_classes().model.Model()
    spec.ParseFromString(path.read_bytes())
    for block in spec.mlProgram.functions["main"].block_specializations.values():
        for operation in block.operations:
            if operation.type == "relu":
                operation.type = "identity"
    path.write_bytes(spec.SerializeToString())


def calibration(folder: Path) -> str:
    """Writes the rows that tiny_int8.tflite was calibrated with."""
    generator = np.random.default_rng(1)
    rows = [
        (generator.standard_normal((1, 3, 6, 6)).astype(np.float32), generator.integers(0, 16, (1, 4)))
        for _ in range(8)
    ]
    return str(write_samples(folder, ["image", "tokens"], rows).folder)


def debug(folder: Path, samples: str, artifact: Path, runtime: str, precision: str) -> dict:
    request = ComparisonRequest(
        model=read_value(folder / "tiny.json", CapturedModel),
        source="tiny.py:build",
        artifact=artifact,
        runtime=runtime,
        precision=precision,
        samples=Samples.open(Path(samples)),
        samples_from="calibration",
        count=8,
        threads=1,
        metric="cosine",
        base=Path(),
    )
    return run(request, lambda *_: None).to_json()


def messages(tiny: Path, folder: Path) -> dict[str, str]:
    """Returns what is said about files whose insides cannot be read."""
    from executorch.exir._serialize._program import deserialize_pte_binary, serialize_pte_binary

    file = deserialize_pte_binary((tiny / "tiny.pte").read_bytes())
    file.program.execution_plan[0].name = "other"
    (folder / "no_forward.pte").write_bytes(bytes(serialize_pte_binary(file, extract_delegate_segments=True)))
    file.program.execution_plan[0].name = "forward"
    for item in file.program.backend_delegate_data:
        item.data = b"0123XH01" + bytes(item.data[8:])
    (folder / "other_header.pte").write_bytes(bytes(serialize_pte_binary(file, extract_delegate_segments=True)))
    for name in ("damaged.pte", "damaged.tflite", "damaged.onnx"):
        (folder / name).write_bytes(b"no model at all")
    found: dict[str, str] = {}
    for path in sorted(folder.glob("*.*")):
        if path.stem in ("damaged", "no_forward", "other_header"):
            try:
                open_inside(runtime_of(path), path, 1)
            except EdgekitError as error:
                found[path.name] = f"{type(error).__name__}: {error.message}"
    return found


if __name__ == "__main__":
    tiny, folder = Path(sys.argv[1]), Path(sys.argv[2])
    samples = calibration(folder / "samples")
    edit_tflite(tiny / "tiny_int8.tflite", folder / "zero_point.tflite", zero_point=120)
    edit_tflite(tiny / "tiny_int8.tflite", folder / "saturated.tflite", scale=0.2)
    swap_channels(tiny / "tiny.pte", folder / "swapped.pte")
    lose_activation(tiny / "tiny.mlpackage", folder / "lost.mlpackage")
    cases = {
        "zero point": (folder / "zero_point.tflite", "tflite", "int8-static"),
        "saturated": (folder / "saturated.tflite", "tflite", "int8-static"),
        "sound executorch": (tiny / "tiny.pte", "executorch", "fp32"),
        "swapped": (folder / "swapped.pte", "executorch", "fp32"),
        "sound coreml": (tiny / "tiny.mlpackage", "coreml", "fp16"),
        "lost": (folder / "lost.mlpackage", "coreml", "fp16"),
        "sound onnx": (tiny / "tiny.onnx", "onnx", "fp32"),
    }
    reports = {name: debug(tiny, samples, *case) for name, case in cases.items()}
    (folder / "reports.json").write_text(json.dumps({**reports, "messages": messages(tiny, folder)}))
