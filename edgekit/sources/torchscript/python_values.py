"""What TorchScript computes without tensors: numbers, strings, lists, dictionaries; and what it asks of tensors.

A function may return `NotImplemented` for values that it is not about: then the operator of tensors is called.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, TypeGuard

from edgekit.sources.torchscript.protocols import Kinds, ScriptType

if TYPE_CHECKING:
    import torch

_DTYPES: Final = (
    *("uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"),
    *("complex32", "complex64", "complex128", "bool", "qint8", "quint8", "qint32", "bfloat16"),
)
"""Types by their numbers (c10/core/ScalarType.h)."""


def dtype_number(dtype: torch.dtype) -> int:
    """Returns the number of a dtype, which is what TorchScript computes with."""
    return _DTYPES.index(str(dtype).removeprefix("torch."))


def dtype_of(number: int | None) -> torch.dtype | None:
    """Returns the dtype of a number."""
    import torch

    found: torch.dtype | None = None if number is None else getattr(torch, _DTYPES[number])
    return found


def _is_tensor(value: object) -> TypeGuard[torch.Tensor]:
    import torch

    return isinstance(value, torch.Tensor)


def _plainly(function: Callable[..., object]) -> Callable[..., object]:
    """Returns the function for values that are no tensors; `NotImplemented` where one is."""

    def call(*args: object) -> object:
        return NotImplemented if any(map(_is_tensor, args)) else function(*args)

    return call


def _size(x: torch.Tensor, axis: int | None = None) -> object:
    return list(x.shape) if axis is None else x.shape[axis]


def _divided(a: float, b: float, rounding: str | None = None) -> float:
    if rounding == "floor":
        return a // b
    return math.trunc(a / b) if rounding == "trunc" else a / b


def _number(x: object) -> object:
    """Returns the number in a tensor of one element; what reads a traced size gets the size itself."""
    return x.item() if _is_tensor(x) else x


def _whole(x: object) -> object:
    found = _number(x)
    return int(found) if isinstance(found, (float, str, bool)) else found


def _real(x: object) -> object:
    found = _number(x)
    return float(found) if isinstance(found, (int, str)) else found


def _appended(items: list[object], item: object) -> list[object]:
    items.append(item)
    return items


def _added_to(items: object, more: list[object], *_: object) -> object:
    if not isinstance(items, list):
        return NotImplemented
    found: list[object] = items
    found.extend(more)
    return found


def _item_set(items: dict[object, object], key: object, value: object) -> object:
    items[key] = value
    return items


def _tensor_of(data: object, dtype: int | None = None, *_: object) -> torch.Tensor:
    import torch

    return torch.tensor(data, dtype=dtype_of(dtype))


def _tensor_as(data: object, dtype: int | None = None, *_: object) -> torch.Tensor:
    if _is_tensor(data):
        return data if dtype is None else data.to(dtype_of(dtype))
    return _tensor_of(data, dtype)


def _formatted(text: str, *values: object) -> str:
    """Returns the text with each `{}` replaced: that is all that TorchScript knows, and all that a file may do."""
    first, *rest = text.split("{}")
    return first + "".join(str(value) + part for value, part in zip(values, rest, strict=False))


def _device(text: object) -> object:
    import torch

    return torch.device(text) if isinstance(text, str) else NotImplemented


PYTHON_OPERATORS: Final[Mapping[str, Callable[..., object]]] = {
    "prim::TupleConstruct": lambda *items: tuple(items),
    "prim::ListConstruct": lambda *items: list(items),
    "prim::TupleIndex": operator.getitem,
    "prim::NumToTensor": lambda x: x,
    "prim::unchecked_cast": lambda x: x,
    "prim::unchecked_unwrap_optional": lambda x: x,
    "aten::_unwrap_optional": lambda x: x,
    "prim::annotate": lambda x: x,
    "prim::data": lambda x: x.detach(),
    "prim::Uninitialized": lambda *_: None,
    "prim::Print": lambda *_: None,
    "prim::Enter": lambda *_: None,
    "prim::Exit": lambda *_: None,
    "aten::warn": lambda *_: None,
    "aten::wait": lambda x: x,
    "aten::manual_seed": lambda *_: None,
    "prim::dtype": lambda x: dtype_number(x.dtype),
    "prim::device": lambda x: x.device,
    "prim::type": lambda device: device.type,
    "prim::index": lambda device: device.index,
    "prim::shape": _size,
    "prim::is_cuda": lambda _: False,
    "prim::is_quantized": lambda x: x.is_quantized,
    "prim::is_sparse": lambda x: x.is_sparse,
    "prim::is_nested": lambda x: x.is_nested,
    "prim::requires_grad": lambda _: False,
    "prim::layout": lambda _: 0,  # strided, the first of c10/core/Layout.h
    "prim::max": max,
    "prim::min": min,
    "prim::abs": abs,
    "prim::rangelist": lambda count: list(range(count)),
    "aten::is_grad_enabled": lambda: True,  # else torch's layers choose kernels that join several
    "aten::device": _device,
    "aten::size": _size,
    "aten::sym_size": _size,
    "aten::dim": lambda x: x.ndim,
    "aten::numel": lambda x: x.numel(),
    "aten::is_floating_point": lambda x: x.is_floating_point(),
    "aten::is_complex": lambda x: x.is_complex(),
    "aten::len": len,
    "aten::Int": _whole,
    "aten::IntImplicit": _whole,
    "aten::ScalarImplicit": _number,
    "aten::item": _number,
    "aten::Float": _real,
    "aten::FloatImplicit": _real,
    "aten::Bool": bool,
    "aten::tensor": _tensor_of,
    "aten::scalar_tensor": _plainly(lambda value, *_: value),
    "aten::as_tensor": _tensor_as,
    "aten::__getitem__": operator.getitem,
    "aten::__contains__": operator.contains,
    "aten::__is__": lambda a, b: a is b,
    "aten::__isnot__": lambda a, b: a is not b,
    "aten::__not__": operator.not_,
    "aten::__and__": _plainly(operator.and_),
    "aten::__or__": _plainly(operator.or_),
    "aten::__xor__": _plainly(operator.xor),
    "aten::__lshift__": _plainly(operator.lshift),
    "aten::__rshift__": _plainly(operator.rshift),
    "aten::__range_length": lambda low, high, step: len(range(low, high, step)),
    "aten::__derive_index": lambda turn, start, step: start + turn * step,
    "aten::add": _plainly(lambda a, b, alpha=1: a + alpha * b if isinstance(a, (int, float)) else a + b),
    "aten::add_": _added_to,
    "aten::sub": _plainly(lambda a, b, alpha=1: a - alpha * b),
    "aten::mul": _plainly(operator.mul),
    "aten::div": _plainly(_divided),
    "aten::floordiv": _plainly(operator.floordiv),
    "aten::floor_divide": _plainly(operator.floordiv),
    "aten::remainder": _plainly(operator.mod),
    "aten::fmod": _plainly(math.fmod),
    "aten::neg": _plainly(operator.neg),
    "aten::pow": _plainly(operator.pow),
    "aten::abs": _plainly(abs),
    "aten::ceil": _plainly(math.ceil),
    "aten::floor": _plainly(math.floor),
    "aten::round": _plainly(round),
    "aten::sqrt": _plainly(math.sqrt),
    "aten::exp": _plainly(math.exp),
    "aten::log": _plainly(math.log),
    "aten::log2": _plainly(math.log2),
    "aten::sin": _plainly(math.sin),
    "aten::cos": _plainly(math.cos),
    "aten::lt": _plainly(operator.lt),
    "aten::gt": _plainly(operator.gt),
    "aten::le": _plainly(operator.le),
    "aten::ge": _plainly(operator.ge),
    "aten::eq": _plainly(operator.eq),
    "aten::ne": _plainly(operator.ne),
    "aten::append": _appended,
    "aten::extend": lambda items, more: items.extend(more),
    "aten::insert": lambda items, place, item: items.insert(place, item),
    "aten::pop": lambda items, place=-1: items.pop(place),
    "aten::reverse": lambda items: items.reverse() if isinstance(items, list) else NotImplemented,
    "aten::_set_item": _item_set,
    "aten::list": list,
    "aten::copy": lambda items: items.copy(),
    "aten::index": _plainly(lambda items, item: items.index(item)),
    "aten::slice": _plainly(lambda items, start=None, end=None, step=1: items[start:end:step]),
    "aten::sum": _plainly(sum),
    "aten::keys": lambda items: list(items.keys()),
    "aten::values": lambda items: list(items.values()) if isinstance(items, dict) else NotImplemented,
    "aten::items": lambda items: list(items.items()),
    "aten::get": lambda items, key, default=None: items.get(key, default),
    "aten::format": _formatted,
    "aten::str": str,
    "aten::startswith": lambda text, start, *rest: text.startswith(start, *rest),
    "aten::endswith": lambda text, end, *rest: text.endswith(end, *rest),
    "aten::join": lambda between, items: between.join(items),
    "aten::split": _plainly(lambda text, between=None, most=-1: text.split(between, most)),
}
"""Node kind to what computes it."""

_KINDS: Final[Kinds] = {
    "IntType": (int,),
    "FloatType": (float,),
    "BoolType": (bool,),
    "StringType": (str,),
    "NumberType": (int, float),
    "ListType": (list,),
    "TupleType": (tuple,),
    "DictType": (dict,),
    "NoneType": (type(None),),
}


def is_instance(value: object, kind: ScriptType) -> bool:
    """Returns whether a value is of one of TorchScript's types."""
    name = kind.kind()
    if name == "TensorType" or isinstance(value, bool):
        return _is_tensor(value) if name == "TensorType" else name == "BoolType"
    return isinstance(value, _KINDS.get(name, ()))
