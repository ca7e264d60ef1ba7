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
from edgekit.model import Dimension
from edgekit.sources.torchscript.plain_module import plain_module
from edgekit.task.input_sizes import InputSizes
from edgekit.task.nested_values import mapped

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn
    from torch.export import ExportedProgram

ModelKind = Literal["module", "program", "onnx", "keras"]
ExamplesFrom = Literal["values", "shapes"]

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


def write_model(
    model: Any,
    kind: ModelKind,
    path: Path,
    arguments: Sequence[Any] | None,
    *,
    given: ExamplesFrom = "values",
    sizes: Sequence[InputSizes] = (),
    dimensions: Sequence[Dimension] = (),
) -> None:
    """Writes a model to a file.

    Args:
        model: The model; it is left as it is.
        kind: What it is.
        path: Where to.
        arguments: What to call a torch module with: arrays, or containers of them; the other kinds need none.
        given: What the arguments were made from.
        sizes: Which axes of which inputs stay open; for a torch module.
        dimensions: How far they go.

    Raises:
        UsageError: a torch module without example inputs.
        ModelError: it cannot be captured or written.
    """
    title = path.name
    if kind == "module":
        if arguments is None:
            raise UsageError(
                f"{title}: a torch module is captured with example inputs. Give inputs=tensor, or its shape: "
                'inputs={"x": (1, 3, 224, 224)}; the first sample of calibration data in memory does as well.'
            )
        _write_module(model, path, arguments, title, given, sizes, dimensions)
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


def _write_module(
    module: nn.Module,
    path: Path,
    arguments: Sequence[Any],
    title: str,
    given: ExamplesFrom,
    sizes: Sequence[InputSizes],
    dimensions: Sequence[Dimension],
) -> None:
    import torch

    from edgekit.torch_program.batch_axis import batch_size, first_rows
    from edgekit.torch_program.canonical_program import check_equal
    from edgekit.torch_program.example_call import bound_call
    from edgekit.torch_program.lift_states import keeping_buffers
    from edgekit.torch_program.open_sizes import open_program
    from edgekit.torch_program.trace_module import run_module

    with torch.random.fork_rng(devices=[]):
        copied = _own(module, title)
        call = bound_call(copied, mapped(tuple(arguments), _as_tensor), {})
        # Values may be several rows, a batch of a loader's; shapes say what a call takes.
        with keeping_buffers(copied):
            if given == "values" and batch_size(copied, call) is not None:
                call = call.with_tensors(first_rows(call.tensors))
        with keeping_buffers(copied):
            expected = run_module(copied, call, title)
        with keeping_buffers(copied):
            program = open_program(copied, call, sizes, dimensions, title)
        again = program.module(check_guards=False)
        with keeping_buffers(again):
            check_equal(expected, run_module(again, call.in_plain_containers(), title), title)
        _save_program(program, path)


def _as_tensor(array: NDArray[Any]) -> Tensor:
    import numpy as np
    import torch

    tensor = torch.from_numpy(np.array(array))
    return tensor.float() if tensor.dtype == torch.float64 else tensor


def _own(module: nn.Module, title: str) -> nn.Module:
    """Returns a copy of the module on the CPU, in eval mode, in float32, without gradients."""
    import torch

    try:
        copied = plain_module(module, title) if isinstance(module, torch.jit.ScriptModule) else copy.deepcopy(module)
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
