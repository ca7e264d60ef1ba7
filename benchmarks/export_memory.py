"""Peak memory of exports of a transformer, beside the bare converters'.

    python benchmarks/export_memory.py [--layers 8] [--width 1024] [--formats onnx,tflite,executorch,coreml]
        [--precisions fp32,int8] [--write]

The encoder has 12 * width^2 parameters a layer (8 layers of 1024: 101 M, 24: 302 M) and random weights. A peak is the
largest sum of the proportional sets of a command and all its children (what they hold, and their part of what they
share: a fork that is about to run another program holds nothing of its own), looked at twenty times a second; of
edgekit's, the stage at that moment is shown too. Goal: 3 times the float32 weights + 0.6 GB, or 1.1 times the bare
converter's peak where that is more. Needs no data.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

HERE = Path(__file__).parent
ENCODER = """
import torch
from torch import nn
from torch.nn import functional as F

WIDTH, LAYERS, LENGTH = {width}, {layers}, 32

class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)

    def forward(self, x):
        parts = self.qkv(self.first(x)).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (WIDTH // 64, 64)).transpose(1, 2) for part in parts)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.second(x))))

def build():
    torch.manual_seed(0)
    return nn.Sequential(*(Layer() for _ in range(LAYERS))).eval()

def example_inputs():
    return (torch.zeros(1, LENGTH, WIDTH),)

def calibration():
    generator = torch.Generator().manual_seed(1)
    for _ in range(4):
        yield (torch.randn(1, LENGTH, WIDTH, generator=generator),)

def evaluation():
    generator = torch.Generator().manual_seed(2)
    for _ in range(4):
        yield (torch.randn(1, LENGTH, WIDTH, generator=generator),), None
"""
BARE = {
    ("onnx", "fp32"): """
import torch
torch.onnx.export(build(), example_inputs(), "net.onnx", dynamo=True, external_data=False)
""",
    ("onnx", "int8"): """
import torch
from onnxruntime.quantization import quantize_dynamic
torch.onnx.export(build(), example_inputs(), "net.onnx", dynamo=True, external_data=False)
quantize_dynamic("net.onnx", "net8.onnx")
""",
    ("tflite", "fp32"): """
import litert_torch
litert_torch.convert(build(), example_inputs()).export("net.tflite")
""",
    ("tflite", "int8"): """
import litert_torch
from ai_edge_quantizer import quantizer, recipe
litert_torch.convert(build(), example_inputs()).export("net.tflite")
made = quantizer.Quantizer("net.tflite", recipe.dynamic_wi8_afp32())
made.quantize().export_model("net8.tflite")
""",
    ("executorch", "fp32"): """
import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
made = to_edge_transform_and_lower(torch.export.export(build(), example_inputs()), partitioner=[XnnpackPartitioner()])
open("net.pte", "wb").write(made.to_executorch().buffer)
""",
    ("executorch", "int8"): """
import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import XNNPACKQuantizer, get_symmetric_quantization_config
from executorch.exir import to_edge_transform_and_lower
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True, is_dynamic=True))
prepared = prepare_pt2e(torch.export.export(build(), example_inputs()).module(), quantizer)
for row in calibration():
    prepared(*row)
program = torch.export.export(convert_pt2e(prepared), example_inputs())
made = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
open("net.pte", "wb").write(made.to_executorch().buffer)
""",
    ("coreml", "fp32"): """
import coremltools as ct, torch
program = torch.export.export(build(), example_inputs()).run_decompositions({})
ct.convert(program, compute_precision=ct.precision.FLOAT32, skip_model_load=True).save("net.mlpackage")
""",
    ("coreml", "int8"): """
import coremltools as ct, coremltools.optimize.coreml as cto, torch
program = torch.export.export(build(), example_inputs()).run_decompositions({})
made = ct.convert(program, skip_model_load=True, minimum_deployment_target=ct.target.iOS17)
config = cto.OptimizationConfig(global_config=cto.OpLinearQuantizerConfig(mode="linear_symmetric"))
cto.linear_quantize_weights(made, config).save("net.mlpackage")
""",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """What a command took.

    Attributes:
        bytes_: Largest sum of proportional sets.
        stage: What edgekit was doing then, "" for a bare script.
        seconds: Wall-clock time.
        failed: The end of what it said, "" where it ended well.
    """

    bytes_: int
    stage: str
    seconds: float
    failed: str


def peak_of(command: list[str], folder: Path, environment: dict[str, str]) -> Peak:
    """Runs a command in a folder and returns its peak."""
    started = time.monotonic()
    with (folder / "log.txt").open("wb") as log:
        process = psutil.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        largest, stage = 0, ""
        while process.poll() is None:
            try:
                tree = [process, *process.children(recursive=True)]
                sizes = {one: one.memory_full_info().pss for one in tree}
            except psutil.NoSuchProcess:
                continue
            if sum(sizes.values()) > largest:
                largest, stage = sum(sizes.values()), _stage_of(max(sizes, key=lambda one: sizes[one]))
            time.sleep(0.05)
    said = (folder / "log.txt").read_text(errors="replace").strip()
    return Peak(
        bytes_=largest,
        stage=stage,
        seconds=time.monotonic() - started,
        failed="" if process.returncode in (0, 1) and "Traceback" not in said else said[-300:],
    )


def _stage_of(process: psutil.Process) -> str:
    """Returns the job that a worker process does, or the runner's format."""
    try:
        words = process.cmdline()
        for word in words:
            if word.startswith("/") and (Path(word) / "job.json").exists():
                return str(json.loads((Path(word) / "job.json").read_text())["entry"].rpartition(".")[2])
        return next((word.partition("=")[2] for word in words if word.startswith("--runtime=")), "the command itself")
    except (psutil.NoSuchProcess, OSError, ValueError, IndexError):
        return ""


def export_command(runtime: str, precision: str) -> list[str]:
    words = "-m edgekit export net.py:build --example-inputs net.py:example_inputs --calibration net.py:calibration"
    rest = f"--evaluation net.py:evaluation -d iphone15 --format {runtime} --precision {precision} -o out --no-cache"
    return [sys.executable, *words.split(), *rest.split()]


def measure(runtime: str, precision: str, code: str, environment: dict[str, str]) -> tuple[Peak, Peak]:
    """Returns edgekit's peak and the bare converter's, each in a folder of its own."""
    peaks: list[Peak] = []
    for name in ("edgekit", "bare"):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            (place / "net.py").write_text(code)
            (place / "bare.py").write_text("from net import *\n" + BARE[runtime, precision])
            command = export_command(runtime, precision) if name == "edgekit" else [sys.executable, "bare.py"]
            own = {**environment, "EDGEKIT_CACHE_DIR": str(place / "cache")}
            peaks.append(peak_of(command, place, own))
    return peaks[0], peaks[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--formats", default="onnx,tflite,executorch,coreml")
    parser.add_argument("--precisions", default="fp32,int8")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    weights = 4 * 12 * options.width**2 * options.layers
    goal = 3 * weights + 0.6e9
    code = ENCODER.replace("{width}", str(options.width)).replace("{layers}", str(options.layers))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    lines = [
        f"{weights / 4e6:.0f} M parameters, float32 weights {weights / 1e9:.2f} GB, goal {goal / 1e9:.2f} GB:",
        "",
        "| format | precision | edgekit | of the weights | in | time | bare converter | goal kept |",
        "|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    for runtime in options.formats.split(","):
        for precision in options.precisions.split(","):
            ours, bare = measure(runtime, precision, code, environment)
            allowed = max(goal, 0 if bare.failed else 1.1 * bare.bytes_)
            beside = f"{bare.bytes_ / 1e9:.2f} GB{', failed' if bare.failed else ''}, {bare.seconds:.0f} s"
            lines.append(
                f"| {runtime} | {precision} | {ours.bytes_ / 1e9:.2f} GB | {ours.bytes_ / weights:.1f} x "
                f"| {ours.stage} | {ours.seconds:.0f} s | {beside} | {'yes' if ours.bytes_ <= allowed else 'no'} |"
            )
            print(lines[-1], flush=True)
            for name, peak in (("edgekit", ours), ("bare", bare)):
                if peak.failed:
                    print(f"  {name}: {peak.failed}", file=sys.stderr)
    if options.write:
        path = HERE / "results" / "export_memory.md"
        head = "# Peak memory of exports\n\nOutput of `python benchmarks/export_memory.py`, with the layers given.\n\n"
        text = path.read_text() if path.exists() else head
        path.write_text(text.rstrip("\n") + "\n\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
