"""Runs a TorchScript graph one node at a time, under whatever traces the operators that it calls.

Semantics: https://github.com/pytorch/pytorch/blob/main/torch/csrc/jit/OVERVIEW.md (blocks, `prim::If`, `prim::Loop`).
Numbers, strings, lists and control flow are Python's here; tensors go through the operators that the nodes name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import FunctionType
from typing import TYPE_CHECKING, Final, cast, final

from edgekit.errors import ModelError
from edgekit.sources.torchscript.operators import call_operator
from edgekit.sources.torchscript.protocols import (
    Argument,
    ScriptBlock,
    ScriptFunction,
    ScriptModule,
    ScriptNode,
    ScriptUnit,
    Values,
)
from edgekit.sources.torchscript.python_values import PYTHON_OPERATORS, is_instance

if TYPE_CHECKING:
    from torch import Tensor, nn

_PLACE: Final = re.compile(r"# (\S[^\n]*):(\d+):\d+[^\n]*")
_MOST_TURNS: Final = 1 << 14
_MODES: Final = ("no_grad", "enable_grad", "set_grad_enabled", "autocast", "inference_mode")
"""Contexts of torch, which say nothing about what is computed in float32 without gradients."""


@final
class Function:
    """A function or method of a TorchScript file.

    Args:
        source: torch's own.
    """

    def __init__(self, source: ScriptFunction) -> None:
        self.graph: ScriptBlock = source.graph
        self.arguments: list[Argument] = list(source.schema.arguments)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptFacts:
    """What a plain module was made of.

    Attributes:
        script: torch's own module.
        methods: Its methods by name.
        members: Names of its parameters, buffers and modules, which the plain one holds.
    """

    script: ScriptModule
    methods: Mapping[str, Function]
    members: frozenset[str]


@final
@dataclass(slots=True, kw_only=True)
class _Object:
    """An instance of a class that the file defines.

    Attributes:
        kind: Qualified name of the class.
        values: Its attributes.
    """

    kind: str
    values: dict[str, object] = field(default_factory=dict[str, object])


@final
class GraphRun:
    """Runs the graphs of one file.

    Args:
        unit: Holds the functions of the file.
        title: What the user wrote, for messages.
    """

    def __init__(self, unit: ScriptUnit, title: str) -> None:
        self._unit, self._title = unit, title
        self._functions: dict[str, Function] = {}
        self._known: dict[int, ScriptFacts] = {}
        self._owners: dict[int, tuple[Tensor, nn.Module, str]] = {}
        self._changed: dict[tuple[int, str], object] = {}
        self._depth = 0
        self._special: dict[str, Callable[[ScriptNode, Values], object]] = {
            "prim::Constant": _constant,
            "prim::GetAttr": self._get_attribute,
            "prim::SetAttr": self._set_attribute,
            "prim::CallMethod": self._call_method,
            "prim::CallFunction": self._call_function,
            "prim::CreateObject": lambda node, _: _Object(kind=node.output().type().qualified_name()),
            "prim::If": self._branch,
            "prim::Loop": self._loop,
            "prim::fork": self._fork,
            "prim::RaiseException": self._raise,
            "prim::DictConstruct": _dictionary,
            "prim::isinstance": lambda node, values: any(
                is_instance(_inputs(node, values)[0], kind) for kind in node.tys("types")
            ),
            "prim::TupleUnpack": _unpacked,
            "prim::ListUnpack": _unpacked,
        }

    def know(self, module: nn.Module, facts: ScriptFacts) -> None:
        """Says what a module was made of. It stands here: on the module its name could be one of the file's own."""
        self._known[id(module)] = facts

    def own(self, tensor: Tensor, module: nn.Module, name: str) -> None:
        """Says where a parameter or buffer of the file lies: lists of weights hold it without its name."""
        self._owners[id(tensor)] = (tensor, module, name)

    def call(self, function: Function, args: Sequence[object]) -> object:
        """Returns what a function makes of its arguments.

        What a call leaves in attributes that are no buffers is forgotten after it: each begins as the file has them.

        Raises:
            ModelError: it does something that has no graph.
        """
        self._depth += 1
        try:
            given = [*args, *(item.default_value for item in function.arguments[len(args) :])]
            return _one_or_all(self._run_with(function.graph, given))
        finally:
            self._depth -= 1
            if not self._depth:
                self._changed.clear()

    def _run_with(self, block: ScriptBlock, given: Sequence[object]) -> tuple[object, ...]:
        return self._run(block, {value.unique(): it for value, it in zip(block.inputs(), given, strict=True)})

    def _run(self, block: ScriptBlock, values: Values) -> tuple[object, ...]:
        for node in block.nodes():
            outputs = list(node.outputs())
            made = self._node(node, values)
            results = cast("Sequence[object]", made) if node.kind() in _MANY or len(outputs) > 1 else (made,)
            for output, value in zip(outputs, results if outputs else (), strict=True):
                values[output.unique()] = value
        return tuple(values[value.unique()] for value in block.outputs())

    def _node(self, node: ScriptNode, values: Values) -> object:
        kind = node.kind()
        if special := self._special.get(kind):
            return special(node, values)
        given = _inputs(node, values)
        if found := PYTHON_OPERATORS.get(kind):
            made = _at(node, found, *given) if kind in _READ_VALUES else found(*given)
            if made is not NotImplemented:
                return made
        return _at(node, call_operator, node, given, self._title)

    def _get_attribute(self, node: ScriptNode, values: Values) -> object:
        (owner,) = _inputs(node, values)
        name = node.s("name")
        if isinstance(owner, _Object):
            return owner.values[name]
        facts = self._known[id(owner)]
        if name in facts.members:
            return getattr(owner, name)
        if (id(owner), name) not in self._changed:
            # torch copies lists and dictionaries at each reading, and a graph may add to them.
            self._changed[id(owner), name] = self._with_owners(facts.script.getattr(name))
        return self._changed[id(owner), name]

    def _with_owners(self, value: object) -> object:
        if isinstance(value, list):
            items: list[object] = value
            return [self._with_owners(item) for item in items]
        if id(value) not in self._owners:
            return value
        _, module, name = self._owners[id(value)]
        return getattr(module, name)

    def _set_attribute(self, node: ScriptNode, values: Values) -> None:
        owner, value = _inputs(node, values)
        name = node.s("name")
        if isinstance(owner, _Object):
            owner.values[name] = value
        elif name in self._known[id(owner)].members:
            setattr(owner, name, value)
        else:
            self._changed[id(owner), name] = value

    def _call_method(self, node: ScriptNode, values: Values) -> object:
        owner, *args = _inputs(node, values)
        name = node.s("name")
        if not isinstance(owner, _Object):
            # A forward is called as modules are, so that a capture knows whose operators these are.
            is_forward = name == "forward"
            module = cast("Callable[..., object]", owner)
            return module(*args) if is_forward else self.call(self._known[id(owner)].methods[name], (owner, *args))
        if owner.kind.rpartition(".")[2] in _MODES:
            return None
        return self.call(self._function(f"{owner.kind}.{name}"), (owner, *args))

    def _call_function(self, node: ScriptNode, values: Values) -> object:
        name, *args = _inputs(node, values)
        return self.call(self._function(str(name)), args)

    def _function(self, name: str) -> Function:
        if name not in self._functions:
            found = self._unit.find_function(name)
            if found is None:
                raise ModelError(f"{self._title} calls {name}, which is not in the file. Save the model again.")
            self._functions[name] = Function(found)
        return self._functions[name]

    def _branch(self, node: ScriptNode, values: Values) -> tuple[object, ...]:
        (condition,) = _inputs(node, values)
        chosen, other = node.blocks()
        return self._run(chosen if condition else other, values)

    def _loop(self, node: ScriptNode, values: Values) -> tuple[object, ...]:
        most, going, *carried = _inputs(node, values)
        (body,) = node.blocks()
        turn, *places = (value.unique() for value in body.inputs())
        count = 0
        while going and count < cast("int", most):
            if count == _MOST_TURNS:
                raise ModelError(f"{self._title}: a loop takes more than {_MOST_TURNS} turns{_line(node)}.")
            values |= {turn: count, **dict(zip(places, carried, strict=True))}
            going, *carried = self._run(body, values)
            count += 1
        return tuple(carried)

    def _fork(self, node: ScriptNode, values: Values) -> object:
        """Runs at once what the file would run beside the rest: the result is the same."""
        return _one_or_all(self._run_with(node.g("Subgraph"), _inputs(node, values)))

    def _raise(self, node: ScriptNode, values: Values) -> None:
        raise ModelError(f"{self._title} refuses these inputs{_line(node)}: {_inputs(node, values)[0]}")


_READ_VALUES: Final = frozenset({"aten::Bool", "aten::Int", "aten::Float", "aten::item"})
"""Nodes that may ask for the value of a tensor, which no graph can tell: the user is shown the line."""

_MANY: Final = frozenset({"prim::If", "prim::Loop", "prim::TupleUnpack", "prim::ListUnpack"})
"""Nodes that return a tuple with one item for each output, even where there is one."""


def _one_or_all(results: tuple[object, ...]) -> object:
    return results[0] if len(results) == 1 else results


def _inputs(node: ScriptNode, values: Values) -> list[object]:
    return [values[value.unique()] for value in node.inputs()]


def _constant(node: ScriptNode, values: Values) -> object:  # noqa: ARG001  as every handler
    output = node.output()
    return str(output.type()) if output.type().kind() == "FunctionType" else output.toIValue()


def _unpacked(node: ScriptNode, values: Values) -> tuple[object, ...]:
    return tuple(cast("Sequence[object]", _inputs(node, values)[0]))


def _dictionary(node: ScriptNode, values: Values) -> dict[object, object]:
    given = _inputs(node, values)
    return dict(zip(given[::2], given[1::2], strict=True))


def _line(node: ScriptNode) -> str:
    """Returns ` (model.py, line 12)` of the code that a node was made from, "" where the file does not say."""
    found = _place(node)
    return f" ({found[0]}, line {found[1]})" if found else ""


def _place(node: ScriptNode) -> tuple[str, int] | None:
    found = _PLACE.search(str(node).strip().partition("\n")[0])
    return (found[1], int(found[2])) if found else None


def _at(node: ScriptNode, function: Callable[..., object], *args: object) -> object:
    """Calls a function with the line of the user's code on the stack, where torch and edgekit look for it."""
    place = _place(node)
    return _call_from(*place)(function, *args) if place else function(*args)


@cache
def _call_from(file: str, line: int) -> Callable[..., object]:
    code = _call.__code__.replace(co_filename=file, co_firstlineno=line, co_name="forward")
    return FunctionType(code, globals())


_call: Final = cast("FunctionType", lambda function, *args: function(*args))
