"""Runs .npz models with NumPy. This one file and runner.py are copied to a device: it imports nothing of edgekit."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

PACKAGES = "numpy"


def linear(x: Any, weight: Any, bias: Any = None) -> Any:
    """Returns x @ weight^T + bias in 32 bits, whatever the weights are stored in."""
    product = x @ weight.astype(np.float32, copy=False).T
    return product if bias is None else product + bias.astype(np.float32, copy=False)


KERNELS = {
    "linear": linear,
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "add": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "cat": lambda values, axis=0: np.concatenate(values, axis),
}


class Runtime:
    """NumPy.

    Args:
        artifact: Not used; all sessions take the same arguments.
        package: Not used.
        threads: Not used: NumPy takes them from the environment.
    """

    untimed = ""

    def __init__(self, artifact: str, package: str, threads: int) -> None:  # noqa: ARG002  one signature for all
        self.name, self.version = "numpy", np.__version__

    def open(self, path: str) -> Session:
        """Returns a session of the file at `path`; what NumPy raises passes through."""
        return Session(path)


class Session:
    """One model.

    Args:
        path: The file.
    """

    def __init__(self, path: str) -> None:
        with np.load(path, allow_pickle=False) as archive:
            self._weights = {name: archive[name] for name in archive.files if name != "graph"}
            graph = json.loads(archive["graph"].tobytes())
        self._operators = graph["operators"]
        self._inputs = [spec.pop("value") for spec in graph["inputs"]]
        self._outputs = [spec.pop("value") for spec in graph["outputs"]]
        self.inputs, self.outputs = graph["inputs"], graph["outputs"]
        self.metadata = graph["metadata"]
        self.names = [operator["name"] for operator in self._operators]
        self.values: dict[str, Any] = {}  # of the last run, for who looks inside

    def run(self, arrays: list[Any]) -> list[Any]:
        """Returns the outputs."""
        self.values = values = {**self._weights, **dict(zip(self._inputs, arrays))}  # noqa: B905  Python 3.9 has no strict
        for operator in self._operators:
            arguments = [_given(argument, values) for argument in operator["arguments"]]
            values[operator["name"]] = np.asarray(KERNELS[operator["kind"]](*arguments), np.float32)
        return [values[name] for name in self._outputs]

    def operators(self) -> list[dict[str, Any]] | None:
        """Returns what ran, one entry an operator; None before the first `run`."""
        return [self._described(operator) for operator in self._operators] if self.values else None

    def _described(self, operator: dict[str, Any]) -> dict[str, Any]:
        shape = self.values[operator["name"]].shape
        entry = {
            "name": operator["name"],
            "kind": operator["kind"],
            "arithmetic": "float",
            "dtype": "float32",
            "rank": len(shape),
            "path": "",
        }
        if operator["kind"] == "linear":
            weight = self._weights[operator["arguments"][1]["value"]]
            entry.update(macs=weight.size, weights=weight.size, weight_bits=8 * weight.itemsize, channels=shape[-1])
            entry["path"] = "BLAS"  # matrix products are what NumPy has fast kernels for
        return entry


def _given(argument: Any, values: dict[str, Any]) -> Any:
    if isinstance(argument, list):
        return [_given(item, values) for item in argument]
    return values[argument["value"]] if isinstance(argument, dict) else argument
