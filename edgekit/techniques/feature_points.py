"""Where inside two networks features can be compared: the last value of each resolution. Runs in a worker with torch.

A student has fewer layers than its teacher and other names, but it shrinks the same image, or keeps the same sequence:
the last 4-D value of each (height, width), or the last 3-D value of each length, stands for the same stage in both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from edgekit.torch_program.graph_nodes import operator_name

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@final
class FeatureProbe:
    """Runs a network and keeps its features, by resolution.

    Args:
        network: A captured graph, or a torch.nn.Module.
    """

    def __init__(self, network: nn.Module) -> None:
        import torch

        self._network = network
        self._found: dict[tuple[int, ...], Tensor] = {}
        self._is_graph = isinstance(network, torch.fx.GraphModule)
        if not self._is_graph:
            for module in network.modules():
                if not list(module.children()):
                    module.register_forward_hook(self._note)

    def __call__(self, *inputs: Tensor) -> tuple[Any, dict[tuple[int, ...], Tensor]]:
        """Returns (outputs, resolution to the last value that has it, (batch, channels, ...))."""
        self._found = {}
        output = self._run_graph(inputs) if self._is_graph else self._network(*inputs)
        found, self._found = self._found, {}
        return output, found

    def _note(self, module: nn.Module, given: tuple[Tensor, ...], output: Any) -> None:
        del module, given
        if (resolution := _resolution(output)) is not None:
            self._found[resolution] = _channels_first(output)

    def _run_graph(self, inputs: tuple[Tensor, ...]) -> Any:
        import torch

        probe = self

        class Observer(torch.fx.Interpreter):  # type: ignore[misc]  # torch is Any here
            def run_node(self, n: torch.fx.Node) -> Any:
                value = super().run_node(n)
                if n.op == "call_function" and operator_name(n) and (resolution := _resolution(value)) is not None:
                    probe._found[resolution] = _channels_first(value)
                return value

        observer = Observer(self._network)
        observer.extra_traceback = False
        return observer.run(*inputs)


def regressors(student: FeatureProbe, teacher: FeatureProbe, inputs: tuple[Tensor, ...]) -> nn.ModuleDict:
    """Returns a torch.nn.ModuleDict: for each resolution that both have, a layer from the student's to the teacher's.

    Romero et al., "FitNets", 2015, section 2.2: the regressor is trained with the student and thrown away.

    Args:
        student: Run once, without gradients.
        teacher: The same.
        inputs: One tensor (batch, ...) for each input.
    """
    import torch

    with torch.no_grad():
        (_, mine), (_, theirs) = student(*inputs), teacher(*inputs)
    return torch.nn.ModuleDict(
        {
            key_of(place): torch.nn.Linear(mine[place].shape[1], theirs[place].shape[1], bias=False)
            for place in sorted(mine.keys() & theirs.keys())
        }
    )


def key_of(resolution: tuple[int, ...]) -> str:
    """Returns a resolution as a name: `16x16`."""
    return "x".join(map(str, resolution))


def _resolution(value: object) -> tuple[int, ...] | None:
    import torch

    if not isinstance(value, torch.Tensor) or not value.is_floating_point() or value.ndim not in (3, 4):
        return None
    found = tuple(int(size) for size in (value.shape[2:] if value.ndim == 4 else value.shape[1:2]))
    return found if max(found) > 1 else None


def _channels_first(value: Tensor) -> Tensor:
    return value if value.ndim == 4 else value.transpose(1, 2)
