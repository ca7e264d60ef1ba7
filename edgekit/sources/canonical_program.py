"""Brings an ExportedProgram into the form that converters and analysis rely on. Runs in a worker that has torch.

The form: batch 1, positional tensor inputs, one tensor or a flat tuple out, no in-place operators where that can be had,
no dropout, identity or assertion, constants and batch norms folded, no dead code, names of modules kept (`nn_module_stack`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from edgekit.errors import ModelError
from edgekit.sources.fold_batch_norm import fold_batch_norms
from edgekit.sources.fold_constants import fold_constants
from edgekit.sources.trace_module import export_module, run_module

_ASSERTIONS: Final = frozenset(
    {
        "aten::_assert_scalar",
        "aten::_assert_async",
        "aten::_assert_tensor_metadata",
        "aten::sym_constrain_range",
        "aten::sym_constrain_range_for_size",
    }
)
_ALIASES: Final = frozenset({"aten::alias", "aten::detach", "aten::detach_", "aten::lift_fresh"})
_TOLERANCE: Final = 1e-4
"""Largest difference to the original outputs, relative to their largest value: folding rounds weights once more."""


def canonical(program: Any, examples: Sequence[Any], title: str) -> Any:
    """Returns the program in canonical form, captured with `examples`.

    Args:
        program: An ExportedProgram.
        examples: Its inputs in order, flattened, batch 1.
        title: For messages: what the user wrote.

    Raises:
        ModelError: it changes its own buffers, cannot be captured with these shapes, or computes something else then.
    """
    graph_module = program.module(check_guards=False)
    _flatten_signature(graph_module)
    expected = run_module(graph_module, examples, title)
    _make_functional(graph_module, title)
    _drop_idle_operators(graph_module)
    fold_constants(graph_module)
    fold_batch_norms(graph_module)
    graph_module.graph.eliminate_dead_code()
    graph_module.delete_all_unused_submodules()
    graph_module.recompile()
    result = export_module(graph_module, examples, title)
    _drop_assertions(result.graph_module)
    check_equal(expected, run_module(result.module(check_guards=False), examples, title), title)
    return result


def check_equal(expected: Sequence[Any], got: Sequence[Any], title: str) -> None:
    """Checks that two runs gave the same outputs.

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
            if largest <= _TOLERANCE * max(1.0, float(finite.abs().max())):
                continue
            difference = f"values that differ by up to {largest:.3g}"
        raise ModelError(
            f"{title}: the captured graph gives {difference} in output {i}. The model draws random numbers, keeps state "
            "between calls or changes its inputs; its forward must depend on its inputs alone."
        )


def _flatten_signature(graph_module: Any) -> None:
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
    output.args = (flat[0] if len(flat) == 1 else flat,)
    for node in list(graph.nodes):
        if node.op == "placeholder" and not node.users and not hasattr(node.meta.get("val"), "shape"):
            graph.erase_node(node)  # None, or a number that the graph holds as a constant
    # Hooks check the original, nested inputs.
    graph_module._forward_pre_hooks.clear()
    graph_module.recompile()


def _schema_name(node: Any) -> str:
    schema = getattr(node.target, "_schema", None)
    return schema.name if node.op == "call_function" and schema is not None else ""


def _is_in_place(node: Any) -> bool:
    schema = getattr(node.target, "_schema", None)
    return node.op == "call_function" and schema is not None and schema.is_mutable


def _is_view(node: Any) -> bool:
    """Returns whether a node's output shares memory with its input."""
    schema = getattr(node.target, "_schema", None)
    return schema is not None and any(
        result.alias_info is not None and not result.alias_info.is_write for result in schema.returns
    )


def _make_functional(graph_module: Any, title: str) -> None:
    """Replaces in-place operators by the others, where nobody else holds a view of what they change.

    Raises:
        ModelError: the model changes a buffer of its own.
    """
    graph = graph_module.graph
    for node in list(graph.nodes):
        if not _is_in_place(node) or not node.args or not hasattr(node.args[0], "op"):
            continue
        base = node.args[0]
        if base.op == "get_attr":
            raise ModelError(
                f'{title}: the model changes its own tensor "{base.target}" ({node.target}) when it runs. An artifact keeps no '
                "state between calls: return the new value as an output and pass it in as an input."
            )
        functional = _functional(node.target)
        if functional is None or _is_view(base) or any(_is_view(user) for user in base.users if user is not node):
            continue
        with graph.inserting_before(node):
            new = graph.call_function(functional, node.args, node.kwargs)
        new.meta = dict(node.meta)
        order = {n: i for i, n in enumerate(graph.nodes)}
        node.replace_all_uses_with(new)
        # Whoever reads the changed tensor by its old name, later on, reads the new one.
        base.replace_all_uses_with(new, delete_user_cb=lambda user, limit=order[new], order=order: order[user] > limit)
        graph.erase_node(node)
    graph.lint()


def _functional(target: Any) -> Any:
    """Returns the operator `relu.default` for `relu_.default`, or None if there is none."""
    import torch

    name = target._schema.name.removeprefix("aten::")
    packet = getattr(torch.ops.aten, name.removesuffix("_"), None) if name.endswith("_") else None
    overload = target._overloadname
    return getattr(packet, overload, None) if packet is not None else None


def _drop_assertions(graph_module: Any) -> None:
    """Removes the checks of dtypes that torch.export adds; nothing reads them."""
    for node in list(graph_module.graph.nodes):
        if _schema_name(node) in _ASSERTIONS and not node.users:
            graph_module.graph.erase_node(node)
    graph_module.recompile()


def _drop_idle_operators(graph_module: Any) -> None:
    """Removes assertions, and operators that return their input: dropout in eval mode, detach, casts to the same dtype."""
    graph = graph_module.graph
    for node in list(graph.nodes):
        name = _schema_name(node)
        if name in _ASSERTIONS:
            graph.erase_node(node)
        elif name and _is_idle(node, name):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    graph.lint()


def _is_idle(node: Any, name: str) -> bool:
    if name in _ALIASES:
        return True
    if "dropout" in name:
        return len(node.args) > 2 and node.args[2] is False
    if name in ("aten::to", "aten::_to_copy"):
        source = getattr(node.args[0], "meta", {}).get("val")
        value = node.meta.get("val")
        plain = all(key in ("dtype", "device", "layout", "copy", "non_blocking") for key in node.kwargs)
        return source is not None and plain and value.dtype == source.dtype and value.device == source.device
    return False
