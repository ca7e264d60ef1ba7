# pyright: reportPrivateUsage=false
# torch reads TorchScript by private names alone.
"""A TorchScript module as a tree of plain modules, so that torch.export captures it as it captures any other.

torch.export refuses TorchScript, and torch's own converter (`TS2EPConverter`) loses the names of layers and fails on
what `torch.jit.script` writes for many networks. Here each module keeps its name, parameters and buffers. Its forward
runs its graph one operator at a time (`graph_run`): sizes, branches on them and loops are settled by Python, and the
capture sees the operators of the module that the file was made from.
"""

from __future__ import annotations

import inspect
import io
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast, final

from edgekit.errors import ModelError
from edgekit.plain_text import first_line
from edgekit.sources.torchscript.archive import check_archive
from edgekit.sources.torchscript.graph_run import Function, GraphRun, ScriptFacts
from edgekit.sources.torchscript.protocols import Argument, ScriptLibrary, ScriptModule, ScriptUnit

if TYPE_CHECKING:
    from torch import nn

_FORWARD: Final = "forward"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptFile:
    """A TorchScript model, read.

    Attributes:
        module: As plain modules, in eval mode.
        shapes: Argument of the forward to shape and dtype of the tensor that it was traced with, where the file says.
    """

    module: nn.Module
    shapes: Mapping[str, tuple[tuple[int, ...], str]]


def read_file(path: Path, title: str) -> ScriptFile:
    """Returns the model in an archive; nothing in the file runs.

    Raises:
        ModelError: it is damaged, would run code, or has no forward.
    """
    import torch

    traced = check_archive(path, title)
    return _read(
        lambda library, unit: library.import_ir_module(unit, str(path), torch.device("cpu"), {}, traced), title
    )


def plain_module(script: nn.Module, title: str) -> nn.Module:
    """Returns a TorchScript module in memory as plain modules; it is left as it is.

    Raises:
        ModelError: it cannot be saved, or has no forward.
    """
    import torch

    buffer = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch deprecates TorchScript as a whole
            torch.jit.save(script, buffer)
    except Exception as error:
        raise ModelError(
            f"{title}: the TorchScript module cannot be saved: {first_line(error).rstrip('.')}. "
            "Give the torch.nn.Module that it was made from."
        ) from error
    data = buffer.getvalue()
    return _read(
        lambda library, unit: library.import_ir_module_from_buffer(unit, data, torch.device("cpu"), {}, False), title
    ).module


def _read(load: Callable[[ScriptLibrary, ScriptUnit], ScriptModule], title: str) -> ScriptFile:
    unit = _library().CompilationUnit()
    try:
        script = load(_library(), unit)
    except Exception as error:  # the reader raises RuntimeError for all that it does not know
        raise ModelError(
            f"{title} cannot be read as TorchScript: {first_line(error).rstrip('.')}. It is damaged, it holds "
            "operators of a library that this torch lacks, or a newer torch wrote it. Save it again with "
            "torch.jit.save, or give the factory of its torch.nn.Module: model.py:build."
        ) from error
    if not script._has_method(_FORWARD):
        raise ModelError(f"{title} has no forward; its methods are {', '.join(script._method_names()) or 'none'}.")
    module = _plain(script, GraphRun(unit, title), {})
    return ScriptFile(module=module.eval(), shapes=_traced_shapes(script))


def _library() -> ScriptLibrary:
    import torch

    return cast("ScriptLibrary", torch._C)


def _plain(script: ScriptModule, run: GraphRun, made: dict[int, nn.Parameter]) -> nn.Module:
    """Returns one module of the tree with all below it; what is shared stays shared.

    Args:
        script: torch's own module.
        run: What runs its graphs.
        made: Parameters, by the identity of torch's own.
    """
    from torch import nn

    library = _library()
    module = _plain_class(str(script._type().name()).rpartition(".")[2])()
    tables, children = (library.ParameterDict(script), library.BufferDict(script)), library.ModuleDict(script)
    for name, tensor in tables[0].items():
        kept = made.setdefault(id(tensor), nn.Parameter(tensor.detach(), requires_grad=False))
        module.register_parameter(name, kept)
    for name, tensor in tables[1].items():
        module.register_buffer(name, tensor)
    for name, child in children.items():
        module.add_module(name, _plain(child, run, made))
    methods = {name: Function(script._get_method(name)) for name in script._method_names()}
    names = [name for table in (*tables, children) for name, _ in table.items()]
    run.know(module, ScriptFacts(script=script, methods=methods, members=frozenset(("training", *names))))
    for name, tensor in (pair for table in tables for pair in table.items()):
        run.own(tensor, module, name)
    if _FORWARD in methods:
        module.forward = _forward(module, methods[_FORWARD], run)
    return module


@cache
def _plain_class(kind: str) -> type[nn.Module]:
    """Returns the class of the modules that were once of the class `kind`: a graph tells layers by it."""
    from torch import nn

    return type(kind, (nn.Module,), {})


def _forward(module: nn.Module, function: Function, run: GraphRun) -> Callable[..., object]:
    """Returns a forward with the names and defaults of the script's own: torch.export asks for them."""
    signature = inspect.Signature([_parameter(item) for item in function.arguments[1:]])

    def forward(*args: object, **kwargs: object) -> object:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return run.call(function, (module, *bound.arguments.values()))

    forward.__signature__ = signature  # type: ignore[attr-defined]
    return forward


def _parameter(item: Argument) -> inspect.Parameter:
    default = item.default_value if item.has_default_value() else inspect.Parameter.empty
    return inspect.Parameter(item.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default)


def _traced_shapes(script: ScriptModule) -> dict[str, tuple[tuple[int, ...], str]]:
    """Returns the shapes that a traced model keeps of its inputs; a scripted one keeps none."""
    method = script._get_method(_FORWARD)
    values = list(method.graph.inputs())[1:]
    found: dict[str, tuple[tuple[int, ...], str]] = {}
    for item, value in zip(method.schema.arguments[1:], values, strict=True):
        if value.type().kind() != "TensorType":
            continue
        sizes, dtype = value.type().sizes(), _DTYPES.get(str(value.type().scalarType()))
        if sizes is not None and dtype is not None:
            found[item.name] = (tuple(sizes), dtype)
    return found


_DTYPES: Final = {
    "Float": "float32",
    "Double": "float64",
    "Half": "float16",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
}
"""What TorchScript calls the types of tensors."""
