"""Bodies of If, Loop and Scan nodes laid out in the graph around them, to be counted. The result is not to be run.

Runs in a worker process; onnx is imported late.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.analysis.onnx_normal_form import bodies_of, nodes_of

if TYPE_CHECKING:
    import onnx

BODY_OPERATORS: Final = frozenset({"If", "Loop", "Scan"})
"""Operators that hold graphs. After `lay_out_bodies` a node of these marks where one was: it writes nothing."""

_MOST_PASSES: Final = 256
"""Passes of a loop that are laid out; longer loops are counted in part, and the notes say so."""


def lay_out_bodies(model: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """Returns the model with the work of its bodies in the main graph, and notes about what is not known.

    Of an If the heavier branch is laid out, because a device must bear it; the weights of the other one lie in the file
    too, and the node that is left reads them. A loop's body is laid out once for each pass where the file says how many
    there are, else once.

    Args:
        model: ModelProto with inferred shapes.
    """
    import onnx

    if not any(node.op_type in BODY_OPERATORS for node in model.graph.node):
        return model, ()
    flat = onnx.ModelProto()
    flat.CopyFrom(model)
    del flat.graph.node[:]
    layout = _Layout(flat.graph)
    layout.place(model.graph, {})
    return flat, tuple(dict.fromkeys(layout.notes))


@final
class _Layout:
    """Copies nodes into one graph, each value of a body under a name of its own."""

    def __init__(self, target: onnx.GraphProto) -> None:
        self._target = target
        self._constants = {tensor.name: tensor for tensor in target.initializer}
        self._shapes = {value.name: value for value in (*target.input, *target.value_info)}
        self.notes: list[str] = []

    def place(self, graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
        """Appends the nodes of `graph`; `names` says what its values are called in the target."""
        for node in graph.node:
            if node.op_type == "If":
                self._place_branch(node, names)
            elif node.op_type in BODY_OPERATORS:
                self._place_loop(node, names)
            else:
                copy = self._target.node.add()
                copy.CopyFrom(node)
                _rename(copy, names)

    def _enter(
        self, body: onnx.GraphProto, names: Mapping[str, str], prefix: str, weights: Mapping[str, str]
    ) -> dict[str, str]:
        """Returns the names inside a body, its shapes declared; `weights` are its stored tensors' names."""
        inner = {**names, **weights}
        for node in body.node:
            inner |= {name: f"{prefix}/{name}" for name in node.output if name}
        for value in (*body.input, *body.value_info, *body.output):
            if value.name in inner and value.type.tensor_type.HasField("shape"):
                copy = self._target.value_info.add()
                copy.CopyFrom(value)
                copy.name = inner[value.name]
        return inner

    def _store(self, body: onnx.GraphProto, prefix: str) -> dict[str, str]:
        """Puts a body's own weights into the target and returns what they are called there."""
        for tensor in body.initializer:
            copy = self._target.initializer.add()
            copy.CopyFrom(tensor)
            copy.name = f"{prefix}/{tensor.name}"
            self._constants[copy.name] = copy
        return {tensor.name: f"{prefix}/{tensor.name}" for tensor in body.initializer}

    def _mark(self, node: onnx.NodeProto, reads: list[str]) -> None:
        mark = self._target.node.add()
        mark.op_type, mark.name = node.op_type, node.name or f"{node.op_type}_{node.output[0]}"
        mark.input.extend(reads)

    def _join(self, kind: str, reads: list[str], output: str, names: Mapping[str, str]) -> None:
        copy = self._target.node.add()
        copy.op_type, copy.name = kind, f"{names.get(output, output)}/{kind}"
        copy.input.extend(reads)
        copy.output.append(names.get(output, output))

    def _place_branch(self, node: onnx.NodeProto, names: Mapping[str, str]) -> None:
        label = names.get(node.output[0], node.output[0])
        branches = dict(bodies_of(node))
        taken = self._chosen(names.get(node.input[0], node.input[0]), branches)
        for branch, body in branches.items():
            weights = self._store(body, f"{label}/{branch}")
            if branch != taken:
                self._mark(node, [*weights.values(), *self._deeper(body, f"{label}/{branch}")])
                continue
            inner = self._enter(body, names, f"{label}/{branch}", weights)
            self.place(body, inner)
            for value, output in zip(body.output, node.output, strict=False):
                self._join("Identity", [inner.get(str(value.name), str(value.name))], output, names)

    def _deeper(self, body: onnx.GraphProto, prefix: str) -> list[str]:
        """Stores what the nodes of a branch that is not laid out hold: constants, and weights of inner bodies."""
        import onnx

        found: list[str] = []
        for i, node in enumerate(nodes_of(body)):
            for name, inner in bodies_of(node):
                found += self._store(inner, f"{prefix}/{i}/{name}").values()
            if node.op_type == "Constant":
                value = next((a.t for a in node.attribute if a.name == "value"), onnx.TensorProto())
                copy = self._target.initializer.add()
                copy.CopyFrom(value)
                copy.name = f"{prefix}/{i}/{node.output[0]}"
                found.append(copy.name)
        return found

    def _chosen(self, condition: str, branches: Mapping[str, Any]) -> str:
        from onnx import numpy_helper

        if condition in self._constants:
            return "then_branch" if bool(numpy_helper.to_array(self._constants[condition]).item()) else "else_branch"
        return max(branches, key=lambda name: _weight_count(branches[name]))

    def _place_loop(self, node: onnx.NodeProto, names: Mapping[str, str]) -> None:
        ((_, body),) = bodies_of(node)
        label = names.get(node.output[0], node.output[0])
        # What is stored and goes around the loop is copied in each run.
        self._mark(node, [names.get(name, name) for name in node.input if names.get(name, name) in self._constants])
        passes = self._passes(node, names)
        weights = self._store(body, label)
        # A Loop's body begins with the pass's number and a condition and ends with one; a Scan's does not.
        skipped = 2 if node.op_type == "Loop" else 0
        carried = [names.get(name, name) for name in node.input[skipped:]]
        states = len(carried) - _scanned(node)
        collected: dict[int, list[str]] = {}
        for i in range(passes):
            given = {value.name: name for value, name in zip(body.input[skipped:], carried, strict=False)}
            inner = self._enter(body, {**names, **given}, f"{label}/pass_{i}", weights)
            self.place(body, inner)
            made = [inner.get(str(value.name), str(value.name)) for value in body.output[skipped // 2 :]]
            carried = [*made[:states], *carried[states:]]
            for k, name in enumerate(made[states:], start=states):
                collected.setdefault(k, []).append(name)
        for k, output in enumerate(node.output):
            if k < states:
                self._join("Identity", [carried[k]], output, names)
            elif k in collected:
                self._join("Concat", collected[k], output, names)

    def _passes(self, node: onnx.NodeProto, names: Mapping[str, str]) -> int:
        """Returns how often a body is laid out."""
        from onnx import numpy_helper

        name = names.get(node.input[0], node.input[0])
        known: int | None = None
        if node.op_type == "Loop" and name in self._constants:
            known = int(numpy_helper.to_array(self._constants[name]).item())
        elif node.op_type == "Scan":
            value = self._shapes.get(names.get(node.input[-1], node.input[-1]))
            sizes: Any = value.type.tensor_type.shape.dim if value is not None else ()
            known = sizes[0].dim_value if len(sizes) and sizes[0].HasField("dim_value") else None
        title = node.name or node.output[0]
        if known is None:
            self.notes.append(
                f'The body of the {node.op_type} "{title}" is counted once: the file does not say how often it runs.'
            )
            return 1
        if known > _MOST_PASSES:
            self.notes.append(
                f'The {node.op_type} "{title}" runs its body {known} times; {_MOST_PASSES} of them are counted.'
            )
        return max(1, min(known, _MOST_PASSES))


def _scanned(node: onnx.NodeProto) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "num_scan_inputs"), 0)


def _rename(node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    for values in (node.input, node.output):
        for i, name in enumerate(values):
            values[i] = names.get(name, name)


def _weight_count(body: onnx.GraphProto) -> tuple[int, int]:
    """Returns (stored elements, nodes) of a branch, inner bodies included: what tells the heavier one."""
    stored = sum(math.prod(tensor.dims) for tensor in body.initializer)
    nodes = list(nodes_of(body))
    for node in nodes:
        stored += sum(math.prod(t.dims) for a in node.attribute for t in ([a.t] if a.name == "value" else []))
        stored += sum(math.prod(tensor.dims) for _, inner in bodies_of(node) for tensor in inner.initializer)
    return stored, len(nodes)
