"""Takes joined outputs apart: each member of a concatenation at the end becomes an output of its own.

So each keeps its own range in integers, and the app, or whoever measures, joins them again (`CapturedModel.joined`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

from edgekit.analysis.output_heads import DECODING, role_of
from edgekit.errors import ModelError
from edgekit.model import JoinedOutput
from edgekit.torch_program import program_facts
from edgekit.torch_program.canonical_program import flatten_signature
from edgekit.torch_program.facts import Capture
from edgekit.torch_program.graph_nodes import example_inputs_of, is_node, operator_name
from edgekit.torch_program.program_archive import load_program
from edgekit.torch_program.torch_protocols import Node
from edgekit.torch_program.trace_module import export_module

_TURNS: Final = frozenset({"permute", "transpose"})
_BOX: Final = 4


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What an output becomes.

    Attributes:
        axis: Axis along which the members are joined; None for an output that stays whole.
        members: The nodes that take its place.
        labels: What they are called.
    """

    axis: int | None
    members: tuple[Node, ...]
    labels: tuple[str, ...]


def with_split_outputs(found: Capture, folder: Path, title: str) -> Capture:
    """Returns the capture with its joined outputs taken apart; its file in `folder` is replaced.

    Args:
        found: Captured as `pt2`.
        folder: Where its file lies.
        title: For messages: what the user wrote.

    Raises:
        ModelError: it is no torch program, keeps states or open sizes, or has no joined output.
    """
    if found.kind != "pt2":
        raise ModelError(
            f"{title} was captured as {found.kind}, and outputs are split in torch and ONNX models only. Omit "
            "--split-outputs, or give the model that the file was made from."
        )
    if found.states or found.open_sizes is not None:
        raise ModelError(
            f"{title} has {'states' if found.states else 'open sizes'}, and outputs are split in models without. Omit "
            "--split-outputs."
        )
    program = load_program(folder / found.file, title)
    module = program.module(check_guards=False)
    flatten_signature(module)
    output = next(node for node in reversed(module.graph.nodes) if node.op == "output")
    results = list(output.args[0]) if isinstance(output.args[0], (list, tuple)) else [output.args[0]]
    names = [spec.name for spec in found.outputs]
    taken = {spec.name for spec in (*found.inputs, *found.outputs)}
    parts = [_parts_of(node, name, taken) for node, name in zip(results, names, strict=True)]
    if all(part.axis is None for part in parts):
        raise ModelError(
            f"{title} has no joined output: {', '.join(names)} {'ends' if len(names) == 1 else 'end'} in no "
            "concatenation. Omit --split-outputs."
        )
    output.args = (tuple(member for part in parts for member in part.members),)
    module.graph.eliminate_dead_code()
    module.recompile()
    made = program_facts.save(
        export_module(module, example_inputs_of(program), title),
        folder,
        found.parameters,
        [label for part in parts for label in part.labels],
        [spec.name for spec in found.inputs],
        float_types=found.float_types,
    )
    joined = tuple(
        JoinedOutput(name=name, axis=part.axis, members=part.labels)
        for name, part in zip(names, parts, strict=True)
        if part.axis is not None
    )
    return replace(made, metadata=found.metadata, joined=joined, settled_branches=found.settled_branches)


def _parts_of(result: Node, name: str, taken: set[str]) -> _Parts:
    """Returns the members of an output that ends in a concatenation, with the turns behind it done to each member."""
    turns: list[Node] = []
    node = result
    while operator_name(node) in _TURNS and len(node.args[0].users) == 1:
        turns.append(node)
        node = node.args[0]
    if operator_name(node) != "cat" or len(node.args[0]) < 2:
        return _Parts(axis=None, members=(result,), labels=(name,))
    rank = len(node.meta["val"].shape)
    axis = (node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)) % rank
    members = tuple(node.args[0])
    labels = _labels(members, axis, name, taken)
    for turn in reversed(turns):
        members = tuple(_turned(member, turn) for member in members)
        axis = _axis_behind(axis, turn, rank)
    return _Parts(axis=axis, members=members, labels=labels)


def _turned(member: Node, turn: Node) -> Node:
    with turn.graph.inserting_before(turn):
        made = turn.graph.call_function(turn.target, (member, *turn.args[1:]), dict(turn.kwargs))
    made.meta = dict(turn.meta)
    return made


def _axis_behind(axis: int, turn: Node, rank: int) -> int:
    if operator_name(turn) == "permute":
        return [int(order) % rank for order in turn.args[1]].index(axis)
    first, second = (int(place) % rank for place in turn.args[1:3])
    return {first: second, second: first}.get(axis, axis)


def _labels(members: Sequence[Node], axis: int, name: str, taken: set[str]) -> tuple[str, ...]:
    """Returns readable names: of the modules that the members come from, else what the values are."""
    found = [_module_label(member) or _kind(member, axis) for member in members]
    own = [word if word and found.count(word) == 1 and word not in taken else "" for word in found]
    labels = [word or f"{name}_{found[i] or 'part'}_{i}" for i, word in enumerate(own)]
    taken.update(labels)
    return tuple(labels)


def _module_label(member: Node) -> str:
    """Returns the last word that all modules of the layers behind a member have in common, "" for none."""
    modules: list[list[str]] = []
    pending, seen = [member], set[str]()
    while pending:
        node = pending.pop()
        if node.name in seen:
            continue
        seen.add(node.name)
        if node.op == "call_function" and role_of(operator_name(node)) == "layer":
            modules.append(_module_of(node))
        else:
            pending += [item for item in node.all_input_nodes if is_node(item) and item.op == "call_function"]
    common: list[str] = []
    for words in zip(*modules, strict=False):
        if len(set(words)) > 1:
            break
        common.append(words[0])
    return next((word for word in reversed(common) if not word.isdigit()), "")


def _module_of(node: Node) -> list[str]:
    stack: Mapping[str, Any] = node.meta.get("nn_module_stack") or {}
    paths = [str(path) for path, _ in stack.values()]
    return paths[-1].split(".") if paths and paths[-1] else []


def _kind(member: Node, axis: int) -> str:
    if role_of(operator_name(member)) in DECODING:
        return "scores"
    return "boxes" if int(member.meta["val"].shape[axis]) == _BOX else ""
