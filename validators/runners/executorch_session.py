"""Runs ExecuTorch programs in the pip package's own runtime, with XNNPACK.

This is the compiled module that `executorch.runtime` wraps. It is used without the wrapper, which imports the whole
exporter for the name of one warning: 6 s and 140 MB in each process.
"""

from __future__ import annotations

import importlib.metadata
from typing import Any

PACKAGES = "executorch"
EXTRA = "executorch"

DTYPES = {
    0: "uint8",
    1: "int8",
    2: "int16",
    3: "int32",
    4: "int64",
    5: "float16",
    6: "float32",
    7: "float64",
    11: "bool",
}
"""ExecuTorch's ScalarType by number (runtime/core/portable_type/scalar_type.h)."""


class Runtime:
    """ExecuTorch's runtime.

    Args:
        artifact: Not used; all sessions take the same arguments.
        package: Not used.
        threads: Size of the runtime's one thread pool.

    Raises:
        ImportError: executorch is missing.
    """

    untimed = ""

    def __init__(self, artifact: str, package: str, threads: int) -> None:  # noqa: ARG002  one signature for all
        import torch
        from executorch.extension.pybindings import _portable_lib

        # Brings the out variants of quantized operators (embedding tables among them); the runtime alone has none.
        importlib.import_module("executorch.kernels.quantized")
        torch.set_num_threads(threads)
        # Its name warns because inferences that run meanwhile would break; here none does.
        _portable_lib._unsafe_reset_threadpool(threads)  # noqa: SLF001  the wrapper has the same names
        self._library: Any = _portable_lib
        self.name, self.version = "executorch", importlib.metadata.version("executorch")

    def open(self, path: str) -> Session:
        """Returns a session of the file at `path`; what the runtime raises passes through."""
        return Session(self._library._load_program(path))  # noqa: SLF001


class Session:
    """One loaded `forward` method.

    Args:
        program: From `_load_program`.
    """

    def __init__(self, program: Any) -> None:
        import torch

        names = {program.get_method_name(i) for i in range(program.num_methods())}
        if "forward" not in names:
            raise ValueError(f"it has no method forward, only {', '.join(sorted(names)) or 'none'}")
        self._from_numpy: Any = torch.from_numpy
        self._program = program
        self._method: Any = program.load_method("forward")
        meta = self._method.method_meta()
        self.inputs = [_spec(meta.input_tensor_meta(i), f"input_{i}") for i in range(meta.num_inputs())]
        self.outputs = [_spec(meta.output_tensor_meta(i), f"output_{i}") for i in range(meta.num_outputs())]
        self.metadata = _constants(program, sorted(names - {"forward"}))

    def run(self, arrays: list[Any]) -> list[Any]:
        """Returns copies of the outputs: the runtime reuses their memory."""
        outputs = self._method([self._from_numpy(array) for array in arrays])
        return [output.numpy().copy() for output in outputs]

    def operators(self) -> dict[str, dict[str, int]] | None:
        """Returns None: the runtime does not tell what lies inside a delegate."""
        return None


def _constants(program: Any, names: list[str]) -> dict[str, str]:
    """Returns what the program's methods without inputs return as text: how a .pte carries metadata."""
    found: dict[str, str] = {}
    for name in names:
        if program.method_meta(name).num_inputs():
            continue
        values = program.load_method(name)([])
        if len(values) == 1 and isinstance(values[0], (str, int, float, bool)):
            found[name] = str(values[0])
    return found


def _spec(info: Any, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "shape": [int(size) for size in info.sizes()],
        "dtype": DTYPES.get(int(info.dtype()), f"ScalarType {int(info.dtype())}"),
        "layout": None,
        "scale": None,
        "zero_point": None,
    }
