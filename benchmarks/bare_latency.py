"""INT8 of the bare tools against their own float files on this machine: what a latency ratio can be here at best.

    python benchmarks/bare_latency.py [--own FILE.onnx] [--write]

Converts EfficientNet-Lite0 with `bare/bare_onnx.py` and `bare/bare_tflite.py`, nothing of edgekit's, and times INT8 and
float in turn (A B, B A), one thread. onnxruntime is timed twice: as it is, where x86 kernels without VNNI add two
products in 16 bits and saturate, and with `session.x64quantprecision`, with which they compute what ARM's do and what
edgekit validates with. `--own` times an INT8 file of edgekit's beside the bare one. Needs EDGEKIT_SHARED.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
PAIRS = 100
WARMUP = 5


def onnx_run(path: Path, *, exact: bool = False) -> Callable[[], Any]:
    """Returns a call that runs an ONNX file once; `exact` keeps 8-bit products from saturating."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if exact:
        options.add_session_config_entry("session.x64quantprecision", "1")
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype("f4")}
    return lambda: session.run(None, feed)


def tflite_run(path: Path) -> Callable[[], Any]:
    """Returns a call that runs a TFLite file once, with XNNPACK."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    given = interpreter.get_input_details()[0]
    interpreter.set_tensor(given["index"], np.zeros(given["shape"], given["dtype"]))
    return interpreter.invoke


def seconds(run: Callable[[], Any]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def ratios(first: Callable[[], Any], second: Callable[[], Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Returns the ratio of each pair of timings, in turn."""
    found: list[float] = []
    for pair in range(PAIRS + WARMUP):
        order = (first, second) if pair % 2 else (second, first)
        times = {run: seconds(run) for run in order}
        if pair >= WARMUP:
            found.append(times[first] / times[second])
    return np.array(found)


def integer_instructions() -> str:
    """Returns which instructions for 8-bit dot products the processor names."""
    flags = set(Path("/proc/cpuinfo").read_text().split()) if Path("/proc/cpuinfo").exists() else set()
    named = sorted(flags & {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"})
    return f"{platform.machine()} with {', '.join(named)}" if named else f"{platform.machine()} without VNNI"


def row(title: str, integers: Callable[[], Any], floats: Callable[[], Any]) -> str:
    """Times two runs and returns a row of the table, printed as well."""
    low, middle, high = np.percentile(ratios(integers, floats), [25, 50, 75])
    line = f"| {title} | {middle:.2f} | {low:.2f} to {high:.2f} |"
    print(line, flush=True)
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--own", type=Path, help="an INT8 .onnx of EfficientNet-Lite0 that edgekit has exported")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    lines = ["| what | INT8 over float, median of pairs | middle half |", "|---|---|---|"]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name in ("onnx", "tflite"):
            command = [sys.executable, str(HERE / f"bare/bare_{name}.py"), scratch]
            subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        files = [("bare", folder / "bare.onnx")] + ([("edgekit's", options.own)] if options.own else [])
        for exact in (False, True):
            how = "onnxruntime, exact products" if exact else "onnxruntime"
            for whose, path in files:
                lines.append(row(f"{whose} ONNX, {how}", onnx_run(path, exact=exact), onnx_run(folder / "f.onnx")))
        lines.append(row("bare TFLite, LiteRT", tflite_run(folder / "bare.tflite"), tflite_run(folder / "f.tflite")))
    if options.write:
        title = "# Latency of the bare tools' INT8\n\nOutput of `python benchmarks/bare_latency.py --own FILE.onnx`, "
        text = f"{title}{integer_instructions()}, one thread.\n\n"
        (HERE / "results" / "bare_latency.md").write_text(text + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
