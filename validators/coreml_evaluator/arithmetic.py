"""What each operator of an ML Program computes with, as the saved file says.

Core ML writes integer arithmetic as float operators between `dequantize` and `quantize`, and stored weights as
`constexpr_*`: an operator whose data and weights both come from there is one that the device may run in integers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from edgekit.validators.coreml_evaluator.graph import Block, Function, Operation, Reference, StoredConstant
from edgekit.validators.coreml_evaluator.model_functions import chosen_function
from edgekit.validators.coreml_evaluator.number_formats import BY_NAME
from edgekit.validators.coreml_evaluator.package_file import read_package

PRODUCTS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "conv": ("x", ("weight",)),
    "conv_transpose": ("x", ("weight",)),
    "linear": ("x", ("weight",)),
    "matmul": ("x", ("y",)),
    "lstm": ("x", ("weight_ih", "weight_hh", "weight_ih_back", "weight_hh_back")),
    "gru": ("x", ("weight_ih", "weight_hh")),
    "rnn": ("x", ("weight_ih", "weight_hh")),
}
"""Operators that multiply and accumulate: the parameters of the data and of the weights."""

TABLES: Final = frozenset({"gather", "gather_along_axis", "gather_nd"})
"""Operators that look up rows of a table."""

BOUNDARY: Final = frozenset({"quantize", "dequantize", "cast"})
"""Operators between the two worlds: they are no arithmetic of the model's own."""

KEEPS_GRID: Final = frozenset({"reshape", "transpose", "expand_dims", "squeeze", "slice_by_index", "slice_by_size"})
"""Operators that only move values: what they return is still on the grid that their input was on."""


def describe_package(path: Path, function: str | None = None) -> list[dict[str, Any]]:
    """Returns the same of a function of a package, its default one without a name, without loading it to be run.

    Raises:
        ArtifactError: the package is broken, or no ML Program.
        MissingDependencyError: coremltools is not installed.
    """
    return describe_operators(chosen_function(read_package(path), function))


def describe_operators(function: Function) -> list[dict[str, Any]]:
    """Returns one entry an operator, nested blocks included, with the keys of `validators/artifact_operators.py`."""
    reader = _Reader(
        stored={item.name: item for item in function.stored_constants},
        made={output.name: item for item in _walk(function.block) for output in item.outputs},
        shapes={item.name: item.type.shape or () for item in function.inputs},
    )
    return [reader.entry(item) for item in _walk(function.block)]


def _walk(block: Block) -> Iterator[Operation]:
    for item in block.operations:
        yield item
        for inner in item.blocks:
            yield from _walk(inner)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Reader:
    stored: Mapping[str, StoredConstant]
    made: Mapping[str, Operation]
    shapes: Mapping[str, tuple[int | None, ...]]

    def entry(self, item: Operation) -> dict[str, Any]:
        type_ = item.outputs[0].type if item.outputs else None
        dtype = BY_NAME[type_.dtype].numpy_name if type_ is not None and type_.dtype in BY_NAME else ""
        shape = (type_.shape if type_ is not None else None) or ()
        entry: dict[str, Any] = {
            "name": item.name,
            "kind": item.type,
            "dtype": dtype,
            "rank": len(shape),
            "zero_point": None,
            "macs": 0,
            "arithmetic": "other" if item.type in BOUNDARY else "float" if "float" in dtype else "integer",
            "path": None,
        }
        if item.type in PRODUCTS:
            entry.update(self._product(item, [size or 1 for size in shape]))
        table = self._stored(item, "x") if item.type in TABLES else None
        if table is not None and len(table.shape) == 2:  # single values are picked from shapes
            entry["table_bits"] = _bits(table)
        return entry

    def _product(self, item: Operation, shape: list[int]) -> dict[str, Any]:
        data_key, weight_keys = PRODUCTS[item.type]
        weights = [found for key in weight_keys if (found := self._stored(item, key)) is not None]
        data = [size or 1 for size in self._shape(item, data_key)]
        on_grid = self._is_on_grid(item, data_key)
        if not weights:
            both = on_grid and self._is_on_grid(item, weight_keys[0])
            return {"macs": math.prod(shape) * (data[-1] if data else 1), "arithmetic": "integer" if both else "float"}
        count = sum(weight.elements for weight in weights)
        bits = max(_bits(weight) for weight in weights)
        return {
            "macs": _macs(item.type, data, shape, count),
            "arithmetic": "integer" if on_grid and bits <= 8 else "float",
            "weights": count,
            "weight_bits": bits,
            "channels": weights[0].shape[0],
        }

    def _name(self, item: Operation, key: str) -> str:
        given = item.inputs.get(key, ())
        return given[0].name if given and isinstance(given[0], Reference) else ""

    def _stored(self, item: Operation, key: str) -> StoredConstant | None:
        """Returns the constant behind a parameter, also where operators dequantize or cast it at run time."""
        name = self._name(item, key)
        maker = self.made.get(name)
        if maker is not None and maker.type in BOUNDARY:
            return self._stored(maker, "x" if maker.type == "cast" else "input")
        return self.stored.get(name)

    def _is_on_grid(self, item: Operation, key: str) -> bool:
        maker = self.made.get(self._name(item, key))
        if maker is None:
            return False
        return maker.type == "dequantize" or (maker.type in KEEPS_GRID and self._is_on_grid(maker, "x"))

    def _shape(self, item: Operation, key: str) -> tuple[int | None, ...]:
        name = self._name(item, key)
        maker = self.made.get(name)
        if maker is None:
            return self.shapes.get(name, ())
        return next((output.type.shape or () for output in maker.outputs if output.name == name), ())


def _bits(weight: StoredConstant) -> int:
    """Returns the bits of one stored element: `uint4` indices of a table are 4, `fp16` is 16."""
    digits = "".join(character for character in weight.stored_dtype if character.isdigit())
    return int(digits) if digits else 0


def _macs(kind: str, data: list[int], result: list[int], count: int) -> int:
    """Returns multiply-accumulates: each weight once for each place (channels are the second dimension here)."""
    if kind == "conv":
        return math.prod(result) // max(result[1], 1) * count
    if kind == "conv_transpose":
        return math.prod(data) // max(data[1], 1) * count
    if kind in ("lstm", "gru", "rnn"):
        return math.prod(data[:-1]) * count
    return math.prod(result[:-1]) * count
