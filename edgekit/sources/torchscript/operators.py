"""Calls the operators of tensors that a TorchScript graph names."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Final, TypeGuard

from edgekit.errors import ModelError
from edgekit.sources.torchscript.attention_kernels import JOINED
from edgekit.sources.torchscript.protocols import Operator, Schema, ScriptNode
from edgekit.torch_program.program_schema import NAMESPACES, TOUCHES_FILES

if TYPE_CHECKING:
    from torch import Tensor

_PADDED_BY_WORD: Final = "aten::_convolution_mode"
_CONVOLUTIONS: Final = frozenset({"aten::_convolution", "aten::convolution"})
"""What tracing writes for every convolution; the layers' own operators are what converters and ranges know."""


def call_operator(node: ScriptNode, given: Sequence[object], title: str) -> object:
    """Returns what a node's operator makes of its inputs.

    Args:
        node: Of a TorchScript graph.
        given: Its inputs, in the order of its schema.
        title: What the user wrote, for messages.

    Raises:
        ModelError: edgekit does not know the operator, or it touches files.
    """
    kind = node.kind()
    if joined := JOINED.get(kind):
        return joined(*given)
    if kind in _CONVOLUTIONS:
        return _convolution(given)
    if kind == _PADDED_BY_WORD:
        return _convolution((*given[:6], False, None, given[6]))
    space, _, name = kind.partition("::")
    if space not in NAMESPACES or name in TOUCHES_FILES or node.schema() == _NO_SCHEMA:
        raise ModelError(_unknown(kind, title))
    overload, schema = _overload(node.schema())
    tensors = [str(item.type) in _TENSORS for item in schema.arguments]
    if _are_numbers(given, tensors):
        return _of_numbers(overload, schema, given, tensors)
    values = [_as_tensor(it) if wanted and _is_number(it) else it for it, wanted in zip(given, tensors, strict=True)]
    return _call(overload, schema, values)


_NO_SCHEMA: Final = "(no schema)"
_TENSORS: Final = ("Tensor", "Optional[Tensor]")


def _unknown(kind: str, title: str) -> str:
    if kind.startswith(("quantized::", "prepacked::", "mkldnn", "_nnapi", "prim::")):
        what = f"{title} uses {kind}, which holds what torch's own runtime prepared for one machine"
    else:
        what = f"{title} uses {kind}, an operator that edgekit does not know"
    return (
        f"{what}. Save the float model before it is quantized, frozen for a backend or optimized for mobile: "
        "torch.jit.save(torch.jit.trace(model, example_inputs), path)."
    )


@cache
def _overload(text: str) -> tuple[Operator, Schema]:
    """Returns torch's operator of a schema, and the schema."""
    import torch

    full, _, overload = text.partition("(")[0].partition(".")
    space, _, name = full.partition("::")
    found: Operator = getattr(getattr(getattr(torch.ops, space), name), overload or "default")
    return found, found._schema  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  there is no public way


def _call(overload: Operator, schema: Schema, values: Sequence[object]) -> object:
    pairs = list(zip(schema.arguments, values, strict=True))
    args = [value for item, value in pairs if not item.kwarg_only]
    return overload(*args, **{item.name: value for item, value in pairs if item.kwarg_only})


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float, bool))


def _are_numbers(given: Sequence[object], tensors: Sequence[bool]) -> bool:
    """Returns True where all that should be tensors are numbers: sizes, which tracing wraps in tensors to compute."""
    found = [value for value, wanted in zip(given, tensors, strict=True) if wanted and value is not None]
    return any(map(_is_number, found)) and all(_is_number(value) or _is_constant(value) for value in found)


def _is_constant(value: object) -> TypeGuard[Tensor]:
    import torch

    return isinstance(value, torch.Tensor) and type(value) is torch.Tensor and not value.shape


def _of_numbers(overload: Operator, schema: Schema, given: Sequence[object], tensors: Sequence[bool]) -> object:
    """Returns the number that an operator makes of numbers, computed now and not in the graph."""
    from torch.utils._python_dispatch import _disable_current_modes  # pyright: ignore[reportPrivateUsage]  no public way

    with _disable_current_modes():
        pairs = zip(given, tensors, strict=True)
        made = _call(overload, schema, [_as_tensor(it) if wanted and _is_number(it) else it for it, wanted in pairs])
        return made.item() if _is_constant(made) else made


def _as_tensor(value: float) -> Tensor:
    import torch

    return torch.tensor(value)


def _convolution(given: Sequence[object]) -> object:
    import torch
    from torch.nn import functional

    x, weight, bias, stride, padding, dilation, transposed, output_padding, groups = given[:9]
    assert isinstance(weight, torch.Tensor)
    function = getattr(functional, f"conv{'_transpose' if transposed else ''}{weight.ndim - 2}d")
    if transposed:
        made: object = function(x, weight, bias, stride, padding, output_padding, groups, dilation)
    else:
        made = function(x, weight, bias, stride, padding, dilation, groups)
    return made
