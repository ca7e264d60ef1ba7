"""The source `.pt2`: an ExportedProgram that torch.export.save wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, final

from edgekit.errors import ModelError
from edgekit.model import SourceKind
from edgekit.sources.base import CaptureRequest, Signature, Source
from edgekit.task.input_sizes import InputSizes, OpenInput, chosen_sizes, flags_of, with_batch_axes
from edgekit.torch_program.facts import Capture
from edgekit.workers.worker import Progress

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram


@final
class ExportedProgramSource(Source):
    """Loads the program, fixes its free sizes, and saves it in canonical form."""

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
        from edgekit.torch_program import program_facts
        from edgekit.torch_program.canonical_program import canonical
        from edgekit.torch_program.example_call import readable_input_names
        from edgekit.torch_program.lift_states import all_names, named_outputs, without_states
        from edgekit.torch_program.open_sizes import forget_products
        from edgekit.torch_program.program_archive import load_program
        from edgekit.torch_program.single_precision import other_floats
        from edgekit.torch_program.structured_outputs import names_in

        progress("reading the program", None)
        program = load_program(request.path, request.source)
        if request.dimensions:
            forget_products(program)
        parameters = program_facts.count_parameters(program.parameters())
        examples = _fit(program, request)
        names, outputs = readable_input_names(program), names_in(program, request.source)
        others = other_floats(program.graph_module)
        progress("capturing the graph", None)
        count = len(program.graph_signature.user_outputs)
        opened, before = program, examples
        program, inputs, states = without_states(program, examples, program.module(check_guards=False), request.source)
        result = canonical(program, inputs, request.source)
        words = named_outputs(outputs, states, count)
        found = program_facts.save(result, folder, parameters, words, all_names(names, states), states, others)
        if not request.dimensions:
            return found
        from edgekit.sources.open_capture import captured_open
        from edgekit.torch_program.example_call import ExampleCall

        progress("capturing the graph with open sizes", None)
        call = ExampleCall(args=before, names=tuple(spec.name for spec in found.inputs))
        module = opened.module(check_guards=False)
        return replace(found, open_sizes=captured_open(module, call, request, folder, has_states=bool(states)))


def _fit(program: ExportedProgram, request: CaptureRequest) -> tuple[Tensor, ...]:
    """Returns one tensor for each input: the program's own sizes, free ones from `--input` or from examples."""
    import torch
    from torch.utils import _pytree as pytree

    from edgekit.sources import example_inputs

    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    names = [name for name in program.graph_signature.user_inputs if isinstance(name, str) and name in nodes]
    values = {name: nodes[name].meta["val"] for name in names if isinstance(nodes[name].meta["val"], torch.Tensor)}
    inputs = _open_inputs(values)
    if request.input_sizes:
        return tuple(map(example_inputs.example_of, chosen_sizes(inputs, request.input_sizes, request.source)))
    stored = pytree.tree_leaves(program.example_inputs) if program.example_inputs is not None else []
    kept = [leaf for leaf in stored if isinstance(leaf, torch.Tensor)]
    given = example_inputs.gather(request, list(values)) if request.example_inputs is not None else None
    if given is not None and len(given) != len(values):
        raise ModelError(
            f"{request.source} takes {len(values)} inputs ({', '.join(values)}) and "
            f"{request.example_inputs} returned {len(given)}."
        )
    examples = given if given is not None else (kept if len(kept) == len(values) else [None] * len(values))
    return tuple(_fit_one(item, example, request.source) for item, example in zip(inputs, examples, strict=True))


def _open_inputs(values: Mapping[str, Any]) -> list[OpenInput]:
    """Returns what a program says about its inputs; `values` are their FakeTensors by name."""
    shapes = {
        name: [size if isinstance(size, int) else str(size) for size in value.shape] for name, value in values.items()
    }
    return with_batch_axes(shapes, [str(value.dtype).removeprefix("torch.") for value in values.values()])


def _fit_one(item: OpenInput, example: Tensor | None, title: str) -> Tensor:
    """Returns a tensor for one input.

    Args:
        item: What the program says about it.
        example: A tensor to take values and free sizes from, or None.
        title: What the user wrote, for messages.
    """
    from edgekit.sources.example_inputs import example_of

    sizes = item.shape or ()
    shape: list[int] = []
    for axis, size in enumerate(sizes):
        if size is not None or axis in item.batch_axes:
            shape.append(size or 1)
        elif example is None or example.ndim != len(sizes):
            raise ModelError(
                f'{title}: axis {axis} of the input "{item.name}" is dynamic, and artifacts have fixed shapes. '
                f"Give the size that you want: {flags_of([item])}, or example inputs of that size."
            )
        else:
            shape.append(int(example.shape[axis]))
    made = example_of(InputSizes(name=item.name, shape=tuple(shape), dtype=item.dtype))
    if (
        example is not None
        and example.ndim == len(shape)
        and all(have >= want for have, want in zip(example.shape, shape, strict=True))
    ):
        return example[tuple(slice(0, size) for size in shape)].detach().cpu().to(made.dtype).contiguous()
    return made
