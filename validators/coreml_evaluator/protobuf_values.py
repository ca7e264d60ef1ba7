"""Types and values of `MIL.proto` messages as plain Python and NumPy values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import ArtifactError
from edgekit.validators.coreml_evaluator.graph import Constant, ValueType
from edgekit.validators.coreml_evaluator.number_formats import BY_NAME, STRING, elements_from_bytes, format_of
from edgekit.validators.coreml_evaluator.weight_file import WeightFile

MODEL_PATH_PREFIX = "@model_path/"
REPEATED_FIELDS = ("floats", "ints", "bools", "longInts", "doubles")


def value_type(message: Any, *, where: str) -> ValueType:
    """Returns the type behind a `ValueType` message.

    Args:
        message: The message.
        where: What has this type, for messages.

    Raises:
        ArtifactError: An element type that the evaluator does not read.
    """
    kind = message.WhichOneof("type")
    if kind == "tensorType":
        tensor = message.tensorType
        dtype = "string" if tensor.dataType == STRING else format_of(tensor.dataType, where=where).name
        return ValueType(kind="tensor", dtype=dtype, shape=_shape(tensor.dimensions))
    if kind == "listType":
        element = value_type(message.listType.type, where=where)
        return ValueType(kind="list", dtype=element.dtype, shape=element.shape)
    if kind == "stateType":
        wrapped = value_type(message.stateType.wrappedType, where=where)
        return ValueType(kind="state", dtype=wrapped.dtype, shape=wrapped.shape)
    names = {"tupleType": "tuple", "dictionaryType": "dictionary"}
    return ValueType(kind=names.get(kind, "none"), dtype="", shape=None)


def _shape(dimensions: Any) -> tuple[int | None, ...] | None:
    sizes: list[int | None] = []
    for dimension in dimensions:
        if dimension.WhichOneof("dimension") == "constant":
            sizes.append(int(dimension.constant.size))
        elif dimension.unknown.variadic:
            return None
        else:
            sizes.append(None)
    return tuple(sizes)


@final
@dataclass(slots=True, kw_only=True)
class ValueReader:
    """Reads `Value` messages, and the weight files that they point into.

    Attributes:
        folder: The folder that `@model_path` stands for.
    """

    folder: Path
    _weight_files: dict[str, WeightFile] = field(default_factory=dict[str, WeightFile])

    def read(self, message: Any, *, name: str) -> Constant:
        """Returns the value behind a `Value` message.

        Args:
            message: The message.
            name: The constant's name, for messages.

        Raises:
            ArtifactError: A broken or missing weight file, or a kind of value that the evaluator does not read.
        """
        if message.WhichOneof("value") == "blobFileValue":
            return self._from_weight_file(message, name)
        immediate = message.immediateValue
        kind = immediate.WhichOneof("value")
        if kind == "list":
            return tuple(self._list_item(item, name) for item in immediate.list.values)
        if kind != "tensor":
            raise ArtifactError(
                f'Constant "{name}" holds a {kind} value, which the Core ML evaluator does not read '
                "(it reads tensors and lists). Export the package again with coremltools 9."
            )
        return _from_tensor(message, name)

    def stored_bytes(self, message: Any, *, name: str) -> int:
        """Returns how many bytes a value takes in the file, sub-byte elements packed."""
        declared = value_type(message.type, where=f'constant "{name}"')
        if declared.kind != "tensor" or declared.dtype == "string" or declared.fixed_shape is None:
            return 0
        return (prod(declared.fixed_shape) * BY_NAME[declared.dtype].bits + 7) // 8

    def _list_item(self, message: Any, name: str) -> str | int:
        item = self.read(message, name=name)
        if isinstance(item, str):
            return item
        return int(np.asarray(item).item())

    def _from_weight_file(self, message: Any, name: str) -> NDArray[np.generic]:
        declared = message.type.tensorType
        number_format = format_of(declared.dataType, where=f'Constant "{name}"')
        shape = _fixed(declared, name)
        file_name = message.blobFileValue.fileName.removeprefix(MODEL_PATH_PREFIX)
        if file_name not in self._weight_files:
            self._weight_files[file_name] = WeightFile(self.folder / file_name)
        weights = self._weight_files[file_name]
        return weights.read(message.blobFileValue.offset, number_format, prod(shape), constant=name).reshape(shape)


def _fixed(tensor_type: Any, name: str) -> tuple[int, ...]:
    sizes = _shape(tensor_type.dimensions)
    if sizes is None or any(size is None for size in sizes):
        raise ArtifactError(
            f'Constant "{name}" is declared without a fixed shape. The package is corrupt: export it again.'
        )
    return tuple(size for size in sizes if size is not None)


def _from_tensor(message: Any, name: str) -> Constant:
    declared = message.type.tensorType
    shape = _fixed(declared, name)
    tensor = message.immediateValue.tensor
    if declared.dataType == STRING:
        texts = tuple(tensor.strings.values)
        return texts if shape else (texts[0] if texts else "")
    number_format = format_of(declared.dataType, where=f'Constant "{name}"')
    kind = tensor.WhichOneof("value")
    count = prod(shape)
    try:
        if kind == "bytes":
            values = elements_from_bytes(tensor.bytes.values, number_format, count)
        elif kind in REPEATED_FIELDS:
            values = np.array(getattr(tensor, kind).values, np.dtype(number_format.numpy_name))
        else:  # proto3 leaves out a message that holds nothing
            values = np.zeros(0, np.dtype(number_format.numpy_name))
        return values.reshape(shape)
    except ValueError as error:
        raise ArtifactError(
            f'Constant "{name}" does not hold the {count} {number_format.name} values of its shape {list(shape)}: '
            f"{error}. The package is corrupt: export it again."
        ) from error


def attribute_text(attributes: Mapping[str, Any], key: str) -> str:
    """Returns a string attribute of an operator, empty where there is none."""
    if key not in attributes:
        return ""
    texts = attributes[key].immediateValue.tensor.strings.values
    return str(texts[0]) if texts else ""
