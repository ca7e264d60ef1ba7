"""What edgekit uses of a TensorFlow graph, as Protocols: TensorFlow's own hints are incomplete."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol


class TFShape(Protocol):
    """A shape; a free size is None."""

    @property
    def rank(self) -> int | None:
        """Number of axes; None where even that is free."""
        ...

    def __iter__(self) -> Iterator[int | None]: ...


class TFType(Protocol):
    """A dtype."""

    @property
    def name(self) -> str:
        """Name of the dtype, as NumPy spells it."""
        ...

    @property
    def is_floating(self) -> bool:
        """Whether it is a float."""
        ...


class TFTensor(Protocol):
    """A value of a graph (tf.Tensor), or what is known of one (tf.TensorSpec)."""

    @property
    def name(self) -> str:
        """Name of the tensor."""
        ...

    @property
    def shape(self) -> TFShape:
        """Shape of the tensor."""
        ...

    @property
    def dtype(self) -> TFType:
        """Dtype of the tensor."""
        ...

    @property
    def op(self) -> TFOperation:
        """The operator that makes it."""
        ...

    @property
    def value_index(self) -> int:
        """Which of that operator's outputs it is."""
        ...


class TFOperation(Protocol):
    """An operator of a graph (tf.Operation)."""

    @property
    def name(self) -> str:
        """Name of the operator, unique in its graph."""
        ...

    @property
    def type(self) -> str:
        """Kind of operator: Conv2D."""
        ...

    @property
    def inputs(self) -> Sequence[TFTensor]:
        """The values that it reads."""
        ...

    @property
    def outputs(self) -> Sequence[TFTensor]:
        """The values that it makes."""
        ...

    @property
    def node_def(self) -> Any:
        """Its message, a NodeDef."""
        ...

    def get_attr(self, name: str) -> Any:
        """Returns an attribute's value."""
        ...


class TFGraph(Protocol):
    """A graph (tf.Graph)."""

    def get_operations(self) -> list[TFOperation]:
        """Returns its operators."""
        ...

    def _get_function(self, name: str, /) -> Any:
        """Returns the function with a name."""
        ...


class TFFunction(Protocol):
    """A concrete function: a graph that can be called."""

    @property
    def graph(self) -> TFGraph:
        """Its graph."""
        ...

    @property
    def inputs(self) -> Sequence[TFTensor]:
        """Its inputs."""
        ...

    @property
    def outputs(self) -> Sequence[TFTensor]:
        """Its outputs."""
        ...

    @property
    def structured_input_signature(self) -> tuple[Any, dict[str, TFTensor]]:
        """What it takes: positional and named arguments."""
        ...

    @property
    def structured_outputs(self) -> Mapping[str, TFTensor]:
        """What it returns, by name."""
        ...

    def __call__(self, **inputs: TFTensor) -> Mapping[str, TFTensor]:
        """Returns its outputs by name."""
        ...
