"""The torch module that an ONNX graph becomes: one child module a node. Imports torch: only the importer imports it."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, final

import torch

from edgekit.sources.onnx_to_torch.node import Function

if TYPE_CHECKING:
    from torch import Tensor, nn

_WEIGHT_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "BatchNormalization": ("x", "weight", "bias", "running_mean", "running_var"),
    "Gather": ("weight", "indices"),
}
"""Names of stored inputs by operator, where they are not x, weight, bias."""

_USUAL: Final = ("x", "weight", "bias")


def _own_parameter(tensor: Tensor) -> nn.Parameter:
    return torch.nn.Parameter(tensor, requires_grad=False)


@final
class StepModule(torch.nn.Module):  # type: ignore[misc]  # torch is untyped here
    """One node: its function and its constant inputs.

    Args:
        operator: ONNX operator type.
        function: Takes one argument for each input.
        constants: Stored inputs by position.
        arity: Number of inputs of the node.
        parameter: Makes a parameter, or finds one that holds the same.
    """

    def __init__(
        self,
        operator: str,
        function: Function,
        constants: Mapping[int, Tensor],
        arity: int,
        parameter: Callable[[Tensor], nn.Parameter] = _own_parameter,
    ) -> None:
        super().__init__()
        self.operator = operator
        self._parameter = parameter
        self._function = function
        self._arity = arity
        self._places: dict[int, str] = {}
        if isinstance(getattr(function, "layer", None), torch.nn.Module):
            self.layer = function.layer  # type: ignore[attr-defined]  # a recurrent layer holds its own weights
        names = _WEIGHT_NAMES.get(operator, _USUAL)
        for i, tensor in constants.items():
            name = names[i] if i < len(names) and names[i] not in ("x", "indices") else f"constant_{i}"
            self._store(i, name, tensor)

    def _store(self, i: int, name: str, tensor: Tensor) -> None:
        if tensor.is_floating_point() and name not in ("running_mean", "running_var"):
            self.register_parameter(name, self._parameter(tensor))
        else:
            self.register_buffer(name, tensor)
        self._places[i] = name

    def set_bias(self, value: Tensor) -> None:
        """Stores a bias as third input."""
        self._store(2, "bias", value)
        self._arity = max(self._arity, 3)

    def forward(self, inputs: dict[int, Tensor]) -> Tensor | tuple[Tensor, ...]:
        """Runs the node.

        Args:
            inputs: The inputs that are not constant, by position.
        """
        arguments = [
            inputs.get(i, getattr(self, self._places[i]) if i in self._places else None) for i in range(self._arity)
        ]
        return self._function(*arguments)


@final
class ImportedModule(torch.nn.Module):  # type: ignore[misc]  # torch is untyped here
    """A graph as a list of steps over tensors by name.

    Args:
        inputs: Names of the inputs, in order.
        outputs: Names of the outputs, in order.
    """

    def __init__(self, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        super().__init__()
        self._inputs = tuple(inputs)
        self._outputs = tuple(outputs)
        self._steps: list[tuple[str, dict[int, str], list[str]]] = []
        self._aliases: dict[str, str] = {}
        self._linear: dict[str, StepModule] = {}
        self._constants: dict[str, str] = {}
        self._shared: dict[tuple[tuple[int, ...], bytes], nn.Parameter] | None = None

    @contextmanager
    def shared_weights(self) -> Generator[None]:
        """Lets steps that are added meanwhile share weights of equal values: those of the turns of one loop."""
        outer, self._shared = self._shared, {} if self._shared is None else self._shared
        yield
        self._shared = outer

    def _parameter(self, tensor: Tensor) -> nn.Parameter:
        if self._shared is None:
            return _own_parameter(tensor)
        key = tuple(tensor.shape), hashlib.sha256(tensor.contiguous().numpy().tobytes()).digest()
        return self._shared.setdefault(key, _own_parameter(tensor))

    def add_step(
        self,
        *,
        name: str,
        operator: str,
        function: Function,
        inputs: dict[int, str],
        constants: Mapping[int, Tensor],
        arity: int,
        outputs: list[str],
    ) -> None:
        """Appends a node as a child module with the dotted `name`, made unique."""
        step = StepModule(operator, function, constants, arity, self._parameter)
        folder, _, leaf = name.rpartition(".")
        owner, path = self._owner(folder)
        free = next(word for i in itertools.count() if not hasattr(owner, word := f"{leaf}_{i}" if i else leaf))
        owner.add_module(free, step)
        path = f"{path}.{free}" if path else free
        self._steps.append((path, {i: self._aliases.get(n, n) for i, n in inputs.items()}, outputs))
        if function is torch.nn.functional.linear:
            self._linear[outputs[0]] = step

    def linear_layer(self, output: str) -> StepModule | None:
        """Returns the step without a bias that is a linear layer and makes `output`, or None."""
        return self._linear.get(output)

    def add_alias(self, name: str, existing: str) -> None:
        """Makes `name` another name of a tensor that a step makes."""
        self._aliases[name] = self._aliases.get(existing, existing)
        self._linear.pop(existing, None)

    def add_constant(self, name: str, value: Tensor) -> None:
        """Stores an output that does not depend on the inputs."""
        leaf = f"constant_output_{len(self._constants)}"
        self.register_buffer(leaf, value)
        self._constants[name] = leaf

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Returns the outputs: a tensor, or a tuple."""
        values: dict[str, Any] = dict(zip(self._inputs, inputs, strict=True))
        for path, names, outputs in self._steps:
            step = self.get_submodule(path)
            result = step({i: values[name] for i, name in names.items()})
            values |= dict(zip(outputs, result if isinstance(result, tuple) else (result,), strict=False))
        # A constant that is returned must be a new tensor: a graph cannot return its own buffer.
        found = tuple(
            getattr(self, self._constants[name]).clone()
            if name in self._constants
            else values[self._aliases.get(name, name)]
            for name in self._outputs
        )
        return found[0] if len(found) == 1 else found

    def _owner(self, path: str) -> tuple[nn.Module, str]:
        """Returns the module at a dotted path, made where it is missing, and the path that it really has."""
        module: nn.Module = self
        parts: list[str] = []
        for part in filter(None, path.split(".")):
            children = dict(module.named_children())
            # A step's own attribute, or a method, cannot be a folder of modules.
            free = part if part in children or not hasattr(module, part) else f"{part}_"
            if free not in children:
                module.add_module(free, torch.nn.Module())
            module = module.get_submodule(free)
            parts.append(free)
        return module, ".".join(parts)
