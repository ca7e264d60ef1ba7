"""What edgekit uses of torch's TorchScript classes, which have no hints, as Protocols."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Values = dict[int, object]
"""What each value of a graph is while it runs, by the value's number."""


class ScriptType(Protocol):
    """The type of a value (torch._C.Type)."""

    def kind(self) -> str: ...
    def name(self) -> str: ...
    def qualified_name(self) -> str: ...
    def sizes(self) -> Sequence[int] | None: ...
    def scalarType(self) -> str | None: ...  # noqa: N802  torch's name


class ScriptValue(Protocol):
    """A value of a graph (torch._C.Value)."""

    def unique(self) -> int: ...
    def type(self) -> ScriptType: ...
    def toIValue(self) -> object: ...  # noqa: N802  torch's name


class ScriptBlock(Protocol):
    """Nodes in order, with inputs and outputs (torch._C.Block, torch._C.Graph)."""

    def nodes(self) -> Iterable[ScriptNode]: ...
    def inputs(self) -> Iterable[ScriptValue]: ...
    def outputs(self) -> Iterable[ScriptValue]: ...


class ScriptNode(Protocol):
    """A step of a graph (torch._C.Node); `s`, `g` and `tys` read its attributes."""

    def kind(self) -> str: ...
    def schema(self) -> str: ...
    def inputs(self) -> Iterable[ScriptValue]: ...
    def outputs(self) -> Iterable[ScriptValue]: ...
    def output(self) -> ScriptValue: ...
    def blocks(self) -> Iterable[ScriptBlock]: ...
    def s(self, name: str, /) -> str: ...
    def g(self, name: str, /) -> ScriptBlock: ...
    def tys(self, name: str, /) -> Sequence[ScriptType]: ...


class Argument(Protocol):
    """An argument of a schema (torch._C.Argument)."""

    name: str
    type: ScriptType
    kwarg_only: bool
    default_value: object

    def has_default_value(self) -> bool: ...


class Schema(Protocol):
    """What an operator or a method takes (torch._C.FunctionSchema)."""

    arguments: Sequence[Argument]


class Operator(Protocol):
    """An operator of torch's dispatcher (torch._ops.OpOverload)."""

    _schema: Schema

    def __call__(self, *args: object, **kwargs: object) -> object: ...


class ScriptFunction(Protocol):
    """A function or method of a file (torch._C.ScriptFunction, torch._C.ScriptMethod)."""

    graph: ScriptBlock
    schema: Schema


class ScriptModule(Protocol):
    """A module of a file (torch._C.ScriptModule)."""

    def getattr(self, name: str, /) -> object: ...
    def _type(self) -> ScriptType: ...
    def _has_method(self, name: str, /) -> bool: ...
    def _method_names(self) -> list[str]: ...
    def _get_method(self, name: str, /) -> ScriptFunction: ...


class ScriptUnit(Protocol):
    """What holds the functions and classes of a file (torch._C.CompilationUnit)."""

    def find_function(self, name: str, /) -> ScriptFunction | None: ...


class Members(Protocol):
    """Parameters, buffers or modules of a module by name (torch._C.ParameterDict and its like)."""

    def items(self) -> Iterable[tuple[str, Tensor]]: ...


class Modules(Protocol):
    """The modules right below one, by name (torch._C.ModuleDict)."""

    def items(self) -> Iterable[tuple[str, ScriptModule]]: ...


class ScriptLibrary(Protocol):
    """The part of torch._C that reads TorchScript; torch's own hints of it are of an older version."""

    def CompilationUnit(self) -> ScriptUnit: ...  # noqa: N802  torch's name
    def import_ir_module(
        self,
        unit: ScriptUnit,
        path: str,
        device: torch.device,
        extra: dict[str, bytes],
        shapes: bool,  # noqa: FBT001  torch's order
        /,
    ) -> ScriptModule: ...
    def import_ir_module_from_buffer(
        self,
        unit: ScriptUnit,
        data: bytes,
        device: torch.device,
        extra: dict[str, bytes],
        shapes: bool,  # noqa: FBT001  torch's order
        /,
    ) -> ScriptModule: ...
    def ParameterDict(self, module: ScriptModule, /) -> Members: ...  # noqa: N802  torch's name
    def BufferDict(self, module: ScriptModule, /) -> Members: ...  # noqa: N802  torch's name
    def ModuleDict(self, module: ScriptModule, /) -> Modules: ...  # noqa: N802  torch's name


Kinds = Mapping[str, tuple[type, ...]]
"""Name of one of TorchScript's types to the classes of its values."""
