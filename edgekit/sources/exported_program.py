"""The source `.pt2`: an ExportedProgram that torch.export.save wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, final

from edgekit.errors import ModelError
from edgekit.model import SourceKind
from edgekit.sources.base import CaptureRequest, Signature, Source
from edgekit.torch_program.facts import Capture
from edgekit.workers.worker import Progress

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram


@final
class ExportedProgramSource(Source):
    """Loads the program, fixes its batch to 1, and saves it in canonical form."""

    kind: ClassVar[SourceKind] = "pt2"
    suffixes: ClassVar[tuple[str, ...]] = (".pt2",)
    starts_with: ClassVar[Mapping[str, Signature]] = {
        ".pt2": (0, b"PK\x03\x04", "a zip archive that torch.export.save wrote")
    }
    extra: ClassVar[str] = "torch"
    needs: ClassVar[Mapping[str, str]] = {"torch": "torch"}

    def why_not(self, target: str) -> str | None:  # noqa: ARG002  the contract's argument
        """Every format can be made from an exported torch program."""
        return None

    def read(self, request: CaptureRequest, folder: Path, progress: Progress) -> Capture:
        """Example inputs come from the task, else from the program."""
        from edgekit.sources import example_inputs
        from edgekit.torch_program import program_facts
        from edgekit.torch_program.canonical_program import canonical
        from edgekit.torch_program.lift_states import named_outputs, without_states
        from edgekit.torch_program.program_archive import load_program

        progress("reading the program", None)
        program = load_program(request.path, request.source)
        parameters = program_facts.count_parameters(program.parameters())
        given = example_inputs.gather(request) if request.example_inputs is not None else None
        examples = _fit(program, given, request)
        progress("capturing the graph", None)
        count = len(program.graph_signature.user_outputs)
        program, inputs, states = without_states(program, examples, program.module(check_guards=False), request.source)
        names = named_outputs(None, states, count)
        return program_facts.save(canonical(program, inputs, request.source), folder, parameters, names, states)


def _fit(program: ExportedProgram, given: Sequence[Tensor] | None, request: CaptureRequest) -> tuple[Tensor, ...]:
    """Returns one tensor for each input of the program: batch 1, the program's sizes, free sizes from examples."""
    import torch
    from torch.utils import _pytree as pytree

    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    names = [name for name in program.graph_signature.user_inputs if isinstance(name, str) and name in nodes]
    stored = pytree.tree_leaves(program.example_inputs) if program.example_inputs is not None else []
    kept = [leaf for leaf in stored if isinstance(leaf, torch.Tensor)]
    tensors = [name for name in names if isinstance(nodes[name].meta["val"], torch.Tensor)]
    if given is not None and len(given) != len(tensors):
        raise ModelError(
            f"{request.source} takes {len(tensors)} inputs ({', '.join(tensors)}) and "
            f"{request.example_inputs} returned {len(given)}."
        )
    examples = given if given is not None else (kept if len(kept) == len(tensors) else [None] * len(tensors))
    return tuple(
        _fit_one(nodes[name].meta["val"], example, name, request.source)
        for name, example in zip(tensors, examples, strict=True)
    )


def _fit_one(value: Any, example: Tensor | None, name: str, title: str) -> Tensor:
    """Returns a tensor for one input.

    Args:
        value: The input's FakeTensor.
        example: A tensor to take values and free sizes from, or None.
        name: The input's name.
        title: What the user wrote, for messages.
    """
    import torch

    shape: list[int] = []
    for axis, size in enumerate(value.shape):
        if isinstance(size, int):
            shape.append(size)
        elif axis == 0:
            shape.append(1)
        elif example is None or example.ndim != value.ndim:
            raise ModelError(
                f'{title}: axis {axis} of the input "{name}" is dynamic, and artifacts have fixed shapes. '
                'Give [model] example_inputs = "file.py:function" in edgekit.toml with the size that you want.'
            )
        else:
            shape.append(int(example.shape[axis]))
    if not shape or shape[0] != 1:
        raise ModelError(
            f'{title}: the input "{name}" has the fixed shape {tuple(shape)}; artifacts are exported with batch 1. '
            "Export the program again with batch 1, or with a dynamic batch: "
            'dynamic_shapes={"' + name + '": {0: torch.export.Dim("batch")}}.'
        )
    if (
        example is not None
        and example.ndim == len(shape)
        and all(have >= want for have, want in zip(example.shape, shape, strict=True))
    ):
        return example[tuple(slice(0, size) for size in shape)].detach().cpu().to(value.dtype).contiguous()
    if value.dtype.is_floating_point:
        return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(value.dtype)
    return torch.zeros(shape, dtype=value.dtype)
