"""The closed schema of an exported program's JSON: torch's own dataclasses, and what their texts may say.

torch turns much of this text into Python: names become source code of the graph's `forward`, targets are looked up and
called, shape expressions and guards are evaluated, container types are imported. So each text has a form that is
listed here, and what has none is refused. The form of the objects is read from torch's `schema` module, strictly:
torch itself ignores keys that it does not know and hardly checks types.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import math
import re
import types
import typing
from collections.abc import Mapping
from typing import Any, Final

from edgekit.torch_program.shape_expressions import is_shape_expression

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,999}")
_PATH: Final = re.compile(r"[\w :/+@-]+(?:\.[\w :/+@-]+)*", re.ASCII)
"""Names of modules as dictionaries hold them; torch puts them into source code in quotation marks."""
_DEVICE: Final = re.compile(r"[a-z]{1,20}")
NAMESPACES: Final = ("aten", "prims", "quantized_decomposed", "torchao", "torchvision")
"""Libraries whose operators a program may hold: those that converters and edgekit know."""
_OPERATOR: Final = re.compile(rf"torch\.ops\.(?:{'|'.join(NAMESPACES)})\.([A-Za-z_]\w*)(?:\.[A-Za-z]\w*)?", re.ASCII)
TOUCHES_FILES: Final = frozenset({"save", "from_file"})
"""Operators of ATen: the first writes a file, the second maps one and may create it."""

_SYMBOLIC: Final = re.compile(
    r"torch\.(?:sym_(?:int|float|max|min|not|sum|ite)|_sym_(?:sqrt|cos|cosh|sin|sinh|tan|tanh|asin|acos|atan|log2))"
    r"|_operator\.(?:abs|add|and_|eq|floordiv|ge|getitem|gt|invert|le|lshift|lt|mod|mul|ne|neg|not_|or_|pos|pow|rshift"
    r"|sub|truediv|xor)"
    r"|math\.(?:acos|asin|atan|ceil|cos|cosh|exp|floor|log|log2|sin|sinh|sqrt|tan|tanh|trunc)"
)
_CONTROL_FLOW: Final = re.compile(
    r"torch\.ops\.higher_order\.(?:associative_scan|cond|invoke_subgraph|map_impl|scan|while_loop|wrap_with_autocast"
    r"|wrap_with_set_grad_enabled)"
)
_CONTAINERS: Final = frozenset(
    {"builtins.tuple", "builtins.list", "builtins.dict", "builtins.slice", "collections.OrderedDict"}
    | {"torch.fx.immutable_collections.immutable_list", "torch.fx.immutable_collections.immutable_dict"}
)
_VERIFIERS: Final = frozenset({"", "TRAINING", "ATEN", "EDGE"})
_METADATA: Final = frozenset(
    {"stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "custom", "from_node", "quantization_tag"}
)

_FORMS: Final[Mapping[tuple[str, str], re.Pattern[str]]] = {
    ("Device", "type"): _DEVICE,
    ("NamedArgument", "name"): re.compile(rf"|{_NAME.pattern}"),  # none where an operator's schema names none
    ("PayloadMeta", "path_name"): re.compile(r"(?:weight|tensor)_[0-9]{1,7}"),
    ("InputToParameterSpec", "parameter_name"): _PATH,
    ("InputToBufferSpec", "buffer_name"): _PATH,
    ("InputToTensorConstantSpec", "tensor_constant_name"): _PATH,
    ("BufferMutationSpec", "buffer_name"): _PATH,
    ("ParameterMutationSpec", "parameter_name"): _PATH,
    ("GradientToParameterSpec", "parameter_name"): _PATH,
    ("ModuleCallEntry", "fqn"): re.compile(r"|[\w :/+@-]+(?:\.[\w :/+@-]+)*", re.ASCII),
    ("ExportedProgram", "torch_version"): re.compile(r"[\w.+<=-]{1,80}", re.ASCII),
}
"""Forms of single texts; every other text that is no value (`as_string`) is a name of Python."""

_FREE: Final = frozenset(
    {("Argument", "as_string"), ("Argument", "as_strings"), ("ConstantValue", "as_string"), ("Argument", "as_operator")}
    | {("Node", "target"), ("ModuleCallSignature", "in_spec"), ("ModuleCallSignature", "out_spec")}
    | {("ExportedProgram", "verifiers"), ("ExportedProgram", "guards_code"), ("Node", "metadata")}
    | {("GraphModule", "metadata")}
)
"""Texts with a check of their own, or that torch takes as values."""

_REFUSED: Final = frozenset({"as_custom_obj", "custom_obj", "CustomObjArgument", "NamedTupleDef"})


class SchemaError(Exception):
    """A value that the schema does not know; its text says where, what came and what is accepted."""


def check_program(data: object) -> None:
    """Checks the JSON of a program (`models/model.json`).

    Raises:
        SchemaError: the first value that is not in the schema.
    """
    from torch._export.serde import schema

    _check(schema.ExportedProgram, data, "program", ("", ""))


def check_payload_config(data: object) -> None:
    """Checks the JSON of weights or constants; each is a plain tensor of fixed sizes.

    Raises:
        SchemaError: the first value that is not in the schema, a pickle, or a tensor whose sizes are no numbers.
    """
    from torch._export.serde import schema

    _check(schema.PayloadConfig, data, "config", ("", ""))
    assert isinstance(data, dict)
    for name, item in data["config"].items():
        where = f"config.{name}"
        if not _PATH.fullmatch(name):
            raise SchemaError(f"{where}: {_shown(name)} was given as a tensor's name; expected names joined by dots")
        if item["use_pickle"] is not False or item["tensor_meta"] is None:
            raise SchemaError(f"{where} is a pickled object; expected a plain tensor")
        meta = item["tensor_meta"]
        sizes = [size.get("as_int", -1) for size in (*meta["sizes"], *meta["strides"], meta["storage_offset"])]
        if any(not 0 <= size < 2**40 for size in sizes) or math.prod(sizes[: len(meta["sizes"])]) >= 2**40:
            raise SchemaError(f"{where}.tensor_meta: the sizes are no numbers from 0 to 2^40")


def _check(kind: Any, data: object, where: str, field: tuple[str, str]) -> None:
    """Checks `data` against a type of torch's schema; `field` is (class, field) that it stands in."""
    from torch._export.serde import schema

    kind = getattr(schema, kind) if isinstance(kind, str) else kind
    if isinstance(kind, typing.ForwardRef):
        kind = getattr(schema, kind.__forward_arg__)
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        _check(parts[0], data, where, field)
    elif origin in (typing.Union, types.UnionType):
        if data is not None:
            _check(next(part for part in parts if part is not type(None)), data, where, field)
    elif origin is list:
        for index, item in enumerate(_expect(data, list, where, "a list")):
            _check(parts[0], item, f"{where}[{index}]", field)
    elif origin is dict:
        _check_dict(parts[1], _expect(data, dict, where, "an object"), where, field)
    elif dataclasses.is_dataclass(kind):
        _check_object(kind, _expect(data, dict, where, "an object"), where)
    else:
        _check_leaf(kind, data, where, field)


def _expect(data: object, kind: type[Any], where: str, words: str) -> Any:
    if type(data) is not kind:
        raise SchemaError(f"{where}: {_shown(data)} was given; expected {words}")
    return data


def _check_dict(kind: Any, data: Mapping[str, object], where: str, field: tuple[str, str]) -> None:
    is_range = field == ("ExportedProgram", "range_constraints")
    if is_range and (bad := next((x for x in data if not is_shape_expression(x)), None)) is not None:
        raise SchemaError(f"{where}: the key {_shown(bad)} was given; expected arithmetic of sizes, such as s77")
    if field == ("Node", "metadata") and (bad := next((x for x in data if x not in _METADATA), None)):
        raise SchemaError(f"{where}: the key {_shown(bad)} was given; accepted are {', '.join(sorted(_METADATA))}")
    if field[0] == "Graph" and (bad := next((x for x in data if not _NAME.fullmatch(x)), None)) is not None:
        raise SchemaError(f"{where}: the key {_shown(bad)} was given; expected names")
    for key, item in data.items():
        _check(kind, item, f"{where}.{key[:60]}", field)


def _check_object(kind: Any, data: Mapping[str, object], where: str) -> None:
    from torch._export.serde import union

    fields, hints = _fields(kind)
    is_union = issubclass(kind, vars(union)["_Union"])
    if kind.__name__ in _REFUSED or (is_union and any(key in _REFUSED for key in data)):
        raise SchemaError(f"{where} is a custom object; expected tensors and numbers")
    if unknown := next((key for key in data if key not in fields), None):
        raise SchemaError(f"{where}: the key {_shown(unknown)} was given; accepted are {', '.join(fields)}")
    if is_union and len(data) != 1:
        raise SchemaError(f"{where}: {len(data)} values were given; expected one of {', '.join(fields)}")
    for name, field in fields.items():
        if name in data:
            _check(hints[name], data[name], f"{where}.{name}", (kind.__name__, name))
        elif not is_union and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise SchemaError(f"{where}.{name} is missing")


@functools.cache
def _fields(kind: Any) -> tuple[dict[str, dataclasses.Field[Any]], dict[str, Any]]:
    """Returns the fields of one of torch's dataclasses by name, and their types."""
    return {field.name: field for field in dataclasses.fields(kind)}, typing.get_type_hints(kind)


def _check_leaf(kind: Any, data: object, where: str, field: tuple[str, str]) -> None:
    if isinstance(kind, type) and issubclass(kind, enum.IntEnum):
        if type(data) is not int or data not in {int(item) for item in kind}:
            raise SchemaError(f"{where}: {_shown(data)} was given; expected a number of {kind.__name__}")
    elif kind is float:
        # torch writes infinities and NaN as texts.
        if type(data) not in (int, float) and data not in ("Infinity", "-Infinity", "NaN"):
            raise SchemaError(f"{where}: {_shown(data)} was given; expected a number")
    elif type(data) is not kind:
        raise SchemaError(f"{where}: {_shown(data)} was given; expected {kind.__name__}")
    elif kind is int and not -(2**64) < typing.cast("int", data) < 2**64:
        raise SchemaError(f"{where}: {_shown(data)} was given; expected a number of 64 bits")
    elif kind is str and (fault := _fault_of_text(field, typing.cast("str", data))):
        raise SchemaError(f"{where}: {_shown(data)} was given; expected {fault}")


def _fault_of_text(field: tuple[str, str], text: str) -> str | None:
    """Returns what was expected instead of `text`, or None where it is right."""
    if field == ("SymExpr", "expr_str"):
        return None if is_shape_expression(text) else "arithmetic of sizes"
    if field in (("Node", "target"), ("Argument", "as_operator")):
        return None if _is_operator(text) else "an operator of torch's own libraries"
    if field in (("ModuleCallSignature", "in_spec"), ("ModuleCallSignature", "out_spec")):
        return None if is_tree_spec(text) else "tuples, lists and dictionaries"
    if field == ("ExportedProgram", "verifiers"):
        return None if text in _VERIFIERS else "TRAINING, ATEN or EDGE"
    if field in _FREE:
        return None
    form = _FORMS.get(field, _NAME)
    return None if form.fullmatch(text) else "a name"


def _is_operator(text: str) -> bool:
    if found := _OPERATOR.fullmatch(text):
        return not found[1].startswith("__") and found[1] not in TOUCHES_FILES
    return bool(_SYMBOLIC.fullmatch(text) or _CONTROL_FLOW.fullmatch(text))


def is_tree_spec(text: str) -> bool:
    """Returns True if `text` describes nested tuples, lists, dictionaries and leaves, as torch's pytree writes them."""
    try:
        protocol, tree = json.loads(text)
        return protocol == 1 and _is_tree(tree)
    except (ValueError, TypeError, RecursionError):
        return False


def _is_tree(tree: object) -> bool:
    if not isinstance(tree, dict) or set(tree) != {"type", "context", "children_spec"}:
        return False
    kind, context, children = tree["type"], tree["context"], tree["children_spec"]
    if not isinstance(children, list) or not all(map(_is_tree, children)):
        return False
    if kind is None:
        return context is None and not children
    return kind in _CONTAINERS and _is_context(context)


def _is_context(context: object) -> bool:
    """Returns True for null or a list of keys; an object would be an enum, which torch imports."""
    value = json.loads(context) if isinstance(context, str) else context
    if value is None:
        return True
    return isinstance(value, list) and all(isinstance(key, str | int | float | bool | None) for key in value)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
