"""One ONNX node as its operator's builder sees it. Runs in a worker that has torch and onnx."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final

if TYPE_CHECKING:
    from torch import Tensor

Function: TypeAlias = "Callable[..., Tensor | tuple[Tensor, ...]]"
"""Takes one tensor (or None) for each input of the node, returns a tensor, or a tuple where the node has more "
"outputs."""


class UnsupportedError(Exception):
    """This node cannot be imported; the message says why. The importer names the node."""


@final
class Node:
    """A node with its inputs' example values.

    A builder asks for attributes and constant inputs and returns the function that runs the node. An input that was
    requested as a constant is baked into that function; every other constant input is stored as a weight.

    Args:
        operator: Operator type.
        attributes: By name; tensors as torch tensors, text as str.
        inputs: Example value of each input, None for an absent one.
        constant: Which inputs do not depend on the model's inputs.
        outputs: How many outputs are wanted, counted to the last one with a name.
        opset: Version of the operator set.
    """

    def __init__(
        self,
        *,
        operator: str,
        attributes: Mapping[str, Any],
        inputs: Sequence[Any],
        constant: Sequence[bool],
        outputs: int,
        opset: int,
    ) -> None:
        self.operator: Final = operator
        self.attributes: Final = attributes
        self.inputs: Final = tuple(inputs)
        self.is_constant: Final = tuple(constant)
        self.outputs: Final = outputs
        self.opset: Final = opset
        self.baked: Final[set[int]] = set()
        self.weights: Final[dict[int, Tensor]] = {}

    def has(self, i: int) -> bool:
        """Returns whether input `i` is given."""
        return i < len(self.inputs) and self.inputs[i] is not None

    def shape(self, i: int = 0) -> tuple[int, ...]:
        """Returns the shape of input `i`."""
        return tuple(self.inputs[i].shape)

    def rank(self, i: int = 0) -> int:
        """Returns the number of axes of input `i`."""
        return len(self.inputs[i].shape)

    def number(self, name: str, default: Any) -> Any:
        """Returns an attribute, or `default`."""
        return self.attributes.get(name, default)

    def constant(self, i: int, what: str) -> Tensor:
        """Returns the value of input `i` and bakes it into the function.

        Raises:
            UnsupportedError: it depends on the model's inputs.
        """
        if not self.is_constant[i]:
            raise UnsupportedError(f"its {what} depends on the model's inputs; it must be constant")
        self.baked.add(i)
        return self.inputs[i]

    def integers(self, i: int, what: str) -> list[int]:
        """Returns constant input `i` as a list of integers, baked in."""
        return [int(value) for value in self.constant(i, what).reshape(-1).tolist()]

    def replace(self, i: int, tensor: Tensor) -> None:
        """Stores another tensor than the constant input `i` as the weight: a transposed or reordered one."""
        self.weights[i] = tensor

    def axes(self, position: int, since: int, default: list[int] | None = None) -> list[int] | None:
        """Returns axes, which were an attribute before opset `since` and are an input since then."""
        if self.opset >= since:
            return self.integers(position, "axes") if self.has(position) else default
        found = self.attributes.get("axes")
        return [int(axis) for axis in found] if found is not None else default


Builder = Callable[[Node], Function]
"""Reads a node and returns the function that runs it."""
