"""Runs an artifact with the runtimes themselves and holds its outputs against the module's."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any, Final

import numpy as np
from capture import is_discrete

WRONG_DB: Final = -999.0
"""Stands for an output of another shape, or with NaN where the module has none."""


def ratio(expected: Any, got: Any) -> float:
    """Returns the SQNR in dB of one output; 200 where they are equal, WRONG_DB where shapes or NaNs differ."""
    left, right = np.asarray(expected, np.float64), np.asarray(got, np.float64)
    if left.size == 1 and right.size == 1:
        right = right.reshape(left.shape)  # some formats have no tensor without axes
    if left.shape != right.shape or not np.array_equal(np.isfinite(left), np.isfinite(right)):
        return WRONG_DB
    left, right = np.nan_to_num(left), np.nan_to_num(right)
    noise = float(((left - right) ** 2).sum())
    return 200.0 if noise == 0 else 10 * math.log10(max(float((left**2).sum()), 1e-30) / noise)


def judgement(expected: list[list[Any]], got: list[list[Any]]) -> dict[str, float]:
    """Returns how near the worst outputs are over all calls: amounts can be near, choices are the same or are not.

    Returns:
        `db`, the SQNR of the worst float output, 200 where there is none; and where outputs are integers `equal`, the
        percentage of equal values of the worst of them.
    """
    if any(len(left) != len(right) for left, right in zip(expected, got, strict=True)):
        return {"db": WRONG_DB}
    decibels, equal = [200.0], []
    for left, right in zip(zip(*expected, strict=True), zip(*got, strict=True), strict=True):
        if any(a.shape != b.shape and not a.size == b.size == 1 for a, b in zip(left, right, strict=True)):
            return {"db": WRONG_DB}
        whole, other = (np.concatenate([np.asarray(part).ravel() for part in parts]) for parts in (left, right))
        if is_discrete(left[0]):
            equal.append(100 * float((whole == other).mean()))
        else:
            decibels.append(ratio(whole, other))
    return {"db": min(decibels)} | ({"equal": min(equal)} if equal else {})


def run_file(
    runtime: str, path: Path, rows: list[list[Any]], names: list[str], outputs: list[str]
) -> tuple[list[list[Any]], Any]:
    """Returns the outputs of an artifact for each row, and its session; by name, or by place where names differ."""
    session = importlib.import_module(f"edgekit.validators.runners.{runtime}_session")
    opened = session.Runtime(str(path), "", 1).open(str(path))
    if runtime == "tflite" and not names:
        names, outputs = by_number(opened.inputs), by_number(opened.outputs)
    results = []
    for row in rows:
        given = dict(zip(names, row, strict=False))
        fed = [
            given.get(spec["name"], row[min(i, len(row) - 1)]).astype(spec["dtype"]).reshape(spec["shape"])
            for i, spec in enumerate(opened.inputs)
        ]
        made = [np.array(value) for value in opened.run(fed)]
        found = {spec["name"]: result for spec, result in zip(opened.outputs, made, strict=True)}
        results.append([found[name] for name in outputs] if set(outputs) == set(found) else made)
    return results, opened


def by_number(specs: list[dict[str, Any]]) -> list[str]:
    """Returns the names that a tool numbers (`args_0`, `output_1`) in the order of their numbers, else as they come."""
    names = [str(spec["name"]) for spec in specs]
    numbers = [name.rpartition("_")[2] for name in names]
    return sorted(names, key=lambda name: int(name.rpartition("_")[2])) if all(map(str.isdigit, numbers)) else names


def integer_share(operators: list[dict[str, Any]] | None) -> float | None:
    """Returns the share of the multiply-accumulates that run in integers, in percent; None where nobody knows."""
    work = [(item["macs"], item["arithmetic"] in ("integer", "dynamic")) for item in operators or ()]
    total = sum(macs or 0 for macs, _ in work)
    return 100 * sum(macs or 0 for macs, integer in work if integer) / total if total else None
