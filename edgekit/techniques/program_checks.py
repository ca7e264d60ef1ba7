"""What every technique's result is checked for. Runs in a worker that has torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.errors import WorkerError
from edgekit.torch_program.graph_nodes import example_inputs_of
from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram


def check_result(name: str, before: ExportedProgram, after: ExportedProgram, tolerance: float | None) -> None:
    """Checks that a changed program takes and returns the same tensors, and computes finite numbers.

    Args:
        name: The technique's.
        before: ExportedProgram in canonical form.
        after: What the technique made of it.
        tolerance: Largest difference of the outputs, relative to the largest one; None where they may differ.

    Raises:
        WorkerError: they differ; the technique broke its contract.
    """
    import torch

    for what, left, right in (
        ("inputs", _inputs(before), _inputs(after)),
        ("outputs", _outputs(before), _outputs(after)),
    ):
        if left != right:
            raise WorkerError(f"The technique {name} changed the model's {what}: {right} instead of {left}.")
    feed = example_feed(before)
    with torch.no_grad():
        expected, got = (_flat(program.module(check_guards=False)(*feed)) for program in (before, after))
    for i, (left, right) in enumerate(zip(expected, got, strict=True)):
        if bool(torch.isfinite(left).all()) and not bool(torch.isfinite(right).all()):
            raise WorkerError(f"The technique {name} made a model whose output {i} has NaN or infinite values.")
        if tolerance is None or not left.numel():
            continue
        largest = max(1e-12, float(left.double().abs().max()))
        difference = float((left.double() - right.double()).abs().max()) / largest
        if difference > tolerance:
            raise WorkerError(
                f"The technique {name} changed the float model: output {i} differs by {difference:.1e} of its largest "
                f"value; it declares that the function is kept to {tolerance:.0e}."
            )


def example_feed(program: ExportedProgram) -> tuple[Tensor, ...]:
    """Returns inputs to try a program with: its own example inputs, floats replaced by noise of variance 1."""
    import torch

    generator = torch.Generator().manual_seed(0)
    examples = example_inputs_of(program)
    return tuple(
        torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype) if tensor.is_floating_point() else tensor
        for tensor in examples
    )


def _inputs(program: ExportedProgram) -> list[tuple[object, tuple[int, ...], str]]:
    nodes: dict[object, Node] = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    return [(name, *_form(nodes[name])) for name in program.graph_signature.user_inputs]


def _outputs(program: ExportedProgram) -> list[tuple[tuple[int, ...], str]]:
    output = next(node for node in program.graph.nodes if node.op == "output")
    return [_form(node) for node in output.args[0]]


def _form(node: Node) -> tuple[tuple[int, ...], str]:
    value = node.meta["val"]
    return tuple(int(size) for size in value.shape), str(value.dtype).removeprefix("torch.")


def _flat(value: Any) -> tuple[Tensor, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,)
