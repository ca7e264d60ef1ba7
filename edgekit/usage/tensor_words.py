"""How a tensor is spelled in each snippet: types, buffers and literals, by language and runtime."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edgekit.formats.format import Words
from edgekit.model import Dimension, JoinedOutput, TensorSpec
from edgekit.usage.identifiers import camel_case, distinct, quote, snake_case


def storage_of(spec: TensorSpec) -> str:
    """Returns what lies in the tensor: its dtype, with a `q` behind it where integers stand for real values."""
    return f"{spec.dtype}q" if spec.scale is not None else spec.dtype


def why_not(known: Mapping[str, Words], language: str, specs: Sequence[TensorSpec]) -> str | None:
    """Returns why a snippet cannot hold these tensors, or None if it can.

    Args:
        known: How each stored type is spelled, of a format's `Snippets.words`.
        language: Suffix of its source files.
        specs: The tensors.
    """
    for spec in specs:
        if storage_of(spec) not in known:
            return f'the tensor "{spec.name}" is {spec.dtype}, which this API does not take'
        if any(size < 1 for size in spec.shape) and not spec.axes:
            return f'the tensor "{spec.name}" has no fixed shape: {spec.shape}'
        if language == "kt" and "$" in spec.name:
            return f'the tensor "{spec.name}" has a dollar in its name, which a Kotlin string does not take as it is'
    return None


def typical_shape(spec: TensorSpec, dimensions: Sequence[Dimension]) -> tuple[int, ...]:
    """Returns an input's shape at the typical sizes."""
    typical = {item.name: item.typical for item in dimensions}
    axes = spec.axes or ("",) * len(spec.shape)
    return tuple(typical.get(name, size) for name, size in zip(axes, spec.shape, strict=True))


def size_views(language: str, dimensions: Sequence[Dimension], specs: Sequence[TensorSpec]) -> list[dict[str, Any]]:
    """Returns what templates say about each open size that inputs have: a parameter of `run`."""
    used = {name for spec in specs for name in spec.axes}
    return [
        {"id": _spelling(language)(item.name), "typical": item.typical, "describe": item.range_text}
        for item in dimensions
        if item.name in used
    ]


def joined_views(
    language: str, joined: Sequence[JoinedOutput], specs: Sequence[TensorSpec], views: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Returns what templates say about each output that was split: how its members are joined again.

    Args:
        language: Suffix of the source files.
        joined: Outputs that were split.
        specs: The outputs.
        views: What templates say about them, in the same order.
    """
    places = {spec.name: i for i, spec in enumerate(specs)}
    made: list[dict[str, Any]] = []
    for item in joined:
        if not places.keys() >= set(item.members):
            continue
        members = [specs[places[name]] for name in item.members]
        rows = math.prod(members[0].shape[: item.axis])
        names = ", ".join(item.members)
        made.append(
            {
                "id": distinct([*(view["id"] for view in views), _spelling(language)(item.name)])[-1],
                "axis": item.axis,
                "rows": rows,
                "count": sum(math.prod(spec.shape) for spec in members),
                "members": [
                    {**views[places[spec.name]], "width": math.prod(spec.shape[item.axis :])} for spec in members
                ],
                "describe": f"{item.name} as the model had it: {names} joined along axis {item.axis}",
            }
        )
    return made


def _spelling(language: str) -> Callable[[str], str]:
    return snake_case if language in ("cpp", "py") else camel_case


def tensor_views(known: Mapping[str, Words], language: str, specs: Sequence[TensorSpec]) -> list[dict[str, Any]]:
    """Returns what templates say about each tensor: its facts, and its words in one language."""
    spell = _spelling(language)
    identifiers = distinct([spell(spec.name) for spec in specs])
    return [
        _view(spec, identifier, known[storage_of(spec)], _sizes(spec, spell))
        for spec, identifier in zip(specs, identifiers, strict=True)
    ]


def _sizes(spec: TensorSpec, spell: Callable[[str], str]) -> list[str]:
    """Returns each size as an expression: a number, or the identifier of an open one."""
    axes = spec.axes or ("",) * len(spec.shape)
    known = [name if name != "*" else "" for name in axes]
    return [spell(name) if name else str(size) for name, size in zip(known, spec.shape, strict=True)]


def _view(spec: TensorSpec, identifier: str, words: Words, sizes: Sequence[str]) -> dict[str, Any]:
    facts = tensor_facts(spec)
    if spec.axes:
        long = [size if size.isdigit() else f"{size}.toLong()" for size in sizes]
        product = " * ".join(size for size in sizes if size != "1") or "1"
        facts |= {"dims": ", ".join(sizes), "long_dims": ", ".join(long), "count": product}
    literals = {**facts, "id": identifier}
    made: dict[str, Any] = {**literals, "java_type": "", **words}
    if "wrap" in words:
        made["wrapped"] = words["wrap"].format(**literals)
        made["unwrapped"] = f"tensor(results, {facts['literal']}).{words['unwrap'].format(**literals)}"
        if facts["quantized"]:
            signed = "true" if facts["signed"] else "false"
            made["unwrapped"] = f"dequantize({made['unwrapped']}, {facts['scale']}f, {facts['zero_point']}, {signed})"
    return made


def tensor_facts(spec: TensorSpec) -> dict[str, Any]:
    """Returns what is the same in every language.

    `scale` is the shortest literal of the stored 32-bit float; `exact_scale` is that float as 64 bits, which is what
    edgekit's own runner divides by.
    """
    quantized = spec.scale is not None
    limits = np.iinfo(spec.dtype) if quantized else None
    names = spec.axes or ("",) * len(spec.shape)
    shape_text = "(" + ", ".join(name or str(size) for name, size in zip(names, spec.shape, strict=True)) + ")"
    stored = f", {spec.layout}" if spec.layout else ""
    if quantized:
        stored += f"; real values here, stored as {spec.dtype}, scale {spec.scale:.6g}, zero point {spec.zero_point}"
    return {
        "name": spec.name,
        "literal": quote(spec.name),
        "shape": tuple(None if size < 0 else size for size in spec.shape),
        "shape_text": shape_text,
        "open": bool(spec.axes),
        "dims": ", ".join(map(str, spec.shape)),
        "long_dims": ", ".join(map(str, spec.shape)),
        "count": math.prod(spec.shape),
        "dtype": spec.dtype,
        "layout": spec.layout,
        "quantized": quantized,
        "signed": spec.dtype.startswith("int"),
        "scale": str(np.float32(spec.scale)) if spec.scale is not None else "",
        "exact_scale": repr(spec.scale),
        "zero_point": (spec.zero_point or 0) if quantized else None,
        "lowest": int(limits.min) if limits else None,
        "highest": int(limits.max) if limits else None,
        "describe": f"shape {shape_text}, {'float32' if quantized else spec.dtype}{stored}",
    }
