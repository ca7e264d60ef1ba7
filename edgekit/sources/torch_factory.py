"""The source `module:factory` or `file.py:factory`: a function that returns a torch.nn.Module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, final

from edgekit.errors import ModelError
from edgekit.model import SourceKind
from edgekit.sources.base import CaptureRequest, Source
from edgekit.sources.example_inputs import Given
from edgekit.torch_program.facts import Capture
from edgekit.workers.worker import Progress

if TYPE_CHECKING:
    from torch import nn


@final
class TorchFactorySource(Source):
    """Calls the factory, captures the module with torch.export, and saves it in canonical form."""

    kind: ClassVar[SourceKind] = "torch"
    extra: ClassVar[str] = "torch"
    needs: ClassVar[Mapping[str, str]] = {"torch": "torch"}

    def why_not(self, target: str) -> str | None:  # noqa: ARG002  the contract's argument
        """Every format can be made from an exported torch program."""
        return None

    def read(self, request: CaptureRequest, folder: Path, progress: Progress) -> Capture:
        """Calls user code: the factory, the example inputs, the forward."""
        progress("building the model", None)
        module = _returned_module(request)
        return capture_as_float(module, request, folder, progress)


def capture_as_float(
    module: nn.Module, request: CaptureRequest, folder: Path, progress: Progress, known: Given | None = None
) -> Capture:
    """Captures a module on the CPU, in float32, in eval mode, and says which other floats it held.

    The arguments are those of `capture_module`.

    Raises:
        ModelError: it cannot be captured, or the example inputs are missing or wrong.
    """
    others = _other_float_types(module)
    usual = module.cpu().float().eval().requires_grad_(requires_grad=False)
    found = capture_module(usual, request, folder, progress, known)
    return replace(found, float_types=tuple(sorted({*others, *found.float_types})))


def capture_module(
    module: nn.Module, request: CaptureRequest, folder: Path, progress: Progress, known: Given | None = None
) -> Capture:
    """Captures a module in eval mode with the task's example inputs, saves it in canonical form and describes it.

    Args:
        module: On the CPU, in float32, in eval mode, without gradients.
        request: What to capture.
        folder: Where to.
        progress: Told what is done.
        known: Example inputs that are taken where the task gives none.

    Raises:
        ModelError: it cannot be captured, or the example inputs are missing or wrong.
    """
    from edgekit.sources.example_arguments import example_call
    from edgekit.sources.open_capture import captured_open
    from edgekit.torch_program import program_facts
    from edgekit.torch_program.canonical_program import HALF_TOLERANCE, canonical, check_equal
    from edgekit.torch_program.example_call import readable_input_names
    from edgekit.torch_program.lift_states import all_names, keeping_buffers, named_outputs, without_states
    from edgekit.torch_program.single_precision import other_floats
    from edgekit.torch_program.trace_module import export_module, run_module, run_named

    parameters, title = program_facts.count_parameters(module.parameters()), request.source
    call = example_call(module, request, known)
    with keeping_buffers(module):
        expected, words = run_named(module, call, title)
    progress("capturing the graph", None)
    with keeping_buffers(module):
        program = export_module(module, call, title, lengths=True)
    names, others = readable_input_names(program), other_floats(program.graph_module)
    program, inputs, states = without_states(program, call, module, title)
    result = canonical(program, inputs, title)
    got = run_module(result.module(check_guards=False), inputs, title)
    narrow = {"tolerance": HALF_TOLERANCE} if others & {"bfloat16", "float16"} else {}
    check_equal(expected, got[: len(expected)], title, **narrow)
    outputs = named_outputs(words, states, len(expected))
    found = program_facts.save(result, folder, parameters, outputs, all_names(names, states), states, others)
    if not request.dimensions:
        return found
    progress("capturing the graph with open sizes", None)
    return replace(found, open_sizes=captured_open(module, call, request, folder, has_states=bool(states)))


def make_module(request: CaptureRequest) -> nn.Module:
    """Returns the factory's module on the CPU, in float32, otherwise as it is.

    Raises:
        ConfigError: the reference is wrong.
        ModelError: the factory failed, or returned no module.
    """
    return _returned_module(request).cpu().float()


def _other_float_types(module: nn.Module) -> set[str]:
    """Returns the floating-point types of a module's tensors other than float32."""
    found = {tensor.dtype for tensor in (*module.parameters(), *module.buffers())}
    return {str(dtype).removeprefix("torch.") for dtype in found if dtype.is_floating_point} - {"float32"}


def _returned_module(request: CaptureRequest) -> nn.Module:
    import torch

    from edgekit.task.user_code import call_user, check_callable_without_arguments, load_object

    factory = load_object(request.source, request.base, "[model] source")
    if isinstance(factory, torch.nn.Module):
        module: object = factory
    else:
        check_callable_without_arguments(factory, request.source, "[model] source", ModelError)
        module = call_user(factory, (), f"{request.source} failed", ModelError)
    if isinstance(module, torch.jit.ScriptModule):
        from edgekit.sources.torchscript.plain_module import plain_module

        return plain_module(module, request.source)
    if not isinstance(module, torch.nn.Module):
        hint = " Return the model alone." if isinstance(module, (tuple, list)) else ""
        raise ModelError(
            f"{request.source} returned a {type(module).__name__}; expected a torch.nn.Module in eval mode.{hint}"
        )
    return module
