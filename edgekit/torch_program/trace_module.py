"""Captures a torch module as an ExportedProgram, and tells in the user's words why one cannot be. Runs in a worker."""

from __future__ import annotations

import inspect
import re
import traceback
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from edgekit.errors import ModelError
from edgekit.task.nested_values import mapped
from edgekit.task.user_code import describe_failure, place_words
from edgekit.torch_program.attention_paths import plain_attention
from edgekit.torch_program.example_call import ExampleCall, taking_own_arguments
from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.export import ExportedProgram
    from torch.fx import GraphModule

    Examples = ExampleCall | Sequence[Tensor]
from edgekit.torch_program.graph_nodes import attribute, operator_name
from edgekit.torch_program.inline_regions import BRANCHES, body_places, depends_on_sizes
from edgekit.torch_program.keyword_names import rename_keywords
from edgekit.torch_program.number_buffers import numbers_known
from edgekit.torch_program.program_schema import NAMESPACES
from edgekit.torch_program.rewrites.table import REWRITES
from edgekit.torch_program.structured_outputs import flatten_outputs, returning_flat

Bounds = Sequence[dict[int, Any]]
"""For each tensor of a call torch's bounds (`torch.export.Dim`) by axis, for those that stay open."""

_FIXED_GRAPH: Final = (
    "An exported graph is fixed: replace a branch on values by torch.where or torch.cond, and .item(), .tolist(), "
    "nonzero and boolean masks by operations whose output shape does not depend on values (topk, masked_fill, padding "
    "to a fixed length); or leave that step outside the model."
)

_FRAME: Final = re.compile(r'File "([^"]+)", line (\d+)')

_ON_VALUES: Final = "the model's control flow or a shape depends on the values of a tensor"


def export_module(
    module: nn.Module, examples: Examples, title: str, bounds: Bounds | None = None, *, lengths: bool = False
) -> ExportedProgram:
    """Returns `module` as an ExportedProgram with the shapes of `examples`.

    Args:
        module: A torch.nn.Module in eval mode.
        examples: What it is called with: tensors, or its arguments with tensors inside.
        title: For messages: what the user wrote.
        bounds: Sizes that stay open; None fixes all of them.
        lengths: Lengths that depend on values may be there: `canonical` is to replace them.

    Raises:
        ModelError: torch cannot capture it, or a shape in it depends on values.
    """
    import torch

    try:
        with torch.no_grad(), plain_attention(), warnings.catch_warnings():
            # torch's own recurrent layers keep a list of their weights, and export warns of it.
            warnings.filterwarnings("ignore", message="The tensor attributes? .*_flat_weights")
            program = _exported(module, examples, title, bounds)
    except Exception as error:
        raise ModelError(_why_not_captured(error, title)) from error
    rename_keywords(program)
    check_graph(program.graph_module, title, lengths=lengths)
    return program


def _exported(module: nn.Module, examples: Examples, title: str, bounds: Bounds | None) -> ExportedProgram:
    """Returns the program; what depends on values is tried again with the numbers in buffers known."""
    try:
        return _export(module, examples, title, bounds)
    except Exception as error:
        if not _depends_on_values(error):
            raise
        with numbers_known(module, lambda: run_module(module, examples, title)) as any_number:
            if not any_number:
                raise
            try:
                return _export(module, examples, title, bounds)
            except Exception:  # the first error is about the module as the user knows it
                raise error from None


def _export(module: nn.Module, examples: Examples, title: str, bounds: Bounds | None) -> ExportedProgram:
    import torch

    with _called_with(module, examples) as (args, kwargs), returning_flat(module, title):
        dynamic = None if bounds is None else _dynamic_shapes(module, examples, bounds)
        return torch.export.export(module, args, kwargs, dynamic_shapes=dynamic, strict=False)


def _dynamic_shapes(module: nn.Module, examples: Examples, bounds: Bounds) -> Any:
    """Returns the bounds as torch.export takes them: in the containers of the call, by the forward's names."""
    if not isinstance(examples, ExampleCall):
        return tuple(bounds)
    left = iter(bounds)
    plain = examples.in_plain_containers()
    args, kwargs = mapped((plain.args, dict(plain.kwargs)), lambda _: next(left))
    return dict(inspect.signature(module.forward).bind(*args, **kwargs).arguments)


def run_module(module: nn.Module, examples: Examples, title: str) -> tuple[Tensor, ...]:
    """Returns the outputs of `module`, flattened in order; see `run_named`."""
    return run_named(module, examples, title)[0]


def run_named(module: nn.Module, examples: Examples, title: str) -> tuple[tuple[Tensor, ...], list[str] | None]:
    """Returns the outputs of `module`, flattened in order, and what its keys and fields call them.

    The names are None where the outputs have none of their own.

    Raises:
        ModelError: its forward failed, or it returns something that holds anything but tensors.
    """
    import torch

    try:
        with torch.no_grad(), _called_with(module, examples) as (args, kwargs):
            value = module(*args, **kwargs)
    except ModelError:  # of a TorchScript graph, which knows what it cannot run
        raise
    except Exception as error:
        raise ModelError(
            f"{title}: the model's forward failed on the example inputs "
            f"({describe(examples)}):\n{describe_failure(error)}"
        ) from error
    found = flatten_outputs(value, title)
    names = [name for name, _ in found]
    return tuple(tensor for _, tensor in found), names if any(names) else None


@contextmanager
def _called_with(
    module: nn.Module, examples: Examples
) -> Generator[tuple[tuple[Any, ...], dict[str, Any]], None, None]:
    """Gives what to call the module with meanwhile."""
    if not isinstance(examples, ExampleCall):
        yield tuple(examples), {}
        return
    plain = examples.in_plain_containers()
    with taking_own_arguments(module, examples):
        yield plain.args, dict(plain.kwargs)


def check_graph(graph_module: GraphModule, title: str, *, lengths: bool = False) -> None:
    """Checks that every shape is fixed and that equal inputs give equal outputs; lengths may depend on values if so.

    Raises:
        ModelError: a shape depends on values, a branch is inside, or numbers are drawn at random.
    """
    import torch
    from torch._ops import HigherOrderOperator

    for node in graph_module.graph.nodes:
        if node.op != "call_function":
            continue
        if places := body_places(node):
            if len(places) == BRANCHES and depends_on_sizes(node):
                raise ModelError(
                    f"{title}: torch.cond chooses by the size of an input{_in_layer(node)}{_where(node)}, and sizes on "
                    "both sides are allowed. No format chooses by a size: bound the dimension so that one side is "
                    "always taken, fix the size, or compute the condition from a tensor."
                )
            for place in places:
                check_graph(attribute(graph_module, node.args[place]), title)
            continue
        if isinstance(node.target, HigherOrderOperator):
            raise ModelError(
                f"{title}: the model uses torch.{node.target.name()}{_in_layer(node)}{_where(node)}, which edgekit "
                f"converts to no format. {_FIXED_GRAPH}"
            )
        if getattr(node.target, "namespace", "aten") not in NAMESPACES and operator_name(node) not in REWRITES:
            raise ModelError(
                f"{title}: the model calls {node.target}{_in_layer(node)}{_where(node)}, a library's own operator that "
                "no format knows. Let the model compute this with torch's operators (libraries often have such an "
                "implementation to choose), or leave that step outside the model."
            )
        if lengths and _comes_of_lengths(node):
            continue
        if _reads_values(node):
            raise ModelError(f"{title}: {_ON_VALUES}{_where(node)}. {_FIXED_GRAPH}")
        if _has_open_shape(node):
            raise ModelError(
                f"{title}: the shape of {node.target} depends on the values of a tensor{_where(node)}. {_FIXED_GRAPH}"
            )
        tags = getattr(node.target, "tags", ())
        if torch.Tag.nondeterministic_seeded in tags and not _is_idle_dropout(node):
            raise ModelError(
                f"{title}: the model draws random numbers ({node.target}){_where(node)}, so its outputs cannot be "
                "reproduced on a device. Make them an input, or switch them off in eval mode."
            )


def _is_idle_dropout(node: Node) -> bool:
    """Returns whether a node that is marked as random draws nothing: dropout in eval mode, attention without it."""
    name = str(node.target)
    if "dropout" in name:
        return len(node.args) > 2 and node.args[2] is False
    if "scaled_dot_product" in name:
        share: float = node.args[4] if len(node.args) > 4 else node.kwargs.get("dropout_p", 0.0)
        return share == 0.0
    return "lstm" in name or "gru" in name or "rnn_" in name or "rrelu" in name


def _results(node: Node) -> tuple[object, ...]:
    value = node.meta.get("val")
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _reads_values(node: Node) -> bool:
    """Returns whether a node turns a tensor's value into a number of the program; a size of an input is none."""
    import torch
    from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

    numbers = (torch.SymInt, torch.SymFloat, torch.SymBool)
    return any(isinstance(value, numbers) and bool(free_unbacked_symbols(value)) for value in _results(node))


def _has_open_shape(node: Node) -> bool:
    import torch
    from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

    tensors = [value for value in _results(node) if isinstance(value, torch.Tensor)]
    sizes = [size for tensor in tensors for size in tensor.shape if isinstance(size, torch.SymInt)]
    return any(bool(free_unbacked_symbols(size)) for size in sizes)


def has_open_shapes(graph_module: GraphModule) -> bool:
    """Returns whether a shape depends on the values of a tensor."""
    return any(_has_open_shape(node) for node in graph_module.graph.nodes)


def _comes_of_lengths(node: Node) -> bool:
    """Returns whether a node has a length that depends on values, reads one as a number, or asserts something of it."""
    name = operator_name(node)
    return _has_open_shape(node) or name.startswith(("sym_", "_assert")) or not name


def _in_layer(node: Node) -> str:
    """Returns ` in the layer head.branch`, or nothing for the model's own forward."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    name = str(stack[-1][0]) if stack else ""
    return f" in the layer {name}" if name else ""


def _where(node: Node) -> str:
    """Returns ` at file:line: source` of the user's line that made a node, from the trace torch keeps; or nothing."""
    lines = [line.strip() for line in (node.meta.get("stack_trace") or "").splitlines()]
    frames: list[traceback.FrameSummary] = []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if found := _FRAME.match(line):
            code = "" if _FRAME.match(following) else following
            frames.append(traceback.FrameSummary(found[1], int(found[2]), "", lookup_line=False, line=code))
    return place_words(frames)


def _depends_on_values(error: Exception) -> bool:
    from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

    text = "".join(traceback.format_exception_only(error))
    return isinstance(error, GuardOnDataDependentSymNode) or "data-dependent" in text or "DataDependentOutput" in text


def _why_not_captured(error: Exception, title: str) -> str:
    place = place_words(traceback.extract_tb(error.__traceback__))
    text = "".join(traceback.format_exception_only(error))
    if _depends_on_values(error):
        return f"{title}: {_ON_VALUES}{place}. {_FIXED_GRAPH}"
    first = next((line for line in text.splitlines() if line.strip()), type(error).__name__)
    return (
        f"{title}: torch.export cannot capture the model{place}. {first}\n"
        "The model runs, but holds something that has no graph (calls into NumPy or other libraries, printing of "
        "values, custom autograd functions). Rewrite that line with torch operations, or leave that step outside the "
        "model."
    )


def describe(examples: Examples) -> str:
    """Returns dtypes and shapes for a message: `float32 (1, 3, 8, 8), int64 (1, 16)`."""
    tensors = examples.tensors if isinstance(examples, ExampleCall) else examples
    return ", ".join(f"{str(t.dtype).removeprefix('torch.')} {tuple(t.shape)}" for t in tensors)
