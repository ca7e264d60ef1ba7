"""Brings an ExportedProgram into the form that converters and analysis rely on. Runs in a worker that has torch.

The form: batch 1, positional tensor inputs, one tensor or a flat tuple out, no in-place operators where that can be
had, no dropout, identity or assertion, constants and batch norms folded, branches merged, no attention over nothing, no
dead code, names of modules kept (`nn_module_stack`).
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from edgekit.errors import ModelError
from edgekit.torch_program.broadcast_operands import use_broadcasting
from edgekit.torch_program.fold_batch_norm import fold_batch_norms
from edgekit.torch_program.fold_constants import fold_constants
from edgekit.torch_program.graph_nodes import is_in_place, operator_name, viewed
from edgekit.torch_program.inline_regions import inline_regions
from edgekit.torch_program.logical_masks import use_logical_operators
from edgekit.torch_program.make_functional import make_functional
from edgekit.torch_program.masked_lengths import use_whole_lengths
from edgekit.torch_program.masked_rows import open_masked_rows
from edgekit.torch_program.merge_branches import merge_branches
from edgekit.torch_program.named_activations import name_activations
from edgekit.torch_program.plain_memory import use_plain_memory
from edgekit.torch_program.real_numbers import use_real_numbers
from edgekit.torch_program.replace_operators import replace_operators
from edgekit.torch_program.rewrites.table import REWRITES
from edgekit.torch_program.single_precision import use_single_precision
from edgekit.torch_program.torch_protocols import Graph, Node
from edgekit.torch_program.trace_module import Bounds, check_graph, export_module, has_open_shapes, run_module

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram
    from torch.fx import GraphModule

_ASSERTIONS: Final = frozenset(
    {
        "_assert_scalar",
        "_assert_async",
        "_assert_tensor_metadata",
        "sym_constrain_range",
        "sym_constrain_range_for_size",
    }
)
_ALIASES: Final = frozenset({"alias", "detach", "detach_", "lift_fresh", "lift_fresh_copy"})
_BY_AMOUNTS: Final[Mapping[str, int]] = {"pad": 0, "constant_pad_nd": 0, "repeat": 1, "tile": 1}
"""Operators that return their input where each of their amounts is this one."""

_TOLERANCE: Final = 1e-4
"""Largest difference to the original outputs, relative to their largest value: folding rounds weights once more."""

HALF_TOLERANCE: Final = 0.05
"""The same where the original computed with the 8 bits of bfloat16 or the 11 of float16, and the graph does not."""


def canonical(
    program: ExportedProgram, examples: Sequence[Tensor], title: str, names: Sequence[str] | None = None
) -> ExportedProgram:
    """Returns the program in canonical form, captured with `examples`.

    Args:
        program: An ExportedProgram.
        examples: Its inputs in order, flattened, batch 1.
        title: For messages: what the user wrote.
        names: What to call the inputs; None keeps their names.

    Raises:
        ModelError: it changes its parameters, cannot be captured with these shapes, or computes something else then.
    """
    graph_module = program.module(check_guards=False)
    flatten_signature(graph_module)
    if names is not None:
        _rename_inputs(graph_module, names)
    inline_regions(graph_module)
    if has_open_shapes(graph_module):
        graph_module = _with_whole_lengths(program, graph_module, examples, title)
    if use_single_precision(graph_module):
        graph_module = _traced_again(graph_module, examples, title)
    expected = run_module(graph_module, examples, title)
    make_functional(graph_module, title)
    _drop_idle_operators(graph_module)
    changed = {part for node in graph_module.graph.nodes if is_in_place(node) for part in viewed(node.args[0])}
    fold_constants(graph_module, changed)
    if open_masked_rows(graph_module):
        fold_constants(graph_module, changed)
    if use_real_numbers(graph_module) + replace_operators(graph_module, REWRITES):
        fold_constants(graph_module, changed)
        _drop_idle_operators(graph_module)
    _fold_layers(graph_module)
    use_broadcasting(graph_module)
    name_activations(graph_module)
    use_logical_operators(graph_module)
    use_plain_memory(graph_module)
    graph_module.graph.eliminate_dead_code()
    graph_module.delete_all_unused_submodules()
    graph_module.recompile()
    result = export_module(graph_module, examples, title)
    _drop_assertions(result.graph_module)
    check_equal(expected, run_module(result.module(check_guards=False), examples, title), title)
    return result


def folded_program(program: ExportedProgram, examples: Sequence[Tensor], title: str, bounds: Bounds) -> ExportedProgram:
    """Returns a program with open sizes as far in canonical form as holds at every size.

    Rewrites read shapes as numbers, so none is made; what follows from weights alone is folded.

    Args:
        program: Captured with those sizes open.
        examples: Its inputs in order, flattened, at the largest sizes.
        title: For messages: what the user wrote.
        bounds: The open sizes.
    """
    graph_module = program.module(check_guards=False)
    flatten_signature(graph_module)
    inline_regions(graph_module)
    _drop_idle_operators(graph_module)
    _fold_layers(graph_module)
    graph_module.graph.eliminate_dead_code()
    graph_module.recompile()
    result = export_module(graph_module, examples, title, bounds)
    _drop_assertions(result.graph_module)
    return result


def _fold_layers(graph_module: GraphModule) -> None:
    """Folds what is linear in each channel into the convolutions before it, and those that are added into one."""
    fold_batch_norms(graph_module)
    while merge_branches(graph_module):
        fold_batch_norms(graph_module)  # a batch norm of the sum


def _with_whole_lengths(
    program: ExportedProgram, graph_module: GraphModule, examples: Sequence[Tensor], title: str
) -> GraphModule:
    """Returns the graph with selections by masks as whole lengths.

    Raises:
        ModelError: a shape in it depends on values in another way.
    """
    expected = run_module(graph_module, examples, title)
    make_functional(graph_module, title)
    _drop_idle_operators(graph_module)
    if not use_whole_lengths(graph_module):
        check_graph(program.graph_module, title)
    again = _traced_again(graph_module, examples, title)
    check_equal(expected, run_module(again, examples, title), title)
    return again


def _traced_again(graph_module: GraphModule, examples: Sequence[Tensor], title: str) -> GraphModule:
    """Returns a graph with the shapes and types that its tensors have by now."""
    again = export_module(graph_module, examples, title).module(check_guards=False)
    flatten_signature(again)
    return again


def check_equal(expected: Sequence[Tensor], got: Sequence[Tensor], title: str, tolerance: float = _TOLERANCE) -> None:
    """Checks that two runs gave the same outputs.

    Args:
        expected: Outputs of the one.
        got: Outputs of the other.
        title: For messages: what the user wrote.
        tolerance: Largest difference, relative to an output's largest value.

    Raises:
        ModelError: an output differs by more than rounding.
    """
    for i, (left, right) in enumerate(zip(expected, got, strict=True)):
        if left.shape != right.shape:
            difference = f"shape {tuple(right.shape)} instead of {tuple(left.shape)}"
        elif not left.numel():
            continue
        else:
            finite = left.double().nan_to_num()
            largest = float((finite - right.double().nan_to_num()).abs().max())
            if largest <= tolerance * max(1.0, float(finite.abs().max())):
                continue
            difference = f"values that differ by up to {largest:.3g}"
        raise ModelError(
            f"{title}: the captured graph gives {difference} in output {i}. The model draws random numbers, keeps "
            "state between calls or changes its inputs; its forward must depend on its inputs alone."
        )


def flatten_signature(graph_module: GraphModule) -> None:
    """Makes inputs positional and outputs flat: a single tensor stays one, more become a tuple."""
    from torch.fx.graph import CodeGen

    graph = graph_module.graph
    for node in list(graph.nodes):
        if node.op == "call_module" and "_guards" in str(node.target):
            graph.erase_node(node)
    # A plain CodeGen drops the pytree specs of the original call.
    graph.set_codegen(CodeGen())
    output = next(node for node in graph.nodes if node.op == "output")
    flat = tuple(output.args[0]) if isinstance(output.args[0], (tuple, list)) else (output.args[0],)
    flat = tuple(_copied(graph, node) for node in flat if node is not None)
    output.args = (flat[0] if len(flat) == 1 else flat,)
    for node in list(graph.nodes):
        if node.op == "placeholder" and not node.users and not hasattr(node.meta.get("val"), "shape"):
            graph.erase_node(node)  # None, or a number that the graph holds as a constant
    # Hooks check the original, nested inputs.
    graph_module._forward_pre_hooks.clear()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  there is no public way
    graph_module.recompile()


def _copied(graph: Graph, result: Node) -> Node:
    """Returns a copy of an output that is an input too: formats tell tensors apart by their names."""
    import torch

    if result.op != "placeholder":
        return result
    with graph.inserting_before(next(node for node in graph.nodes if node.op == "output")):
        copy = graph.call_function(torch.ops.aten.clone.default, (result,))
    copy.meta = dict(result.meta)
    return copy


def _rename_inputs(graph_module: GraphModule, names: Sequence[str]) -> None:
    """Gives the inputs these names, as far as Python allows: they are a function's arguments."""
    placeholders = [node for node in graph_module.graph.nodes if node.op == "placeholder"]
    for node, name in zip(placeholders, names, strict=True):
        word = re.sub(r"\W", "_", name)
        word = f"_{word}" if not word or word[0].isdigit() or keyword.iskeyword(word) else word
        node._rename(word)  # noqa: SLF001  the only way that keeps names unique
        node.target = node.name
    graph_module.recompile()


def _drop_assertions(graph_module: GraphModule) -> None:
    """Removes the checks of dtypes that torch.export adds; nothing reads them."""
    for node in list(graph_module.graph.nodes):
        if operator_name(node) in _ASSERTIONS and not node.users:
            graph_module.graph.erase_node(node)
    graph_module.recompile()


def _drop_idle_operators(graph_module: GraphModule) -> None:
    """Removes assertions, and operators that return their input: idle dropout, detach, casts, pads by nothing."""
    graph = graph_module.graph
    for node in list(graph.nodes):
        name = operator_name(node)
        if name in _ASSERTIONS:
            graph.erase_node(node)
        elif name and _is_idle(node, name):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    graph.lint()


def _is_idle(node: Node, name: str) -> bool:
    if name in _ALIASES:
        return True
    if "dropout" in name:
        return len(node.args) > 2 and node.args[2] is False
    if name in _BY_AMOUNTS:
        # XNNPACK refuses a quantized pad by nothing when the file is loaded.
        before = getattr(node.args[0], "meta", {})["val"]
        amounts: Sequence[Any] = node.args[1]
        idle = all(type(amount) is int and amount == _BY_AMOUNTS[name] for amount in amounts)
        return idle and bool(before.ndim == node.meta["val"].ndim)
    if name == "expand":
        return bool(getattr(node.args[0], "meta", {})["val"].shape == node.meta["val"].shape)
    if name in ("to", "_to_copy"):
        source = getattr(node.args[0], "meta", {}).get("val")
        value: Any = node.meta.get("val")
        known = ("dtype", "device", "layout", "copy", "non_blocking", "memory_format")
        plain = all(key in known for key in node.kwargs)
        return source is not None and plain and value.dtype == source.dtype and value.device == source.device
    return False
