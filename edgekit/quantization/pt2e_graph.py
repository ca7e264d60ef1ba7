"""The captured float model as a graph that quantization can be written into.

A captured `pt2` file is an ExportedProgram. Here it is opened, unlifted (weights become attributes again), and brought
to a small vocabulary: clamps are `hardtanh` or `relu`, products with a constant matrix are `linear`, zero padding is
part of the convolution where a convolution can hold it. All of this is exact in float.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.errors import ConversionError
from edgekit.model import CapturedModel, LearnedRange, OpenSizes
from edgekit.torch_program.graph_nodes import example_inputs_of
from edgekit.torch_program.open_sizes import load_captured
from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.export import ExportedProgram
    from torch.fx import GraphModule

_IDENTITIES: Final = frozenset(
    {
        "aten.alias.default",
        "aten.alpha_dropout.default",
        "aten.contiguous.default",
        "aten.detach.default",
        "aten.detach_.default",
        "aten.dropout.default",
        "aten.dropout_.default",
        "aten.feature_dropout.default",
        "aten.lift_fresh_copy.default",
    }
)
"""Operators that do nothing in evaluation mode."""

_CONVOLUTIONS: Final = frozenset({"aten.conv1d.default", "aten.conv2d.default"})


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FloatGraph:
    """An unlifted float graph.

    Attributes:
        module: torch.fx.GraphModule; its `get_attr` nodes are the weights.
        example_inputs: One input tensor for each placeholder, batch 1, at the largest sizes.
        learned_ranges: Learned ranges of activations, where training has found them.
        open_sizes: Sizes that stay open; None where all are fixed.
    """

    module: GraphModule
    example_inputs: tuple[Tensor, ...]
    learned_ranges: tuple[LearnedRange, ...] = ()
    open_sizes: OpenSizes | None = None


def read_float_graph(model: CapturedModel) -> FloatGraph:
    """Returns the graph of a captured `pt2` model, simplified.

    Raises:
        ModelError: the file cannot be read.
        ConversionError: it returns a dict, or has dynamic shapes that the task does not name.
    """
    program = load_captured(model)
    _refuse_what_no_format_holds(model, program)
    module = program.module(check_guards=False)
    module = _functional(module, program)
    for node in list(module.graph.nodes):
        _simplify(module, node)
    module.graph.eliminate_dead_code()
    module.recompile()
    return FloatGraph(
        module=module,
        example_inputs=example_inputs_of(program),
        learned_ranges=model.learned_ranges,
        open_sizes=model.open_sizes,
    )


def placeholders(module: GraphModule) -> list[Node]:
    """Returns the input nodes of a graph, in call order."""
    return [node for node in module.graph.nodes if node.op == "placeholder"]


def output_node(module: GraphModule) -> Node:
    """Returns the node that returns the results."""
    found: Node = next(node for node in reversed(module.graph.nodes) if node.op == "output")
    return found


def results_of(module: GraphModule) -> list[Node]:
    """Returns the nodes that are returned, in order; a model that returns one tensor has one."""
    returned = output_node(module).args[0]
    return list(returned) if isinstance(returned, list | tuple) else [returned]


def return_these(module: GraphModule, results: Sequence[Node]) -> None:
    """Makes the graph return other nodes, in the form (one tensor or a tuple) that it had."""
    output = output_node(module)
    plain = not isinstance(output.args[0], list | tuple)
    output.args = (results[0] if plain else tuple(results),)


def target_of(node: Node) -> str:
    """Returns `aten.conv2d.default` for a call, "" for anything else."""
    return str(node.target) if node.op == "call_function" else ""


def modules_of(node: Node) -> tuple[str, ...]:
    """Returns the dotted names of the modules that a node came from, the innermost first."""
    stack = node.meta.get("nn_module_stack") or {}
    names = [str(name) for name, _ in stack.values() if name]
    return tuple(reversed(names))


def is_float_tensor(node: Node) -> bool:
    """Returns True for a node whose value is a 32-bit float tensor."""
    import torch

    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.dtype == torch.float32


def shape_of(node: Node) -> tuple[int, ...]:
    """Returns the shape of a node's tensor; sizes that stay open are the largest."""
    # int() of an open size would bind it: every shape that depends on it would then be a number.
    return tuple(size if isinstance(size, int) else int(size.node.hint) for size in node.meta["val"].shape)


def constant_of(module: GraphModule, node: Any) -> Any:
    """Returns the tensor behind a `get_attr` node, None for any other node."""
    if getattr(node, "op", None) != "get_attr":
        return None
    found: Any = module
    for part in str(node.target).split("."):
        found = getattr(found, part)
    return found


def drop_unread_tensors(module: GraphModule) -> None:
    """Deletes the parameters and buffers that no node reads: integers stand in their place."""
    read = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    owners = dict(module.named_modules())
    named = (*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False))
    for name in [name for name, _ in named if name not in read]:
        owner, _, leaf = name.rpartition(".")
        delattr(owners[owner], leaf)


def add_constant(module: GraphModule, before: Node, name: str, tensor: Tensor) -> Node:
    """Registers a buffer and returns a new `get_attr` node for it, placed before the node `before`."""
    wanted = "_quantized_" + name.replace(".", "_")
    while hasattr(module, wanted):
        wanted += "_"
    module.register_buffer(wanted, tensor)
    with before.graph.inserting_before(before):
        node = before.graph.create_node("get_attr", wanted, (), {}, name=wanted.lstrip("_"))
    mode = next((n.meta["val"].fake_mode for n in module.graph.nodes if hasattr(n.meta.get("val"), "fake_mode")), None)
    if mode is not None:
        node.meta["val"] = mode.from_tensor(tensor, static_shapes=True)
    return node


def _refuse_what_no_format_holds(model: CapturedModel, program: ExportedProgram) -> None:
    import torch

    spec = program.call_spec.out_spec
    if spec is not None and spec.type is dict:
        keys = ", ".join(str(key) for key in spec.context)
        raise ConversionError(
            f"{model.source} returns a dict ({keys}); artifacts return tensors in a fixed order. "
            "Wrap the model so that its forward returns a tensor or a tuple of tensors."
        )
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if model.open_sizes is None and node.op == "placeholder" and isinstance(value, torch.Tensor):
            sizes: list[int | torch.SymInt] = list(value.shape)  # a free size is a torch.SymInt
            for axis, size in enumerate(sizes):
                if not isinstance(size, int):
                    raise ConversionError(
                        f'{model.source}: input "{node.name}" has a dynamic size ({size}) on axis {axis}; artifacts '
                        "have fixed shapes. Export the model without dynamic_shapes."
                    )


def _functional(module: GraphModule, program: ExportedProgram) -> GraphModule:
    """Returns the graph without in-place operators (`relu_`, `add_`), which quantization cannot follow."""
    if not any(node.op == "call_function" and _mutates(node.target) for node in module.graph.nodes):
        return module
    return program.run_decompositions({}).module(check_guards=False)


def _mutates(target: object) -> bool:
    schema = getattr(target, "_schema", None)
    return schema is not None and bool(schema.is_mutable)


def _simplify(module: GraphModule, node: Node) -> None:
    rule = _RULES.get(target_of(node))
    if rule is not None:
        rule(module, node)
    elif target_of(node) in _IDENTITIES:
        _replace(node, node.args[0])


def _replace(node: Node, new: Node) -> None:
    node.replace_all_uses_with(new)
    node.graph.erase_node(node)


def _call(node: Node, target: Callable[..., object], args: tuple[object, ...]) -> Node:
    """Returns a new call in the place of `node`, with its metadata."""
    with node.graph.inserting_before(node):
        new = node.graph.call_function(target, args)
    new.meta = dict(node.meta)
    return new


def _clamp(module: GraphModule, node: Node) -> None:
    """Turns `clamp` with two numbers into hardtanh, and with a lower bound of 0 into relu."""
    del module
    import torch

    low, high = ((*node.args[1:], None, None))[:2]
    if isinstance(low, int | float) and isinstance(high, int | float):
        _replace(node, _call(node, torch.ops.aten.hardtanh.default, (node.args[0], float(low), float(high))))
    elif isinstance(low, int | float) and low == 0 and high is None:
        _replace(node, _call(node, torch.ops.aten.relu.default, (node.args[0],)))


def _relu6(module: GraphModule, node: Node) -> None:
    del module
    import torch

    _replace(node, _call(node, torch.ops.aten.hardtanh.default, (node.args[0], 0.0, 6.0)))


def _matmul(module: GraphModule, node: Node) -> None:
    """Turns x @ W with a constant matrix W (in, out) into linear(x, W transposed)."""
    import torch

    left, right = node.args[:2]
    weight = constant_of(module, right)
    if weight is None or weight.ndim != 2 or len(shape_of(left)) < 2 or not is_float_tensor(node):
        return
    transposed = add_constant(module, node, f"{right.target}_t", weight.detach().t().contiguous())
    _replace(node, _call(node, torch.ops.aten.linear.default, (left, transposed)))


def _addmm(module: GraphModule, node: Node) -> None:
    """Turns addmm(b, x, W) with constant b (out,) and W (in, out) into linear(x, W transposed, b)."""
    import torch

    bias, left, right = node.args[:3]
    weight, offset = constant_of(module, right), constant_of(module, bias)
    if weight is None or offset is None or offset.ndim != 1 or node.kwargs:
        return
    transposed = add_constant(module, node, f"{right.target}_t", weight.detach().t().contiguous())
    _replace(node, _call(node, torch.ops.aten.linear.default, (left, transposed, bias)))


def _pad(module: GraphModule, node: Node) -> None:
    """Gives symmetric zero padding to the convolution that follows: one operator less on every runtime."""
    del module
    users = list(node.users)
    amounts = list(node.args[1])
    zero = len(node.args) < 3 or node.args[2] == "constant"
    value = node.args[3] if len(node.args) > 3 else None
    if not zero or value not in (None, 0, 0.0) or len(users) != 1 or target_of(users[0]) not in _CONVOLUTIONS:
        return
    convolution = users[0]
    spatial = len(shape_of(convolution)) - 2
    amounts += [0] * (2 * (spatial + 2) - len(amounts))
    pairs = [(amounts[2 * i], amounts[2 * i + 1]) for i in range(spatial + 2)]
    symmetric = all(low == high >= 0 for low, high in pairs) and not any(low for low, _ in pairs[spatial:])
    if not symmetric or convolution.args[0] is not node:
        return
    # conv(input, weight, bias, stride, padding, dilation, groups); `pad` counts axes from the last.
    defaults: list[Any] = [None, None, None, [1] * spatial, [0] * spatial, [1] * spatial, 1]
    args = [*convolution.args, *defaults[len(convolution.args) :]]
    own = list(args[4]) * (spatial if len(args[4]) == 1 else 1)
    args[0] = node.args[0]
    args[4] = [int(own[i]) + pairs[spatial - 1 - i][0] for i in range(spatial)]
    convolution.args = tuple(args)
    node.graph.erase_node(node)


_RULES: Final[dict[str, Callable[[GraphModule, Node], None]]] = {
    "aten.addmm.default": _addmm,
    "aten.clamp.default": _clamp,
    "aten.clamp_min.default": _clamp,
    "aten.matmul.default": _matmul,
    "aten.mm.default": _matmul,
    "aten.pad.default": _pad,
    "aten.relu6.default": _relu6,
}
