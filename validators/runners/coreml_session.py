"""Runs Core ML packages: on macOS by Apple's runtime, elsewhere by edgekit's evaluator of the saved package.

The evaluator proves the file (conversion and storage), not the device, and its time and memory are not a phone's.
"""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

PACKAGES = "coremltools"
EXTRA = "coreml"

EVALUATOR = "Core ML evaluator, not Apple's runtime"


class Runtime:
    """Apple's runtime on macOS, else the evaluator.

    Args:
        artifact: Not used; all sessions take the same arguments.
        package: `evaluator` to use the evaluator on macOS too; "" for the machine's best.
        threads: Threads of the evaluator's arithmetic; Apple's runtime chooses its own.

    Raises:
        ImportError: coremltools is missing.
    """

    def __init__(self, artifact: str, package: str, threads: int) -> None:  # noqa: ARG002  one signature for all
        self._apple = platform.system() == "Darwin" and package != "evaluator"
        if self._apple:
            import coremltools

            self._library: ModuleType = coremltools
            self.name, self.version = "Core ML on macOS, coremltools", importlib.metadata.version("coremltools")
            self.untimed = ""
            return
        import torch

        from edgekit.validators import coreml_evaluator

        torch.set_num_threads(threads)
        self._library = coreml_evaluator
        self.name, self.version = EVALUATOR, ""
        self.untimed = (
            f"{EVALUATOR}: it proves the file, and its time and memory say nothing about a device. "
            "Measure on macOS or iOS."
        )

    def open(self, path: str, signature: str = "") -> Session:
        """Returns a session of the package at `path`; what the runtime raises passes through."""
        if self._apple:
            return _AppleSession(self._library, path, signature)
        return Session(self._library.load(path, function=signature or None))

    def signatures(self, path: str) -> dict[str, str]:
        """Returns the names of a package's functions."""
        from edgekit.validators import coreml_evaluator

        return dict.fromkeys(coreml_evaluator.function_names(path), "")


class Session:
    """One program in the evaluator.

    Args:
        program: From `coreml_evaluator.load`.
    """

    def __init__(self, program: Any) -> None:
        self._program = program
        self._state: Any = program.new_state()
        self.inputs = [_spec(value.name, value.shape, value.dtype) for value in program.inputs]
        self.outputs = [_spec(value.name, value.shape, value.dtype) for value in program.outputs]
        self.metadata: dict[str, str] = dict(program.metadata.user_defined)

    def run(self, arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """Returns the outputs."""
        given = {spec["name"]: arrays[i] for i, spec in enumerate(self.inputs)}
        outputs = self._program.run(given, state=self._state)
        return [outputs[spec["name"]] for spec in self.outputs]

    def reset(self) -> None:
        """Makes a new state: zeros."""
        self._state = self._program.new_state()

    def read_states(self) -> dict[str, NDArray[Any]]:
        """Returns copies of what the states hold, by name."""
        return dict(self._state.arrays())

    def operators(self) -> list[dict[str, Any]] | None:
        """Returns what the package's program holds, one entry an operator."""
        described: list[dict[str, Any]] = self._program.described_operators
        return described


class _AppleSession(Session):
    """One model in Apple's runtime."""

    def __init__(self, library: ModuleType, path: str, function: str) -> None:
        self._path = path
        self._model: Any = library.models.MLModel(path, function_name=function or None)
        whole = self._model.get_spec().description
        description = next((item for item in whole.functions if item.name == function), whole)
        self.inputs = [_apple_spec(value) for value in description.input]
        self.outputs = [_apple_spec(value) for value in description.output]
        self.metadata = dict(whole.metadata.userDefined)
        self._state_names = [value.name for value in description.state]
        self._state = self._model.make_state() if self._state_names else None

    def run(self, arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """Returns the outputs."""
        given = {spec["name"]: arrays[i] for i, spec in enumerate(self.inputs)}
        outputs = self._model.predict(given, state=self._state)
        return [np.asarray(outputs[spec["name"]]) for spec in self.outputs]

    def reset(self) -> None:
        """Makes a new state: zeros."""
        self._state = self._model.make_state()

    def read_states(self) -> dict[str, NDArray[Any]]:
        """Returns copies of what the states hold, by name."""
        return {name: np.asarray(self._state.read_state(name), np.float32) for name in self._state_names}

    def operators(self) -> list[dict[str, Any]] | None:
        """Returns what the package's program holds, one entry an operator: Apple's runtime itself does not tell."""
        from edgekit.validators import coreml_evaluator

        described: list[dict[str, Any]] = coreml_evaluator.describe_package(Path(self._path))
        return described


def _apple_spec(value: Any) -> dict[str, Any]:
    array = value.type.multiArrayType
    # ArrayFeatureType.ArrayDataType in coremltools' FeatureTypes.proto
    dtypes = {65568: "float32", 65600: "float64", 65552: "float16", 131104: "int32"}
    return _spec(value.name, array.shape, dtypes[array.dataType])


def _spec(name: str, shape: Any, dtype: Any) -> dict[str, Any]:
    dtype = {"fp16": "float16", "fp32": "float32", "fp64": "float64"}.get(dtype, dtype)  # MIL's spelling
    return {
        "name": name,
        "shape": [-1 if size is None else int(size) for size in shape],
        "dtype": np.dtype(dtype).name,
        "layout": None,
        "scale": None,
        "zero_point": None,
    }
