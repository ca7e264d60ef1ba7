"""Opens a captured program for changes and captures it again. Runs in a worker that has torch."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgekit.samples import Samples
from edgekit.techniques.base import TorchModel
from edgekit.torch_program.graph_nodes import example_inputs_of
from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule


def open_graph(model: TorchModel) -> GraphModule:
    """Returns the program as a torch.fx.GraphModule with tensors of its own; its `get_attr` nodes are the weights."""
    return copy.deepcopy(model.program.module(check_guards=False))


def capture_graph(model: TorchModel, graph_module: GraphModule) -> TorchModel:
    """Returns the model with a changed graph, captured anew in canonical form.

    Args:
        model: Where the graph came from.
        graph_module: The changed graph; takes and returns what the old one did.
    """
    from edgekit.torch_program.canonical_program import canonical
    from edgekit.torch_program.trace_module import export_module

    graph_module.graph.eliminate_dead_code()
    graph_module.graph.lint()
    graph_module.recompile()
    examples = example_inputs_of(model.program)
    program = canonical(export_module(graph_module, examples, model.facts.source), examples, model.facts.source)
    return replace(model, program=program)


def with_tensors(model: TorchModel, tensors: Mapping[str, Tensor]) -> TorchModel:
    """Returns the model with other values in some of its weights; the graph stays.

    Args:
        model: Left alone.
        tensors: Dotted name of a parameter or buffer to its new value, same shape.
    """
    import torch

    # Its tensors are copied and its graph is shared: a copied graph would rename an input called `input`, as it does
    # with every name that Python has taken, and torch refuses a program whose signature has another name.
    graph = model.program.graph_module
    program = copy.deepcopy(model.program, {id(graph): graph})
    with torch.no_grad():
        for name, value in tensors.items():
            # Parameters and buffers lie in one dictionary, tensors that the graph holds as constants in another.
            held: dict[str, Any] = program.state_dict if name in program.state_dict else program.constants
            held[name] = _like(held[name], value)
    return replace(model, program=program)


def set_tensor(graph_module: GraphModule, name: str, value: Tensor) -> None:
    """Replaces the values of a parameter or buffer of a graph module in place."""
    import torch

    with torch.no_grad():
        tensor_of(graph_module, name).copy_(value)


def tensor_of(graph_module: GraphModule, name: str) -> Tensor:
    """Returns the parameter or buffer of a graph module with this dotted name."""
    found: Any = graph_module
    for part in name.split("."):
        found = getattr(found, part)
    return found


def tensor_beside(graph_module: GraphModule, name: str, leaf: str, value: Tensor) -> str:
    """Puts a parameter beside the tensor `name`, under its module and the name `leaf`; returns its dotted name.

    A parameter that is there already is replaced; unlike `set_tensor`, the new one may have another shape.
    """
    import torch

    path = name.rpartition(".")[0]
    owner = graph_module.get_submodule(path)
    vars(owner)["_buffers"].pop(leaf, None)
    setattr(owner, leaf, torch.nn.Parameter(value.detach().contiguous(), requires_grad=False))
    return f"{path}.{leaf}" if path else leaf


def _like(old: Tensor, value: Tensor) -> Tensor:
    import torch

    new = value.detach().to(old.dtype).reshape(old.shape).contiguous()
    return torch.nn.Parameter(new, requires_grad=False) if isinstance(old, torch.nn.Parameter) else new


def model_rows(model: TorchModel, samples: Samples, chosen: Iterable[int]) -> Iterator[tuple[Tensor, ...]]:
    """Yields samples as the model's inputs: one tensor for each, in the model's dtype.

    Args:
        model: Whose inputs they are.
        samples: Calibration samples.
        chosen: Which rows, in order.

    Raises:
        DataError: the samples do not fit the model.
    """
    import torch

    from edgekit.quantization.checks import check_calibration

    for row in check_calibration(samples.folder, model.facts.inputs).rows(chosen):
        yield tuple(map(torch.from_numpy, row))


def spread_rows(model: TorchModel, samples: Samples, limit: int) -> Iterator[tuple[Tensor, ...]]:
    """Yields at most `limit` samples as `model_rows` does, spread evenly over all of them."""
    import numpy as np

    count = min(samples.count, limit)
    chosen = np.unique(np.linspace(0, samples.count - 1, count).round().astype(np.int64))
    return model_rows(model, samples, [int(i) for i in chosen])


def add_buffer(graph_module: GraphModule, after: Node, name: str, tensor: Tensor) -> Node:
    """Registers a buffer under a free name and returns a `get_attr` node for it, placed after the node `after`."""
    wanted = f"{after.name}_{name}"
    while hasattr(graph_module, wanted):
        wanted += "_"
    graph_module.register_buffer(wanted, tensor.detach().clone())
    with after.graph.inserting_after(after):
        return after.graph.get_attr(wanted)


def replace_tensor(graph_module: GraphModule, name: str, value: Tensor) -> None:
    """Puts another tensor, which may have another shape, in the place of a parameter or buffer of a graph module."""
    import torch

    owner, _, leaf = name.rpartition(".")
    module = graph_module.get_submodule(owner)
    is_buffer = leaf in dict(module.named_buffers(recurse=False))
    setattr(module, leaf, value if is_buffer else torch.nn.Parameter(value, requires_grad=False))
