"""What edgekit uses of a TFLite flatbuffer, as Protocols.

The classes that ai-edge-litert ships are generated from the schema and have no hints: to a type checker, each of their
attributes is None. Indices of tensors are -1 where an optional input is not given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class TFLiteBuffer(Protocol):
    """The bytes of a constant (BufferT).

    Attributes:
        data: Bytes; None where it has none.
        offset: Where the bytes lie in the file, if behind the flatbuffer; else 0 or 1.
        size: Their number, if they lie behind the flatbuffer.
    """

    data: NDArray[np.uint8] | None
    offset: int
    size: int


class TFLiteQuantization(Protocol):
    """How a tensor is quantized (QuantizationParametersT)."""

    scale: Sequence[float] | None
    zeroPoint: Sequence[int] | None  # noqa: N815  the schema's name


class TFLiteTensor(Protocol):
    """A value of a subgraph (TensorT).

    Attributes:
        name: Name; bytes where it was read from a file.
        shape: Shape; None for a scalar in some files.
        shapeSignature: The shape with -1 for the sizes that are free; None where none is.
        type: Number of its dtype in the schema's TensorType.
        buffer: Index of its buffer.
        quantization: How it is quantized.
    """

    name: bytes | str | None
    shape: Sequence[int]
    shapeSignature: Sequence[int] | None  # noqa: N815
    type: int
    buffer: int
    quantization: TFLiteQuantization | None


class TFLiteOperator(Protocol):
    """An operator of a subgraph (OperatorT).

    Attributes:
        opcodeIndex: Index of its code in the model.
        inputs: Indices of the tensors that it reads.
        outputs: Indices of the tensors that it writes.
        intermediates: Indices of tensors inside it, of recurrent operators.
        builtinOptions: Its attributes, of a class for each kind.
        builtinOptionsType: Number of that class in the schema.
    """

    opcodeIndex: int  # noqa: N815
    inputs: Sequence[int]
    outputs: Sequence[int]
    intermediates: Sequence[int] | None
    builtinOptions: Any  # noqa: N815
    builtinOptionsType: int  # noqa: N815


class TFLiteGraph(Protocol):
    """A subgraph (SubGraphT)."""

    tensors: list[TFLiteTensor]
    operators: list[TFLiteOperator]
    inputs: Sequence[int] | NDArray[np.int32]
    outputs: Sequence[int] | NDArray[np.int32]


class TFLiteOperatorCode(Protocol):
    """A kind of operator (OperatorCodeT); the larger one of its two codes counts."""

    builtinCode: int  # noqa: N815
    deprecatedBuiltinCode: int  # noqa: N815
    customCode: bytes | None  # noqa: N815
    version: int


class TFLiteEntry(Protocol):
    """Name of an input or output in a signature (TensorMapT)."""

    name: bytes | str
    tensorIndex: int  # noqa: N815


class TFLiteSignature(Protocol):
    """A signature (SignatureDefT)."""

    signatureKey: bytes | str  # noqa: N815
    subgraphIndex: int  # noqa: N815
    inputs: list[TFLiteEntry]
    outputs: list[TFLiteEntry]


class TFLiteMetadata(Protocol):
    """An entry of a file's metadata (MetadataT)."""

    name: bytes | str
    buffer: int


class TFLiteModel(Protocol):
    """A file (ModelT)."""

    operatorCodes: list[TFLiteOperatorCode]  # noqa: N815
    subgraphs: list[TFLiteGraph]
    buffers: list[TFLiteBuffer]
    signatureDefs: list[TFLiteSignature] | None  # noqa: N815
    metadata: list[TFLiteMetadata] | None

    def Pack(self, builder: Any, /) -> int:  # noqa: N802
        """Writes it into a flatbuffers builder; returns where."""
        ...
