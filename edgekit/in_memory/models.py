"""Models in memory, written to the file that edgekit would be given for them. Frameworks are those of the caller.

A torch module is captured here, in the caller's process, on a copy: nothing of it is pickled, and neither the module
nor torch's global state changes.
"""

from __future__ import annotations

import copy
import inspect
import operator
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from edgekit.errors import ModelError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn
    from torch.export import ExportedProgram

ModelKind = Literal["module", "program", "onnx", "keras"]

_SUFFIXES: Final[dict[ModelKind, str]] = {"module": ".pt2", "program": ".pt2", "onnx": ".onnx", "keras": ".keras"}


def model_kind(model: object) -> ModelKind:
    """Returns what a model in memory is. Imports nothing: whoever has such an object has imported its framework.

    Raises:
        UsageError: it is none of them.
    """
    torch, onnx = sys.modules.get("torch"), sys.modules.get("onnx")
    if torch is not None and isinstance(model, torch.nn.Module):
        return "module"
    if torch is not None and isinstance(model, torch.export.ExportedProgram):
        return "program"
    if onnx is not None and isinstance(model, onnx.ModelProto):
        return "onnx"
    keras = [library for name in ("keras", "tf_keras") if (library := sys.modules.get(name)) is not None]
    if any(isinstance(model, library.Model) for library in keras):
        return "keras"
    raise UsageError(
        f"model is of type {type(model).__name__}; expected a torch.nn.Module, an ExportedProgram, an onnx.ModelProto, "
        'a keras.Model, or text as for the command line: "model.py:build", "net.onnx".'
    )


def file_name(model: object, kind: ModelKind, name: str | None) -> str:
    """Returns what the model's file is called: after `name`, else after the model or its class."""
    if name is None:
        name = {"onnx": "graph.name", "keras": "name"}.get(kind)
        name = str(operator.attrgetter(name)(model)) if name else None
    text = name or ("model" if kind != "module" else type(model).__name__.lower())
    return (re.sub(r"[^\w.-]+", "-", text).strip("-.") or "model") + _SUFFIXES[kind]


def input_names(model: nn.Module) -> list[str]:
    """Returns the names of what a torch module's forward takes by position, in order."""
    parameters = inspect.signature(model.forward).parameters.values()
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def write_model(model: Any, kind: ModelKind, path: Path, examples: Sequence[NDArray[Any]] | None) -> None:
    """Writes a model to a file.

    Args:
        model: The model; it is left as it is.
        kind: What it is.
        path: Where to.
        examples: Arrays (1, ...) to capture a torch module with, one for each input; the other kinds need none.

    Raises:
        UsageError: a torch module without example inputs.
        ModelError: it cannot be captured or written.
    """
    title = path.name
    if kind == "module":
        if examples is None:
            raise UsageError(
                f"{title}: a torch module is captured with example inputs. Give inputs=tensor, or its shape: "
                'inputs={"x": (1, 3, 224, 224)}; the first sample of calibration data in memory does as well.'
            )
        _write_module(model, path, examples, title)
        return
    try:
        if kind == "program":
            _save_program(model, path)
        elif kind == "onnx":
            path.write_bytes(model.SerializeToString())
        else:
            model.save(path)
    except Exception as error:
        raise ModelError(
            f"{title}: the model in memory cannot be saved: {type(error).__name__}: {error}. "
            "Save it to a file yourself, and give its path."
        ) from error


def _write_module(module: nn.Module, path: Path, examples: Sequence[NDArray[Any]], title: str) -> None:
    import numpy as np
    import torch

    from edgekit.torch_program.canonical_program import check_equal
    from edgekit.torch_program.trace_module import export_module, run_module

    if isinstance(module, torch.jit.ScriptModule):
        raise ModelError(
            f"{title}: the model is a TorchScript module, which has no graph that torch.export can capture. "
            "Give the torch.nn.Module that it was made from."
        )
    with torch.random.fork_rng(devices=[]):
        copied = _copy(module, title)
        tensors = [torch.from_numpy(np.array(array)) for array in examples]
        tensors = [tensor.float() if tensor.is_floating_point() else tensor for tensor in tensors]
        expected = run_module(copied, tensors, title)
        program = export_module(copied, tensors, title)
        check_equal(expected, run_module(program.module(check_guards=False), tensors, title), title)
        _save_program(program, path)


def _copy(module: nn.Module, title: str) -> nn.Module:
    """Returns a copy of the module on the CPU, in eval mode, in float32, without gradients."""
    try:
        copied = copy.deepcopy(module)
    except Exception as error:
        raise ModelError(
            f"{title}: the module cannot be copied, and edgekit leaves yours as it is: {type(error).__name__}: "
            f"{error}. Give a function that builds it, model.py:build, or an ExportedProgram of it."
        ) from error
    return copied.cpu().float().eval().requires_grad_(requires_grad=False)


def _save_program(program: ExportedProgram, path: Path) -> None:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the archive's format; the file is read back by this same torch
        torch.export.save(program, path)
