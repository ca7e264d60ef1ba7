"""What 4 bits cost all-MiniLM part by part: tables and linear layers rounded to nearest in float arithmetic.

    python benchmarks/table_bits.py

Judged on every second calibration sentence: no judging data is touched. Sizes are of the integers and float32 scales
alone. Each group of weights takes the best of a few scales by its squared error. Needs EDGEKIT_SHARED and the packages
of `tasks/minilm`.
"""

from __future__ import annotations

import importlib.util
from itertools import islice
from typing import Any

import torch
from int8_accuracy import HERE
from torch import Tensor, nn

SHRINKS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)


def rounded(weights: Tensor, bits: int, group: int) -> Tensor:
    """Returns (N, K) weights on grids of `bits` bits, a scale for each `group` columns (0: for each row)."""
    blocks = weights.reshape(weights.shape[0], -1, group or weights.shape[1])
    half = 1 << (bits - 1)
    furthest = blocks.gather(-1, blocks.abs().argmax(-1, keepdim=True))
    best, least = blocks, torch.full_like(furthest, torch.inf)
    for end in (half - 1, -half):
        for shrink in SHRINKS:
            scale = furthest * shrink / end
            scale = torch.where(scale == 0, 1.0, scale)
            made = (blocks / scale).round().clamp(-half, half - 1) * scale
            error = (made - blocks).square().sum(-1, keepdim=True)
            best, least = torch.where(error < least, made, best), torch.minimum(error, least)
    return best.reshape(weights.shape)


def megabytes(count: int, bits: int, group: int, rows: int) -> float:
    return (count * bits / 8 + 4 * (count / group if group else rows)) / 1e6


def main() -> None:
    spec = importlib.util.spec_from_file_location("minilm_task", HERE / "tasks" / "minilm" / "task.py")
    if spec is None or spec.loader is None:
        raise SystemExit("benchmarks/tasks/minilm/task.py is missing")
    task = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(task)
    model: Any = task.build()
    sentences = list(islice(task.calibration(), 1, None, 2))
    table = model.words
    layers = {name: item for name, item in model.named_modules() if isinstance(item, nn.Linear)}
    kept = {item: item.weight.data.clone() for item in (table, *layers.values())}

    def outputs() -> Tensor:
        with torch.no_grad():
            return torch.cat([model(*row) for row in sentences]).double()

    expected = outputs()
    print("| table | linear layers | SQNR | integers and scales |\n|---|---|---|---|")
    bits_of = {"8": (8, 0), "4 in 32": (4, 32), "4 in 64": (4, 64), "4 a row": (4, 0), "float": None}
    pairs = (
        *(("4 in 64", "8"), ("4 in 32", "8"), ("4 in 32", "4 in 32"), ("8", "8"), ("8", "4 in 32")),
        *(("4 in 32", "float"), ("4 in 64", "float"), ("4 a row", "float")),
    )
    for tables, linear in pairs:
        size = 0.0
        for item, weights in kept.items():
            form = bits_of[tables if item is table else linear]
            item.weight.data = weights if form is None else rounded(weights, *form)
            size += weights.numel() * 4e-6 if form is None else megabytes(weights.numel(), *form, weights.shape[0])
        decibels = float(10 * (expected.square().sum() / (outputs() - expected).square().sum()).log10())
        print(f"| {tables} | {linear} | {decibels:.1f} dB | {size:.1f} MB = {size / 90.47:.3f} x |", flush=True)


if __name__ == "__main__":
    main()
