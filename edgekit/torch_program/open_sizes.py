"""Captures a module with the sizes that its artifacts leave open, and tells which line of the user's does not allow it.

The program is captured beside the one with the largest sizes, from the same module, and held against it at the
smallest, the typical and the largest size. Runs in a worker that has torch.
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgekit.errors import ModelError
from edgekit.model import OPEN_NAME, CapturedModel, Dimension, OpenSizes
from edgekit.task.input_sizes import InputSizes
from edgekit.task.user_code import is_user_file
from edgekit.torch_program.example_call import ExampleCall
from edgekit.torch_program.graph_nodes import example_inputs_of
from edgekit.torch_program.program_archive import load_program
from edgekit.torch_program.trace_module import Bounds, export_module, run_module

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.export import ExportedProgram

_GUARDS: Final = "torch.fx.experimental.symbolic_shapes"
"""The logger by which torch says which line has bound a size, and to what."""
_OTHER: Final = "*"


def save_open(
    module: nn.Module,
    call: ExampleCall,
    axes: Sequence[Sequence[str]],
    dimensions: Sequence[Dimension],
    folder: Path,
    title: str,
) -> OpenSizes:
    """Captures a module with open sizes, saves the program to `folder` and describes it.

    Args:
        module: In eval mode.
        call: What it is called with, at the largest sizes.
        axes: For each tensor of the call the name of the dimension on each axis, "" for a fixed one.
        dimensions: How far they go.
        folder: Where the captured model lies.
        title: For messages: what the user wrote.

    Raises:
        ModelError: the model binds a dimension, or computes something else at another size.
    """
    import torch

    from edgekit.torch_program.canonical_program import check_equal, folded_program

    bounds = bounds_of(axes, dimensions)
    with _naming_lines(dimensions, title):
        program = export_module(module, call, title, bounds)
        program = folded_program(program, call.tensors, title, bounds)
    opened = OpenSizes(dimensions=tuple(dimensions), inputs=tuple(map(tuple, axes)), outputs=())
    shapes: list[tuple[dict[str, int], list[tuple[int, ...]]]] = []
    for sizes in _extremes(opened):
        tensors = [_cut(tensor, names, sizes) for tensor, names in zip(call.tensors, axes, strict=True)]
        at = ", ".join(f"{name} {size}" for name, size in sizes.items())
        try:
            expected = run_module(module, call.with_tensors(tensors), title)
            got = run_module(program.module(check_guards=False), tensors, title)
        except ModelError as error:
            raise ModelError(
                f"{title}: the dimensions ({opened.words}) allow {at}, and there the model fails. Make the bounds fit, "
                f"or compute with the input's own size (x.shape) in that line.\n{error.message}"
            ) from error
        check_equal(expected, got, f"{title} at {at}")
        shapes.append((sizes, [tuple(tensor.shape) for tensor in got]))
    torch.export.save(program, str(folder / OPEN_NAME))
    return OpenSizes(dimensions=opened.dimensions, inputs=opened.inputs, outputs=_output_axes(shapes))


def open_program(
    module: nn.Module, call: ExampleCall, sizes: Sequence[InputSizes], dimensions: Sequence[Dimension], title: str
) -> ExportedProgram:
    """Returns a module as an ExportedProgram with the axes open that `sizes` names; all fixed without dimensions.

    Raises:
        ModelError: torch cannot capture it, or it binds a dimension.
    """
    if not dimensions:
        return export_module(module, call, title)
    with _naming_lines(dimensions, title):
        return export_module(module, call, title, bounds_of(axes_of(call, sizes), dimensions))


def axes_of(call: ExampleCall, sizes: Sequence[InputSizes]) -> list[tuple[str, ...]]:
    """Returns for each tensor of a call the name of the dimension on each axis, "" for a fixed one."""
    named = {item.name: item.axes for item in sizes if item.axes}
    return [named.get(name, ("",) * tensor.ndim) for name, tensor in zip(call.names, call.tensors, strict=True)]


def bounds_of(axes: Sequence[Sequence[str]], dimensions: Sequence[Dimension]) -> Bounds:
    """Returns torch's bounds for each axis of each tensor; a dimension in steps is a multiple of their number."""
    from torch.export import Dim

    made: dict[str, Any] = {}
    for item in dimensions:
        steps = Dim(item.name, min=item.min // item.multiple_of, max=item.max // item.multiple_of)
        made[item.name] = steps if item.multiple_of == 1 else item.multiple_of * steps
    return [{axis: made[name] for axis, name in enumerate(names) if name} for names in axes]


def _extremes(opened: OpenSizes) -> list[dict[str, int]]:
    """Returns the sizes that are tried; each dimension at its smallest alone tells whose size an output has."""
    largest = {item.name: item.max for item in opened.dimensions}
    return [*opened.sizes().values(), *({**largest, item.name: item.min} for item in opened.dimensions)]


def _cut(tensor: Tensor, names: Sequence[str], sizes: Mapping[str, int]) -> Tensor:
    for axis, name in enumerate(names):
        if name:
            tensor = tensor.narrow(axis, 0, sizes[name])
    return tensor.contiguous()


def _output_axes(shapes: Sequence[tuple[dict[str, int], list[tuple[int, ...]]]]) -> tuple[tuple[str, ...], ...]:
    """Returns for each axis of each output the dimension whose size it always has, "" where it never changes."""
    found: list[tuple[str, ...]] = []
    for k in range(len(shapes[0][1])):
        names: list[str] = []
        for axis in range(len(shapes[0][1][k])):
            had = [made[k][axis] for _, made in shapes]
            same = [name for name in shapes[0][0] if had == [sizes[name] for sizes, _ in shapes]]
            names.append("" if len(set(had)) == 1 else same[0] if same else _OTHER)
        found.append(tuple(names))
    return tuple(found)


@contextmanager
def _naming_lines(dimensions: Sequence[Dimension], title: str) -> Generator[None, None, None]:
    """Turns torch's refusal of an open size into a sentence with the dimension, the constraint and the user's line.

    Raises:
        ModelError: that sentence.
    """
    guards = _Guards()
    logger = logging.getLogger(_GUARDS)
    level, passes_on, handlers = logger.level, logger.propagate, logger.handlers
    # torch's own handler would print each of them.
    logger.handlers = [guards]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    except ModelError as error:
        cause = str(error.__cause__ or "")
        bound = [item for item in dimensions if re.search(rf"\b{item.name}\b", cause)]
        if "Constraints violated" not in cause and "onstraint" not in type(error.__cause__).__name__:
            raise
        named = bound or list(dimensions)
        constraint = _constraint(cause, named)
        raise ModelError(
            f"{title}: the model does not leave {' and '.join(item.name for item in named)} open "
            f"({', '.join(item.range_text for item in named)}){guards.place()}: {constraint}. Compute with the input's "
            f"own size there (x.shape), make the bounds of the dimension fit, or fix the size: {_fixed(named)}"
        ) from error
    finally:
        logger.handlers = handlers
        logger.setLevel(level)
        logger.propagate = passes_on


class _Guards(logging.Handler):
    """Keeps what torch says about sizes that it binds."""

    def __init__(self) -> None:
        super().__init__(level=logging.INFO)
        self._places: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps the line of a guard where it is the user's own."""
        if "[guard added]" not in record.getMessage():
            return
        frames = [frame for frame in traceback.extract_stack() if is_user_file(frame.filename)]
        if frames:
            self._places.append(f", at {frames[-1].filename}:{frames[-1].lineno}: {frames[-1].line}")

    def place(self) -> str:
        """Returns `, at file:line` of the last binding, "" where none is known."""
        return self._places[-1] if self._places else ""


def _constraint(text: str, named: Sequence[Dimension]) -> str:
    """Returns what the model demands of a size, from torch's refusal."""
    for line in text.splitlines():
        if found := re.search(r"specialized it to be a constant \((\d+)\)", line):
            step = named[0].multiple_of
            return f"it holds for {named[0].name} = {int(found[1]) * step} only"
        if found := re.search(r"satisfy the generated guard (.+?)\.?$", line.strip()):
            return f"it holds for {found[1].strip().rstrip('.')} only"
    return text.strip().splitlines()[0].rstrip(".") if text.strip() else "torch.export names no constraint"


def _fixed(named: Sequence[Dimension]) -> str:
    return f"a number in the place of {named[0].name} in --input or [inputs]"


def load_captured(model: CapturedModel) -> ExportedProgram:
    """Returns the program of a captured `pt2` model, with the sizes open that its artifacts leave open."""
    program = load_program(model.open_path)
    forget_products(program)
    return program


def program_at(model: CapturedModel, sizes: Mapping[str, int]) -> ExportedProgram:
    """Returns the program of a captured model with open sizes at one size of each, in canonical form."""
    from edgekit.torch_program.canonical_program import canonical

    program = load_captured(model)
    tensors = _tensors_at(program, model, sizes)
    fixed = export_module(program.module(check_guards=False), tensors, model.source)
    return canonical(fixed, tensors, model.source)


def calls_at_sizes(
    model: CapturedModel,
) -> Generator[tuple[dict[str, int], list[Tensor], tuple[Tensor, ...]], None, None]:
    """Yields sizes at which an artifact must hold, with inputs of them and what the float program returns.

    They are the smallest, the typical and the largest, and each dimension at its smallest alone.
    """
    program = load_captured(model)
    module = program.module(check_guards=False)
    opened = model.open_sizes
    for sizes in [] if opened is None else _extremes(opened):
        tensors = _tensors_at(program, model, sizes)
        yield sizes, tensors, run_module(module, tensors, model.source)


def _tensors_at(program: ExportedProgram, model: CapturedModel, sizes: Mapping[str, int]) -> list[Tensor]:
    axes = model.open_sizes.inputs if model.open_sizes is not None else ()
    return [_cut(tensor, names, sizes) for tensor, names in zip(example_inputs_of(program), axes, strict=True)]


def forget_products(program: ExportedProgram) -> None:
    """Mends a program that torch.export.load has read: it notes a range for `32*height` as if that were a symbol.

    Later passes trip over it; the range of `height` says the same.
    """
    values = [node.meta.get("val") for node in program.graph.nodes]
    environments: list[Any] = [value.fake_mode.shape_env for value in values if hasattr(value, "fake_mode")]
    for environment in environments[:1]:
        for ranges in (environment.var_to_range, environment.backed_var_to_val):
            for name in [name for name in ranges if not name.is_Symbol]:
                del ranges[name]
