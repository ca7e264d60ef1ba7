"""Facts of an ExportedProgram: inputs, outputs, parameters, multiply-accumulates, family, digest. Runs in a worker."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgekit.model import State, TensorSpec
from edgekit.torch_program.architecture import Operation, judge
from edgekit.torch_program.digest import Digest
from edgekit.torch_program.facts import Capture
from edgekit.torch_program.graph_nodes import is_node, operator_name
from edgekit.torch_program.layout import guess_layout
from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram

FILE_NAME: Final = "float.pt2"


def save(
    program: ExportedProgram,
    folder: Path,
    parameters: int,
    output_names: Sequence[str] | None = None,
    input_names: Sequence[str] | None = None,
    states: Sequence[State] = (),
    float_types: Iterable[str] = (),
) -> Capture:
    """Saves a canonical program to `folder` and describes it.

    Args:
        program: ExportedProgram in canonical form.
        folder: Where to.
        parameters: Number of weights of the model as it came, before folding.
        output_names: What to call the outputs; None calls them `output`, or `output_0`, `output_1` and so on.
        input_names: What to call the inputs; None takes the program's names.
        states: What the model keeps between calls.
        float_types: Floating-point types other than float32 that the model computed in, as it came.
    """
    import torch

    torch.export.save(program, str(folder / FILE_NAME))
    inputs = _inputs(program, input_names)
    return Capture(
        kind="pt2",
        file=FILE_NAME,
        inputs=inputs,
        outputs=_named_apart(_outputs(program, output_names), inputs),
        digest=digest(program),
        parameters=parameters,
        architecture=judge(operations(program)),
        states=tuple(states),
        float_types=tuple(sorted(float_types)),
    )


def count_parameters(tensors: Iterable[Tensor]) -> int:
    """Returns the number of elements; tensors at one address count once."""
    seen = {(t.data_ptr(), tuple(t.shape)) if t.numel() else (id(t), ()): t.numel() for t in tensors}
    return sum(seen.values())


def _spec(name: str, value: Tensor, layout: str | None) -> TensorSpec:
    dtype = str(value.dtype).removeprefix("torch.")
    return TensorSpec(name=name, shape=tuple(int(size) for size in value.shape), dtype=dtype, layout=layout)


def _inputs(program: ExportedProgram, names: Sequence[str] | None) -> tuple[TensorSpec, ...]:
    nodes: dict[object, Node] = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    specs: list[TensorSpec] = []
    own = program.graph_signature.user_inputs
    for name, word in zip(own, names or own, strict=True):
        value = nodes[name].meta["val"]
        specs.append(_spec(str(word), value, guess_layout(tuple(value.shape), str(value.dtype), "NCHW")))
    return tuple(specs)


def _outputs(program: ExportedProgram, names: Sequence[str] | None) -> tuple[TensorSpec, ...]:
    output = next(node for node in program.graph.nodes if node.op == "output")
    values = [node.meta["val"] for node in output.args[0]]
    words = names or (["output"] if len(values) == 1 else [f"output_{i}" for i in range(len(values))])
    return tuple(
        _spec(word, value, guess_layout(tuple(value.shape), str(value.dtype), "NCHW"))
        for word, value in zip(words, values, strict=True)
    )


def _named_apart(outputs: tuple[TensorSpec, ...], inputs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    """Returns the outputs with names that no input has: formats hold one tensor a name.

    A state that goes in and out as `h` comes out as `h_out`.
    """
    taken = {spec.name for spec in inputs}
    return tuple(replace(spec, name=f"{spec.name}_out") if spec.name in taken else spec for spec in outputs)


def digest(program: ExportedProgram) -> str:
    """Returns a hash of graph, weights and names of inputs and modules; equal in every process and on every machine."""
    hashed = Digest()
    tensors: dict[str, Any] = {**program.state_dict, **program.constants}
    index: dict[Node, int] = {}
    signature = program.graph_signature
    targets = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    targets |= signature.inputs_to_lifted_tensor_constants
    for node in program.graph.nodes:
        index[node] = len(index)
        if node.op == "placeholder" and node.name in targets:
            hashed.add("weight")
            hashed.add_tensor(tensors[targets[node.name]].detach().cpu().contiguous())
        elif node.op == "placeholder":
            value = node.meta["val"]
            hashed.add("input", node.name, value.dtype, tuple(value.shape))
        else:
            hashed.add(node.op, node.target, _module_name(node), _plain(node.args, index), _plain(node.kwargs, index))
    return hashed.hexdigest()


def _module_name(node: Node) -> str:
    stack = list(node.meta.get("nn_module_stack", {}).values())
    return str(stack[-1][0]) if stack else ""


def _plain(value: object, index: dict[Node, int]) -> object:
    """Returns arguments with nodes replaced by their positions: names of nodes depend on how a graph was made."""
    if isinstance(value, dict):
        return {key: _plain(item, index) for key, item in sorted(value.items())}
    if isinstance(value, (tuple, list)):
        return tuple(_plain(item, index) for item in value)
    return ("node", index[value]) if is_node(value) else value


def operations(program: ExportedProgram) -> list[Operation]:
    """Returns the operations that cost multiply-accumulates or tell the family."""
    weights = {*program.graph_signature.inputs_to_parameters, *program.graph_signature.inputs_to_buffers}
    found: list[Operation] = []
    for node in program.graph.nodes:
        operation = _operation(node, operator_name(node), weights)
        if operation is not None:
            found.append(operation)
    return found


def _shape(node: Node) -> tuple[int, ...]:
    return tuple(int(size) for size in node.meta["val"].shape)


def _operation(node: Node, name: str, weights: set[str]) -> Operation | None:
    if name.startswith("conv"):
        return _convolution(node, name)
    if name in ("linear", "addmm", "mm", "matmul", "bmm", "baddbmm"):
        left, right = node.args[1:3] if name in ("addmm", "baddbmm") else node.args[:2]
        rows = math.prod(_shape(node))
        return Operation(role="linear" if _is_weight(right, weights) else "matmul", macs=rows * _shape(left)[-1])
    if name == "einsum":
        return _einsum(node, weights)
    if name.startswith(("scaled_dot_product", "_scaled_dot_product")):
        query, key, value = (_shape(arg) for arg in node.args[:3])
        rows = math.prod(query[:-1])
        return Operation(role="attention", macs=rows * key[-2] * (query[-1] + value[-1]))
    if name in ("lstm", "gru", "rnn_tanh", "rnn_relu"):
        return _recurrent(node, name)
    if name in ("softmax", "_softmax", "_safe_softmax"):
        return Operation(role="softmax")
    return Operation(role="embedding") if name in ("embedding", "embedding_bag") else None


def _is_weight(node: Node, weights: set[str]) -> bool:
    """Returns whether a value comes from a weight through transposes and reshapes alone."""
    while node.op == "call_function" and node.args and is_node(node.args[0]) and len(node.all_input_nodes) == 1:
        node = node.args[0]
    return node.name in weights


def _convolution(node: Node, name: str) -> Operation:
    weight = _shape(node.args[1])
    transposed = name.startswith("conv_transpose") or (name == "convolution" and bool(node.args[6]))
    # weight: (C_out, C_in / groups, k...), transposed: (C_in, C_out / groups, k...). Each position of the output (of
    # the
    # input, where transposed) meets one weight per tap and channel on the other side.
    positions = math.prod(_shape(node.args[0] if transposed else node))
    source = _shape(node.args[0])[-len(weight) + 1]
    depthwise = weight[1] == 1 and weight[0] >= source > 1 and not transposed
    return Operation(role="depthwise" if depthwise else "convolution", macs=positions * math.prod(weight[1:]))


def _einsum(node: Node, weights: set[str]) -> Operation:
    """An einsum costs the product of all index sizes (two operands; the cost of one for each further operand)."""
    equation, operands = node.args[0].replace(" ", ""), node.args[1]
    role: Any = "linear" if any(_is_weight(operand, weights) for operand in operands) else "matmul"
    if "." in equation:
        return Operation(role=role, macs=None)
    sizes: dict[str, int] = {}
    for letters, operand in zip(equation.split("->")[0].split(","), operands, strict=True):
        sizes |= dict(zip(letters, _shape(operand), strict=True))
    return Operation(role=role, macs=math.prod(sizes.values()) * (len(operands) - 1))


def _recurrent(node: Node, name: str) -> Operation:
    """Each step multiplies every weight matrix of every layer and direction once."""
    params = node.args[2] if name == "lstm" or isinstance(node.args[2], (tuple, list)) else node.args[3]
    batch_first = bool(node.args[-1])
    length_axis = 1 if batch_first else 0
    shape = _shape(node.args[0])
    steps = shape[length_axis] if len(shape) == 3 else shape[0]
    batch = shape[1 - length_axis] if len(shape) == 3 else 1
    matrices = sum(math.prod(_shape(p)) for p in params if len(_shape(p)) == 2)
    return Operation(role="recurrent", macs=steps * batch * matrices)
