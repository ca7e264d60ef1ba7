"""The graph of a torch ExportedProgram (.pt2). Runs in a worker process; torch is imported late.

Both the dialect that `torch.export.export` gives (conv2d, linear, lstm whole) and core ATen (convolution, addmm, mm)
are understood. Operators are named by their ATen base name: `aten.conv2d.default` is `conv2d`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.analysis.exported_costs import PLAIN, Call, describe
from edgekit.analysis.graph import Analysis
from edgekit.analysis.graph_builder import GraphBuilder
from edgekit.torch_program.program_archive import load_program
from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor
    from torch.export import ExportedProgram

ALIASES: Final = frozenset({
    "view", "_unsafe_view", "reshape", "flatten", "unflatten", "squeeze", "squeeze_", "unsqueeze", "unsqueeze_",
    "alias",
    "detach", "detach_", "dropout", "dropout_", "feature_dropout", "alpha_dropout", "contiguous", "clone",
    "lift_fresh_copy", "view_as", "identity", "native_dropout", "reshape_as", "expand_as", "expand",
})  # fmt: skip
"""The same bytes under another shape, or nothing at inference. `expand` is a broadcast that kernels do on the fly."""

CASTS: Final = frozenset({"to", "_to_copy", "type_as", "float", "half", "int", "long"})
IGNORED: Final = frozenset(
    {"_assert_tensor_metadata", "_assert_async", "_assert_scalar", "sym_size", "sym_constrain_range"}
)
CONSTANT_LAYOUTS: Final = frozenset({"t", "permute", "transpose", *ALIASES})
"""Operations that are done once at conversion where they read a stored tensor."""

SLICES: Final = frozenset({"slice", "select", "narrow"})


def read_exported(path: Path) -> Analysis:
    """Returns the analysis of an exported program.

    Raises:
        ModelError: the file cannot be read.
    """
    return _Reader(load_program(path)).read()


@final
class _Reader:
    """Walks the graph of one exported program."""

    def __init__(self, program: ExportedProgram) -> None:
        self._program = program
        self._builder = GraphBuilder()

    def read(self) -> Analysis:
        """Returns the analysis."""
        inputs = self._placeholders()
        outputs: list[str] = []
        for node in self._program.graph.nodes:
            if node.op == "call_function":
                self._call(node)
            elif node.op == "output":
                outputs = [item.name for item in node.all_input_nodes]
        return self._builder.finish(inputs, outputs)

    def _placeholders(self) -> list[str]:
        """Declares weights and inputs; returns the names of the inputs."""
        signature = self._program.graph_signature
        targets = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }
        inputs: list[str] = []
        for node in self._program.graph.nodes:
            if node.op != "placeholder":
                continue
            if node.name in targets:
                self._store(node.name, targets[node.name])
            elif _is_tensor(node.meta.get("val")):
                inputs.append(self._declare(node.name, node.meta["val"]))
        return inputs

    def _store(self, name: str, target: str) -> None:
        state, constants = self._program.state_dict, self._program.constants
        value: Any = state[target] if target in state else constants[target]
        # Weights keep the name that users know; the graph's own names (p_conv_weight) become aliases of it.
        self._builder.store(target, value.shape, _dtype(value), lambda: _to_numpy(value))
        if name != target:
            self._builder.alias(name, target)

    def _declare(self, name: str, value: Tensor) -> str:
        return self._builder.tensor(name, value.shape, _dtype(value))

    def _call(self, node: Node) -> None:
        base = _base_name(node)
        if base == "getitem":
            source, index = node.args
            self._builder.alias(node.name, f"{source.name}:{index}")
            return
        values: Any = node.meta.get("val")
        outputs = list(values) if isinstance(values, (tuple, list)) else [values]
        if base in IGNORED or not any(_is_tensor(value) for value in outputs):
            return
        reads = [item.name for item in node.all_input_nodes if self._builder.knows(item.name)]
        if reads and self._is_alias(base, node, reads):
            self._builder.alias(node.name, reads[0])
            return
        if all(self._builder.is_stored(name) for name in reads) and base not in {"embedding", "index_select", "index"}:
            self._fold(node, outputs, reads)
            return
        names = (
            [node.name] if not isinstance(values, (tuple, list)) else [f"{node.name}:{i}" for i in range(len(outputs))]
        )
        written = [self._declare(name, value) for name, value in zip(names, outputs, strict=True) if _is_tensor(value)]
        self._add(node, base, reads, written)

    def _is_alias(self, base: str, node: Node, reads: list[str]) -> bool:
        if base in ALIASES:
            return True
        if base in CONSTANT_LAYOUTS and self._builder.is_stored(reads[0]):
            return True
        source: Any = node.all_input_nodes[0].meta.get("val")
        return base in CASTS and _is_tensor(source) and source.dtype == node.meta["val"].dtype

    def _fold(self, node: Node, outputs: list[Any], reads: list[str]) -> None:
        """Declares what is computed from stored tensors alone: converters evaluate it once."""
        for index, value in enumerate(outputs):
            if _is_tensor(value):
                name = node.name if not isinstance(node.meta["val"], (tuple, list)) else f"{node.name}:{index}"
                is_slice = _base_name(node) in SLICES and len(reads) == 1
                self._builder.derive(name, value.shape, _dtype(value), reads, is_slice=is_slice)

    def _add(self, node: Node, base: str, reads: list[str], written: list[str]) -> None:
        module = _module(node)
        call = Call(node=node, base=base, reads=reads, outputs=written, builder=self._builder)
        for part in describe(call):
            self._builder.add(
                name=part.name,
                type=part.type,
                kernel=part.kernel,
                reads=part.reads,
                outputs=part.outputs,
                module=module or node.name,
                macs=part.macs,
                roles=part.roles,
                in_place=part.in_place,
                attributes=part.attributes,
            )
        if base not in PLAIN and not call.known:
            self._builder.note(f"{base}: not known to the analysis; counted as element-wise work without MACs.")


def _is_tensor(value: object) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def _dtype(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def _to_numpy(value: Tensor) -> NDArray[Any]:
    import torch

    tensor = value.detach().cpu()
    found: NDArray[Any] = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).contiguous().numpy()
    return found


def _base_name(node: Node) -> str:
    """Returns `conv2d` for `aten.conv2d.default`, and a Python function's own name."""
    name = getattr(node.target, "_opname", None) or getattr(node.target, "__name__", str(node.target))
    return str(name).split(".")[0]


def _module(node: Node) -> str:
    """Returns the dotted name of the innermost module that the node was traced in."""
    stack = node.meta.get("nn_module_stack") or {}
    last = next(reversed(list(stack.values())), None)
    name = str(last[0]) if last else ""
    return name.removeprefix("L['self'].").removeprefix("L['self']")
