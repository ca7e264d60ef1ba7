"""How long two ONNX files of one model take against each other on this machine, in turn: their latency ratio.

    python benchmarks/pair_latency.py FLOAT.onnx INT8.onnx [--pairs 100]

Each run is timed by the CPU time of its thread, so that other work on the machine counts for little; A B, then B A.
Inputs are ones: kernels take the same time for all numbers. Prints the median of both, the ratio of the medians, and
the ratio of what the fastest tenth of the runs stays below.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

WARMUP = 5
TYPES = {"tensor(float)": "float32", "tensor(int64)": "int64", "tensor(int32)": "int32", "tensor(uint8)": "uint8"}


def runner(path: Path) -> Callable[[], Any]:
    """Returns a call that runs the file once, on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {item.name: np.ones(item.shape, TYPES[item.type]) for item in session.get_inputs()}
    return lambda: session.run(None, feed)


def milliseconds(run: Callable[[], Any]) -> float:
    began = time.thread_time()
    run()
    return (time.thread_time() - began) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--pairs", type=int, default=100)
    options = parser.parse_args()
    runs = [runner(options.first), runner(options.second)]
    times: list[list[float]] = [[], []]
    for pair in range(options.pairs + WARMUP):
        for i in (0, 1) if pair % 2 else (1, 0):
            taken = milliseconds(runs[i])
            if pair >= WARMUP:
                times[i].append(taken)
    medians = [float(np.median(item)) for item in times]
    tenths = [float(np.percentile(item, 10)) for item in times]
    print(f"{options.first.name} {medians[0]:.2f} ms, {options.second.name} {medians[1]:.2f} ms")
    print(f"{medians[1] / medians[0]:.3f} x by the medians, {tenths[1] / tenths[0]:.3f} x by the fastest tenths")


if __name__ == "__main__":
    main()
