"""Lowers an exported program to an ExecuTorch program with the XNNPACK backend.

ExecuTorch retraces the graph about thirty times on the way. Three things are left out that cannot change the result
(the bytes are the same, a test compares them) and that take half the time: copying each node's provenance at every
retrace, building the patterns of operators that the program does not have, and passes for such operators.
"""

from __future__ import annotations

import contextlib
import importlib
import operator
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast, final

from edgekit.errors import ConversionError
from edgekit.torch_program.operator_place import operator_place
from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import GraphModule

_TRIGGERS: Final[Mapping[str, tuple[str, ...]]] = {
    "ConvertToSDPAPass": ("bmm", "softmax", "scaled_dot_product"),
    "ConvertToUpsampleBilinear2d": ("index", "upsample"),
    "DecomposeBatchNorm": ("batch_norm",),
    "DecomposeConcatenate": ("cat",),
    "FuseBatchNormPass": ("batch_norm",),
    "PReLUReshapePass": ("prelu",),
    "RemoveGetItemPass": ("getitem",),
    "XNNPACKRemoveCloneOpsTransform": ("clone",),
}
"""Passes of the backend that do nothing unless an operator's name holds one of the words."""

_PLUMBING: Final = ("quantize_", "choose_qparams", "getitem", "alloc", "executorch_call_delegate")
"""Calls that are no operators of the model: grids and plumbing."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LoweredProgram:
    """A finished program.

    Attributes:
        data: Contents of the .pte file.
        delegated: Operators that XNNPACK runs, by type.
        outside: Operators that ExecuTorch's portable kernels run, by type.
    """

    data: bytes
    delegated: Mapping[str, int]
    outside: Mapping[str, int]

    @property
    def share(self) -> float:
        """Share of the operators that XNNPACK runs, from 0 to 1."""
        inside, outside = sum(self.delegated.values()), sum(self.outside.values())
        return inside / (inside + outside) if inside + outside else 1.0


def lower(
    program: ExportedProgram,
    constants: Mapping[str, object],
    *,
    dynamic: bool,
    report: Callable[[str], None],
    states: Sequence[str] = (),
) -> LoweredProgram:
    """Returns the .pte of an ExportedProgram.

    Args:
        program: torch.export.ExportedProgram, quantized or not.
        constants: Method name to the value that it returns.
        dynamic: Some operators choose their grids at run time.
        report: Gets a phrase before each slow step.
        states: Buffers that the program changes: kept with their names and with the values that they begin with.

    Raises:
        ConversionError: the runtime has no kernel for an operator.
    """
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import (
        XnnpackDynamicallyQuantizedPartitioner,
        XnnpackPartitioner,
    )
    from executorch.exir import EdgeCompileConfig, ExecutorchBackendConfig, to_edge_transform_and_lower

    importlib.import_module("executorch.kernels.quantized")  # registers the out variants of quantized operators
    # Operators with run-time grids come first, in partitions of their own: merged with float neighbours, a convolution
    # with a fused clamp gave wrong values (20 dB instead of 52 on the convolutions of the tests).
    partitioners = [XnnpackDynamicallyQuantizedPartitioner()] if dynamic else []
    with torch.no_grad(), _without_needless_work():
        report("lowering to XNNPACK")
        edge = to_edge_transform_and_lower(
            program,
            partitioner=[*partitioners, XnnpackPartitioner()],
            constant_methods=dict(constants),
            compile_config=EdgeCompileConfig(_check_ir_validity=False),
        )
        delegated, outside = _count(edge.exported_program().graph_module)
        report("planning memory")
        finished = edge.to_executorch(_with_states(states) if states else ExecutorchBackendConfig())
        _refuse_missing_kernels(finished.executorch_program, program)
        data = bytes(finished.buffer)
    return LoweredProgram(data=data, delegated=delegated, outside=outside)


def _with_states(states: Sequence[str]) -> Any:
    """Returns the settings for a program that changes buffers.

    Without them a state begins with whatever lies in the app's memory, and nothing can read it by name.
    """
    from executorch.exir import ExecutorchBackendConfig
    from executorch.exir.passes.init_mutable_pass import InitializedMutableBufferPass

    return ExecutorchBackendConfig(passes=[InitializedMutableBufferPass(list(states))], emit_mutable_buffer_names=True)


def _refuse_missing_kernels(finished: Any, program: ExportedProgram) -> None:
    """Checks that the runtime has a kernel for each operator outside XNNPACK: a program without one fails at its load.

    Raises:
        ConversionError: names the operators.
    """
    from executorch.extension.pybindings import _portable_lib

    library: Any = _portable_lib
    kernels = set(library._get_operator_names())  # noqa: SLF001  executorch.runtime wraps it, and imports for seconds
    wanted = {f"{item.name}.{item.overload}".rstrip(".") for plan in finished.execution_plan for item in plan.operators}
    if missing := sorted(wanted - kernels):
        places = ", ".join(operator_place(program, name) for name in missing)
        raise ConversionError(f"ExecuTorch has no kernel for {places}.")


def _count(module: GraphModule) -> tuple[dict[str, int], dict[str, int]]:
    """Returns (operators inside delegates, operators outside), each by type."""
    delegated: Counter[str] = Counter()
    outside: Counter[str] = Counter()
    for node in module.graph.nodes:
        if node.op == "get_attr" and hasattr(getattr(module, str(node.target), None), "original_module"):
            inner = getattr(module, str(node.target)).original_module
            delegated.update(_types(inner.graph_module))
    outside.update(_types(module))
    return dict(sorted(delegated.items())), dict(sorted(outside.items()))


def _types(module: GraphModule) -> Iterator[str]:
    for node in module.graph.nodes:
        if node.op == "call_function" and node.target is not operator.getitem:
            name = str(getattr(node.target, "__name__", node.target)).removeprefix("aten.")
            if not any(word in name for word in _PLUMBING):
                yield name.split(".")[-2] if name.count(".") > 1 else name.split(".")[0]


@contextlib.contextmanager
def _without_needless_work() -> Generator[None]:
    """Leaves out what the module's docstring names, while the block runs. The process does nothing else."""
    import torch
    from executorch.backends.xnnpack import xnnpack_preprocess
    from executorch.backends.xnnpack._passes import XNNPACKPassManager
    from torch.fx import traceback

    original, manager = traceback.set_current_meta, xnnpack_preprocess.XNNPACKPassManager

    @contextlib.contextmanager
    def without_provenance(node: Node, pass_name: str = "") -> Generator[None]:
        """As torch's own, but a new node inherits its origin instead of a deep copy of its whole history."""
        del pass_name
        if not (traceback.should_preserve_node_meta and node.meta):
            yield
            return
        saved = traceback.current_meta
        try:
            traceback.current_meta = node.meta.copy()
            if isinstance(node.meta.get("val"), torch.SymInt):
                # The size of an input has no origin, and a later pass asks each node for one.
                traceback.current_meta.setdefault("from_node", [traceback.NodeSource(cast("Any", node))])
            yield
        finally:
            traceback.current_meta = saved

    class NeededPasses(XNNPACKPassManager):  # type: ignore[misc]  # the framework is Any here
        def __init__(self, exported_program: ExportedProgram, passes: Any = None) -> None:
            super().__init__(exported_program, passes)
            self.passes: list[Any]
            names = " ".join(str(node.target) for node in exported_program.graph.nodes if node.op == "call_function")
            every: list[Any] = list(self.passes)
            self.passes = [item for item in every if any(word in names for word in _TRIGGERS.get(item.__name__, ("",)))]

    traceback.set_current_meta = without_provenance
    xnnpack_preprocess.XNNPACKPassManager = NeededPasses
    try:
        yield
    finally:
        traceback.set_current_meta = original
        xnnpack_preprocess.XNNPACKPassManager = manager
