"""From a function's protobuf message to a `Function`: constants read and decompressed, operators as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

from edgekit.errors import ArtifactError
from edgekit.validators.coreml_evaluator.compressed_constants import PAYLOADS, SETTINGS, decompress
from edgekit.validators.coreml_evaluator.graph import (
    Block,
    Constant,
    Function,
    NamedType,
    Operation,
    Reference,
    StoredConstant,
)
from edgekit.validators.coreml_evaluator.protobuf_values import ValueReader, attribute_text, value_type

OPSET_PREFIX = "CoreML"


def read_function(message: Any, *, name: str, values: ValueReader) -> Function:
    """Returns one function of the program.

    Args:
        message: The `Function` message.
        name: The function's name.
        values: Reads constants.

    Raises:
        ArtifactError: A broken constant, or an opset that is not Core ML's.
    """
    opset = message.opset
    number = opset.removeprefix(OPSET_PREFIX)
    if not number.isdigit() or opset not in message.block_specializations:
        found = ", ".join(message.block_specializations) or "none"
        raise ArtifactError(
            f'Function "{name}" asks for opset "{opset}" and has code for: {found}. Expected one CoreML opset '
            "(CoreML5 to CoreML9). The package is corrupt or not made by coremltools: export it again."
        )
    reader = _GraphReader(values=values)
    block = reader.read_block(message.block_specializations[opset])
    inputs = tuple(
        NamedType(name=item.name, type=value_type(item.type, where=f'Input "{item.name}"')) for item in message.inputs
    )
    return Function(
        name=name,
        opset=int(number),
        inputs=inputs,
        block=block,
        constants=reader.constants,
        stored_constants=tuple(stored for key, stored in reader.stored.items() if key not in reader.consumed),
    )


@final
@dataclass(slots=True, kw_only=True)
class _GraphReader:
    """Collects constants while the blocks are walked; names are unique within a function, nested blocks included."""

    values: ValueReader
    constants: dict[str, Constant] = field(default_factory=dict[str, Constant])
    stored: dict[str, StoredConstant] = field(default_factory=dict[str, StoredConstant])
    consumed: set[str] = field(default_factory=set[str])

    def read_block(self, message: Any) -> Block:
        operations: list[Operation] = []
        for item in message.operations:
            if item.type == "const":
                self._read_constant(item)
            elif item.type.startswith("constexpr_") and self._read_compressed(item):
                continue
            else:
                operations.append(self._read_operation(item))
        return Block(
            inputs=tuple(item.name for item in message.inputs),
            outputs=tuple(message.outputs),
            operations=tuple(operations),
        )

    def _read_constant(self, message: Any) -> None:
        output = message.outputs[0]
        value = self.values.read(message.attributes["val"], name=output.name)
        self.constants[output.name] = value
        if isinstance(value, np.ndarray):
            dtype = value_type(output.type, where=f'Constant "{output.name}"').dtype
            self.stored[output.name] = StoredConstant(
                name=output.name,
                shape=value.shape,
                dtype=dtype,
                stored_dtype=dtype,
                encoding=(),
                stored_bytes=self.values.stored_bytes(message.attributes["val"], name=output.name),
            )

    def _read_compressed(self, message: Any) -> bool:
        """Decompresses a constant. Returns False where the operator is not known: it is then reported as lacking."""
        name = message.outputs[0].name
        arguments: dict[str, Any] = {}
        stored_bytes = 0
        stored_dtypes: dict[str, str] = {}
        encoding = [message.type]
        # Up to iOS 17 the arguments are attributes, later inputs; inputs may name other compressed constants.
        literals = [(key, value) for key, value in message.attributes.items() if key != "name"]
        for key, argument in message.inputs.items():
            binding = argument.arguments[0]
            if binding.WhichOneof("binding") == "value":
                literals.append((key, binding.value))
                continue
            arguments[key] = self._named(binding.name, operator=message.type)
            inner = self.stored.get(binding.name)
            if inner is not None and binding.name not in self.consumed:
                self.consumed.add(binding.name)
                stored_bytes += inner.stored_bytes
                encoding.extend(inner.encoding)
                stored_dtypes[key] = inner.stored_dtype
        for key, value in literals:
            arguments[key] = self.values.read(value, name=f"{name}.{key}")
            stored_bytes += 0 if key in SETTINGS else self.values.stored_bytes(value, name=name)
            stored_dtypes[key] = value_type(value.type, where=f'Constant "{name}"').dtype
        results = self._decompressed(message, arguments)
        if results is None:
            return False
        if message.type.startswith("constexpr_lut_to") and "shape" in arguments:
            stored_dtypes["indices"] = f"uint{int(arguments['lut'].size).bit_length() - 1}"  # packed into uint8
        payload = next((stored_dtypes[key] for key in PAYLOADS if key in stored_dtypes), "")
        self._keep(message, results, payload, tuple(encoding), stored_bytes)
        return True

    def _decompressed(self, message: Any, arguments: dict[str, Any]) -> tuple[Any, ...] | None:
        name = message.outputs[0].name
        try:
            results = decompress(message.type, arguments)
        except (KeyError, ValueError, IndexError) as error:
            raise ArtifactError(
                f'Constant "{name}" ({message.type}) cannot be decompressed: {error}. '
                "The package is corrupt: export it again."
            ) from error
        if results is None:
            return None
        for output, result in zip(message.outputs, results, strict=True):
            declared = value_type(output.type, where=f'Constant "{name}"').fixed_shape
            if declared != result.shape:
                raise ArtifactError(
                    f'Constant "{name}" ({message.type}) decompresses to shape {list(result.shape)}, but is declared '
                    f"with {list(declared or ())}. The package is corrupt: export it again."
                )
        return results

    def _keep(
        self, message: Any, results: tuple[Any, ...], payload: str, encoding: tuple[str, ...], stored_bytes: int
    ) -> None:
        """Files the results; of an operator with a mask and values, the values count as the stored constant."""
        for output, result in zip(message.outputs, results, strict=True):
            self.constants[output.name] = result
        output, result = message.outputs[-1], results[-1]
        self.stored[output.name] = StoredConstant(
            name=output.name,
            shape=result.shape,
            dtype=value_type(output.type, where=f'Constant "{output.name}"').dtype,
            stored_dtype=payload,
            encoding=encoding,
            stored_bytes=stored_bytes,
        )

    def _named(self, name: str, *, operator: str) -> Constant:
        if name not in self.constants:
            raise ArtifactError(
                f'Operator {operator} needs constant "{name}", which the program does not define before it. '
                "The package is corrupt: export it again."
            )
        return self.constants[name]

    def _read_operation(self, message: Any) -> Operation:
        outputs = tuple(
            NamedType(name=item.name, type=value_type(item.type, where=f'Value "{item.name}"'))
            for item in message.outputs
        )
        inputs: dict[str, tuple[Reference | Constant, ...]] = {}
        for key, argument in message.inputs.items():
            inputs[key] = tuple(
                Reference(name=binding.name)
                if binding.WhichOneof("binding") == "name"
                else self.values.read(binding.value, name=f"{message.type}.{key}")
                for binding in argument.arguments
            )
        name = attribute_text(message.attributes, "name") or (outputs[0].name if outputs else "")
        return Operation(
            type=message.type,
            name=name,
            inputs=inputs,
            outputs=outputs,
            blocks=tuple(self.read_block(block) for block in message.blocks),
        )
