"""Open sizes in TFLite: one file whose inputs an app resizes, made from two conversions at fixed sizes.

LiteRT's converter writes sizes as numbers. The same program converted at two sizes gives the same operators, and where
the two differ is what depends on a size: there a shape is left to the interpreter (-1), or computed from the shapes of
tensors. The result is run at every size of interest against the float program before anything else is done with it.

Only ever runs inside a conversion worker.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast, final

from edgekit.analysis.tflite_protocols import TFLiteGraph, TFLiteModel, TFLiteOperator, TFLiteTensor
from edgekit.converters.tflite_file import add_constant, add_tensor, has_data, new_operator, operators, text, write
from edgekit.errors import ConversionError
from edgekit.model import CapturedModel, OpenSizes, TensorSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FAITHFUL_DB: Final = 60.0
"""Least signal to noise of the float file at any size: less is another function, not rounding."""


def probe_sizes(opened: OpenSizes) -> tuple[dict[str, int], dict[str, int]]:
    """Returns the two sizes that a program is converted at: the largest, and one that differs in every dimension.

    No two dimensions change alike where that can be had, so that it shows which of them a shape follows.
    """
    largest = {item.name: item.max for item in opened.dimensions}
    other: dict[str, int] = {}
    for item in opened.dimensions:
        middle = item.min + (item.max - item.min) // item.multiple_of // 2 * item.multiple_of
        smaller = [size for size in (item.typical, middle, item.min) if size < item.max]
        taken = {(largest[name], size) for name, size in other.items()}
        other[item.name] = next((size for size in smaller if (item.max, size) not in taken), smaller[-1])
    return largest, other


def leave_open(model: TFLiteModel, other: TFLiteModel, captured: CapturedModel) -> None:
    """Makes a float model resizable; its tensors keep the largest sizes.

    Args:
        model: Converted at the largest sizes; changed in place.
        other: The same program at the second sizes of `probe_sizes`.
        captured: Names the sizes that stay open.

    Raises:
        ConversionError: an operator depends on a size in a way that TFLite cannot express.
    """
    try:
        _Opening(model=model, other=other).run()
        _check(model, captured)
    except _NotOpenError as error:
        opened = cast("OpenSizes", captured.open_sizes)
        raise ConversionError(
            f"{captured.source} cannot become tflite with open sizes ({opened.words}): {error}. Use --format onnx, "
            "executorch or coreml, or give a number in the place of "
            f"{opened.dimensions[0].name} in --input or [inputs]."
        ) from error


def free_axes(graph: TFLiteGraph, indices: Iterable[int], specs: Sequence[TensorSpec]) -> None:
    """Writes into the file which sizes of inputs or outputs are open, as LiteRT's `shape_signature` tells them."""
    for index, spec in zip(indices, specs, strict=True):
        if -1 in spec.shape:
            graph.tensors[index].shapeSignature = list(spec.shape)


@final
class _NotOpenError(Exception):
    """Why a model cannot be left open, without a full stop."""


@final
class _Opening:
    """Turns what differs between two conversions into shapes that follow the inputs."""

    def __init__(self, *, model: TFLiteModel, other: TFLiteModel) -> None:
        self._model, self._other = model, other
        self._graph, self._other_graph = model.subgraphs[0], other.subgraphs[0]

    def run(self) -> None:
        """Changes the model.

        Raises:
            _NotOpenError: names the operator.
        """
        mine, theirs = list(operators(self._model)), list(operators(self._other))
        if len(self._model.subgraphs) > 1 or [kind for _, _, kind in mine] != [kind for _, _, kind in theirs]:
            raise _NotOpenError("LiteRT's converter writes other operators at another size")
        made: list[TFLiteOperator] = []
        for (_, operator, kind), (_, twin, _) in zip(mine, theirs, strict=True):
            if not _equal_options(operator.builtinOptions, twin.builtinOptions):
                raise _NotOpenError(f"{self._place(operator, kind)} has a setting that depends on a size")
            for place in range(len(operator.inputs)):
                made += self._follow(operator, twin, place, kind)
            made.append(operator)
            for index, other in zip(operator.outputs, twin.outputs, strict=True):
                _free(self._graph.tensors[index], self._other_graph.tensors[other].shape)
        self._graph.operators = made

    def _follow(self, operator: TFLiteOperator, twin: TFLiteOperator, place: int, kind: str) -> list[TFLiteOperator]:
        """Lets one constant follow the sizes where it differs; returns the operators that compute it."""
        if operator.inputs[place] < 0:
            return []
        tensor, other = self._graph.tensors[operator.inputs[place]], self._other_graph.tensors[twin.inputs[place]]
        if not has_data(self._model, tensor):
            return []
        values, others = _values(self._model, tensor), _values(self._other, other)
        if values.shape == others.shape and bytes(values) == bytes(others):
            return []
        if values.dtype.name == "int32" and values.ndim == 1 and values.shape == others.shape:
            return self._follow_shape(operator, twin, place, (values, others), kind)
        corner = tuple(slice(0, size) for size in others.shape)
        if values.ndim == others.ndim and values.ndim and bytes(values[corner].copy()) == bytes(others):
            return self._cut(operator, twin, place, (values.shape, others.shape), kind)
        raise _NotOpenError(f"{self._place(operator, kind)} reads a constant that depends on a size")

    def _follow_shape(
        self,
        operator: TFLiteOperator,
        twin: TFLiteOperator,
        place: int,
        pair: tuple[NDArray[np.int32], NDArray[np.int32]],
        kind: str,
    ) -> list[TFLiteOperator]:
        values, others = pair
        differing = [i for i in range(len(values)) if values[i] != others[i]]
        if kind == "RESHAPE" and len(differing) == 1:
            free = values.copy()
            free[differing] = -1
            _set_input(operator, place, add_constant(self._model, self._graph, self._name(operator), free))
            _forget_shape(operator)
            return []
        found, made = self._computed(operator, twin, list(map(int, values)), list(map(int, others)), kind)
        _set_input(operator, place, found)
        if kind == "RESHAPE":
            _forget_shape(operator)
        return made

    def _cut(
        self,
        operator: TFLiteOperator,
        twin: TFLiteOperator,
        place: int,
        shapes: tuple[Sequence[int], Sequence[int]],
        kind: str,
    ) -> list[TFLiteOperator]:
        """Reads the corner of a constant that has the largest size: a table of positions, a mask."""
        import numpy as np

        source = int(operator.inputs[place])
        sizes, made = self._computed(operator, twin, list(shapes[0]), list(shapes[1]), kind)
        start = add_constant(self._model, self._graph, self._name(operator), np.zeros(len(shapes[0]), np.int32))
        tensor = self._graph.tensors[source]
        result = add_tensor(self._graph, self._name(operator), tensor.shape, tensor.type, 0)
        _free(self._graph.tensors[result], shapes[1])
        made.append(new_operator(self._model, "SLICE", [source, start, sizes], result, "SliceOptions"))
        _set_input(operator, place, result)
        return made

    def _computed(
        self, operator: TFLiteOperator, twin: TFLiteOperator, values: list[int], others: list[int], kind: str
    ) -> tuple[int, list[TFLiteOperator]]:
        """Returns a tensor of sizes, each a multiple of a tensor's size plus a number, and what computes it."""
        import numpy as np

        for index, twin_index in self._sources(operator, twin):
            had, then = self._graph.tensors[index].shape, self._other_graph.tensors[twin_index].shape
            rules = [_rule(i, values[i], others[i], had, then) for i in range(len(values))]
            if None in rules:
                continue
            axes, factors, offsets = (np.array(column, np.int32) for column in zip(*cast("Any", rules), strict=True))
            made: list[TFLiteOperator] = []
            found = self._add(made, "SHAPE", [index], len(had), "ShapeOptions", outType=2)
            axes_at = add_constant(self._model, self._graph, self._name(operator), axes)
            found = self._add(made, "GATHER", [found, axes_at], len(values), "GatherOptions")
            for step, numbers, neutral in (("MUL", factors, 1), ("ADD", offsets, 0)):
                if (numbers != neutral).any():
                    at = add_constant(self._model, self._graph, self._name(operator), numbers)
                    found = self._add(made, step, [found, at], len(values), f"{step.capitalize()}Options")
            return found, made
        raise _NotOpenError(f"{self._place(operator, kind)} has a shape that is no multiple of an input's size")

    def _add(
        self, made: list[TFLiteOperator], kind: str, inputs: list[int], size: int, options: str, **settings: int
    ) -> int:
        from ai_edge_litert import schema_py_generated as schema

        result = add_tensor(self._graph, f"sizes/{len(self._graph.tensors)}", [size], schema.TensorType.INT32, 0)
        made.append(new_operator(self._model, kind, inputs, result, options, **settings))
        return result

    def _sources(self, operator: TFLiteOperator, twin: TFLiteOperator) -> Iterator[tuple[int, int]]:
        """Yields the tensors whose shapes an operator's may follow: what it reads, then the model's inputs."""
        for index, other in zip(operator.inputs, twin.inputs, strict=True):
            if index >= 0 and len(self._graph.tensors[index].shape or ()) and self._is_known(int(index)):
                yield int(index), int(other)
        for index, other in zip(self._graph.inputs, self._other_graph.inputs, strict=True):
            yield int(index), int(other)

    def _is_known(self, index: int) -> bool:
        return not has_data(self._model, self._graph.tensors[index]) and index < len(self._graph.tensors)

    def _name(self, operator: TFLiteOperator) -> str:
        return f"{text(self._graph.tensors[operator.outputs[0]].name)}/sizes_{len(self._graph.tensors)}"

    def _place(self, operator: TFLiteOperator, kind: str) -> str:
        return f"{kind} ({text(self._graph.tensors[operator.outputs[0]].name).strip(';')})"


def _free(tensor: TFLiteTensor, other: Sequence[int]) -> None:
    """Notes the sizes of a tensor that differ from `other` as free: kernels take its shape for the final one else."""
    if list(tensor.shape) != list(other):
        sizes = zip(tensor.shape, other, strict=True)
        tensor.shapeSignature = [int(size) if size == small else -1 for size, small in sizes]


def _rule(place: int, value: int, other: int, had: Sequence[int], then: Sequence[int]) -> tuple[int, int, int] | None:
    """Returns (axis, factor, offset) by which a size follows a tensor's at both sizes; None where it follows none."""
    if value == other:
        return 0, 0, value
    found: list[tuple[int, int, int]] = []
    for axis, (size, small) in enumerate(zip(had, then, strict=True)):
        if size != small and (value - other) % (size - small) == 0:
            factor = (value - other) // (size - small)
            found.append((axis, factor, value - factor * int(size)))
    # Where several axes would do, a plain multiple is the likelier rule, and then that of the same axis.
    return min(found, key=lambda rule: (rule[2] != 0, rule[0] != place), default=None)


def _equal_options(left: Any, right: Any) -> bool:
    """Returns whether two operators have the same settings; a reshape's come as a constant too, which is compared."""
    if left is None or right is None:
        return left is right
    mine, theirs = (
        {key: str(value) for key, value in vars(options).items() if key != "newShape"} for options in (left, right)
    )
    return mine == theirs


def _values(model: TFLiteModel, tensor: TFLiteTensor) -> NDArray[Any]:
    """Returns a constant's values in its shape."""
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    names = {value: name.lower() for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
    data = cast("NDArray[np.uint8]", model.buffers[tensor.buffer].data)
    return np.frombuffer(bytes(data), dtype=names[tensor.type]).reshape(tuple(tensor.shape))


def _forget_shape(operator: TFLiteOperator) -> None:
    """Leaves a reshape's shape to its second input."""
    operator.builtinOptions = None
    operator.builtinOptionsType = 0


def _set_input(operator: TFLiteOperator, place: int, index: int) -> None:
    inputs = [int(i) for i in operator.inputs]
    inputs[place] = index
    operator.inputs = inputs


def _check(model: TFLiteModel, captured: CapturedModel) -> None:
    """Runs the model at the smallest, the typical and the largest size, and at each dimension's smallest alone.

    Raises:
        _NotOpenError: it fails there, or gives something else than the float program.
    """
    import torch
    from ai_edge_litert.interpreter import Interpreter

    from edgekit.torch_program.open_sizes import calls_at_sizes

    content = write(model)
    for sizes, tensors, expected in calls_at_sizes(captured):
        at = ", ".join(f"{name} {size}" for name, size in sizes.items())
        interpreter: Any = Interpreter(model_content=content)
        try:
            details = interpreter.get_input_details()
            ordered = [details[k] for k in _positions(details, model.subgraphs[0].inputs)]
            for detail, tensor in zip(ordered, tensors, strict=True):
                interpreter.resize_tensor_input(detail["index"], list(tensor.shape))
            interpreter.allocate_tensors()
            for detail, tensor in zip(ordered, tensors, strict=True):
                interpreter.set_tensor(detail["index"], tensor.numpy().astype(detail["dtype"]))
            interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise _NotOpenError(f"at {at} LiteRT says {' '.join(str(error).split())[:200].rstrip('.')}") from error
        for index, wanted in zip(model.subgraphs[0].outputs, expected, strict=True):
            got = torch.from_numpy(interpreter.get_tensor(int(index)))
            if got.shape != wanted.shape:
                raise _NotOpenError(
                    f"at {at} an output has the shape {tuple(got.shape)} instead of {tuple(wanted.shape)}"
                )
            noise = float((got.double() - wanted.double()).square().sum())
            if noise > float(wanted.double().square().sum()) * 10 ** (-_FAITHFUL_DB / 10):
                raise _NotOpenError(f"at {at} LiteRT gives other values than the float model")


def _positions(details: Sequence[Mapping[str, Any]], indices: Sequence[int] | NDArray[np.int32]) -> list[int]:
    places = {int(detail["index"]): k for k, detail in enumerate(details)}
    return [places[int(index)] for index in indices]
