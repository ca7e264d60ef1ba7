"""What lies behind the last layers of a model: the head of each output, where boxes are decoded and outputs are joined.

Converters see the same model as three different graphs (torch, ONNX, TFLite). Each describes its operators by their
names in its own words, and gets from here which of them belong to the head of an output. So one rule decides in every
format, and the recipe needs no other name for a head than the position of its output.

An operator belongs to a head where nothing that it gives reaches a layer with weights again. An expectation over a
softmax (the distribution focal loss of YOLOv8 and GFL: Li et al., "Generalized Focal Loss", 2020, section 3.2) is part
of the head, although it is often written as a convolution or as a matrix product.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, final

from edgekit.analysis.graph import Analysis

HeadRole = Literal[
    "join", "move", "arithmetic", "activation", "clamp", "squash", "softmax", "exponential", "selection", "sum", "layer"
]
"""What an operator does, as far as heads are concerned:

join         concatenates or stacks
move         copies, permutes, cuts, selects by given places, casts
arithmetic   a step per element
activation   SiLU, GELU and such: values stay of the size that they had
clamp        bounds values; it runs inside the layer before it
squash       sigmoid, tanh
softmax      exponentials over their sum
exponential  the exponential alone
selection    the largest values, or their places
sum          a sum over an axis
layer        everything else: convolutions, products, norms, pooling, resizing, and what is not known
"""

_WORDS: Final[Mapping[HeadRole, str]] = {
    "join": "cat concat concatenation stack pack",
    "move": (
        "view reshape flatten unflatten squeeze unsqueeze expanddims transpose permute t movedim swapaxes slice "
        "stridedslice select narrow split splitv splitwithsizes chunk unbind unpack gather gathernd gatherelements "
        "index indexselect take takealongdim flip reverse reversev2 roll repeat repeatinterleave tile expand expandas "
        "broadcastto cast to tocopy typeas float half int long clone contiguous alias identity detach dropout getitem "
        "liftfreshcopy viewas reshapeas pixelshuffle depthtospace shape symsize size range arange full fulllike "
        "zeroslike oneslike newzeros constantofshape fill quantizelinear dequantizelinear"
    ),
    "arithmetic": (
        "add sub rsub mul div neg pow square sqrt rsqrt reciprocal floor ceil round abs sign maximum minimum where "
        "select selectv2 eq ne lt le gt ge equal notequal less lessequal lessorequal greater greaterequal "
        "greaterorequal and or not logicaland logicalor logicalnot floordiv floordivide floormod mod remainder fmod "
        "squareddifference sin cos atan2 log log1p addcmul addcdiv maskedfill"
    ),
    "activation": "silu swish gelu elu leakyrelu prelu mish hardswish softplus",
    "clamp": "relu relu6 hardtanh clamp clampmin clampmax clip relun1to1 relu0to1",
    "squash": "sigmoid logistic tanh hardsigmoid ramp",
    "softmax": "softmax logsoftmax safesoftmax",
    "exponential": "exp exp2 expm1",
    "selection": (
        "max min amax amin argmax argmin reducemax reducemin topk topkv2 sort argsort nonmaxsuppression any reduceany"
    ),
    "sum": "sum reducesum",
}

_ROLES: Final[Mapping[str, HeadRole]] = {word: role for role, words in _WORDS.items() for word in words.split()}

_TRANSPARENT: Final[frozenset[HeadRole]] = frozenset({"move", "arithmetic"})
"""Between a softmax and the sum of an expectation: places are permuted, and probabilities are multiplied by bins."""

DECODING: Final = frozenset({"squash", "softmax", "exponential"})


def role_of(word: str) -> HeadRole:
    """Returns the role of an operator.

    Args:
        word: Its type in the graph's own words: `aten.cat.default`, `cat`, `Concat`, `CONCATENATION`.
    """
    base = word.removeprefix("aten.").partition(".")[0]
    return _ROLES.get(base.replace("_", "").lower(), "layer")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class HeadOperator:
    """One operator of a graph.

    Attributes:
        name: Unique in the graph.
        word: Its type in the graph's own words.
        reads: Names of all that it reads; names that nothing writes are constants or inputs.
        writes: Names of its results.
    """

    name: str
    word: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """A concatenation or a stack in a head.

    Attributes:
        operator: Its name.
        members: Names of the computed tensors that it joins, at least two.
    """

    operator: str
    members: tuple[str, ...]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What lies between the last layers and one output.

    Attributes:
        position: Position of the output.
        output: Name of its tensor.
        operators: Names of its operators in execution order; empty where a layer gives the output.
        joins: Its joints.
        decodes: It computes boxes, scores or expectations from what layers give, by `_decodes`.
        entries: Tensors that layers give to it, in execution order.
    """

    position: int
    output: str
    operators: tuple[str, ...]
    joins: tuple[Join, ...]
    decodes: bool
    entries: tuple[str, ...]


def find_heads(operators: Iterable[HeadOperator], outputs: Sequence[str]) -> tuple[Head, ...]:
    """Returns the head of each output.

    Args:
        operators: All of a graph.
        outputs: Names of its outputs, in order.
    """
    graph = _Graph(_in_order(tuple(operators)), outputs)
    return tuple(graph.head(position) for position in range(len(outputs)))


def head_operators(
    operators: Iterable[HeadOperator], outputs: Sequence[str], positions: Collection[int]
) -> frozenset[str]:
    """Returns the names of the operators in the heads of the outputs at `positions`."""
    if not positions:
        return frozenset()
    heads = find_heads(operators, outputs)
    return frozenset(name for head in heads if head.position in positions for name in head.operators)


def analysis_operators(analysis: Analysis) -> tuple[HeadOperator, ...]:
    """Returns the operators of a costed graph."""
    return tuple(
        HeadOperator(name=item.name, word=item.type, reads=item.inputs, writes=item.outputs)
        for item in analysis.operators
    )


def _in_order(operators: Sequence[HeadOperator]) -> tuple[HeadOperator, ...]:
    """Returns the operators in execution order: a graph that a quantizer has written into is in none."""
    writer = {name: item for item in operators for name in item.writes}
    done: dict[str, HeadOperator] = {}
    for last in operators:
        pending = [last]
        while pending:
            item = pending[-1]
            before = [writer[name] for name in item.reads if name in writer and writer[name].name not in done]
            if item.name in done or not before:
                done.setdefault(item.name, item)
                pending.pop()
            else:
                pending += before
    return tuple(done.values())


@final
class _Graph:
    """Who writes and who reads what, and which operators lie behind all layers."""

    def __init__(self, operators: tuple[HeadOperator, ...], outputs: Sequence[str]) -> None:
        self._operators = operators
        self._outputs = outputs
        self._writer = {name: item for item in operators for name in item.writes}
        self._readers: dict[str, list[HeadOperator]] = {}
        for item in operators:
            for name in dict.fromkeys(item.reads):
                self._readers.setdefault(name, []).append(item)
        self._roles = self._find_roles()
        self._behind = self._behind_layers()

    def head(self, position: int) -> Head:
        """Returns the head of the output at `position`."""
        output = self._outputs[position]
        inside: set[str] = set()
        entries: set[str] = set()
        pending = [output]
        while pending:
            writer = self._writer.get(pending[-1])
            name = pending.pop()
            if writer is None:
                continue
            if writer.name not in self._behind:
                entries.update([name] if writer.reads else [])  # without reads it is a constant: places, strides
            elif writer.name not in inside:
                inside.add(writer.name)
                pending += writer.reads
        mine = [item for item in self._operators if item.name in inside]
        return Head(
            position=position,
            output=output,
            operators=tuple(item.name for item in mine),
            joins=self._joins(mine),
            decodes=self._decodes(mine),
            entries=tuple(name for item in self._operators for name in item.writes if name in entries),
        )

    def _find_roles(self) -> dict[str, HeadRole]:
        found: dict[str, HeadRole] = {}
        for item in self._operators:
            role = role_of(item.word)
            if role == "clamp" and self._runs_in_a_layer(item, found):
                role = "layer"
            if role == "sum" and not self._comes_from_softmax(item, found, _TRANSPARENT):
                role = "layer"
            if role == "layer" and self._comes_from_softmax(item, found, frozenset({"move"})):
                role = "sum"
            if role == "arithmetic" and self._is_quotient(item, found):
                role = "softmax"
            found[item.name] = role
        return found

    def _runs_in_a_layer(self, clamp: HeadOperator, roles: Mapping[str, HeadRole]) -> bool:
        writer = self._writer.get(clamp.reads[0]) if clamp.reads else None
        return writer is not None and roles[writer.name] == "layer" and len(self._readers[clamp.reads[0]]) == 1

    def _is_quotient(self, item: HeadOperator, roles: Mapping[str, HeadRole]) -> bool:
        """Returns True for exponentials over their sum: some graphs spell a softmax out."""
        if "div" not in item.word.lower():
            return False
        writers = [self._behind_moves(name, roles) for name in item.reads if name in self._writer]
        return sorted(roles[writer.name] for writer in writers) == ["exponential", "sum"]

    def _behind_moves(self, name: str, roles: Mapping[str, HeadRole]) -> HeadOperator:
        """Returns what makes a tensor, moves left out as far as they read one tensor only."""
        writer = self._writer[name]
        while roles[writer.name] == "move":
            before = [read for read in writer.reads if read in self._writer]
            if len(before) != 1:
                break
            writer = self._writer[before[0]]
        return writer

    def _comes_from_softmax(
        self, item: HeadOperator, roles: Mapping[str, HeadRole], passing: Collection[HeadRole]
    ) -> bool:
        """Returns True where a softmax reaches an operator through roles of `passing`, and nothing else does."""
        pending = [name for name in item.reads if name in self._writer]
        seen: set[str] = set()
        reached = bool(pending)
        found = False
        while pending and reached:
            writer = self._writer[pending.pop()]
            if writer.name in seen:
                continue
            seen.add(writer.name)
            if roles[writer.name] in ("softmax", "exponential"):
                found = True
            elif roles[writer.name] in passing:
                pending += [name for name in writer.reads if name in self._writer]
            else:
                reached = False
        return found and reached

    def _behind_layers(self) -> frozenset[str]:
        behind: set[str] = set()
        for item in reversed(self._operators):
            readers = [reader for name in item.writes for reader in self._readers.get(name, ())]
            if self._roles[item.name] != "layer" and all(reader.name in behind for reader in readers):
                behind.add(item.name)
        return frozenset(behind)

    def _joins(self, operators: Iterable[HeadOperator]) -> tuple[Join, ...]:
        found: list[Join] = []
        for item in operators:
            members = tuple(dict.fromkeys(name for name in item.reads if name in self._writer))
            if self._roles[item.name] == "join" and len(members) > 1:
                found.append(Join(operator=item.name, members=members))
        return tuple(found)

    def _decodes(self, operators: Sequence[HeadOperator]) -> bool:
        """Returns True for a head with an exponential, or where something is computed from a sigmoid or a softmax.

        A softmax or a sigmoid at the end is a classifier's or a mask's, which 256 values serve well, unless it is
        joined with something else.
        """
        roles = {item.name: self._roles[item.name] for item in operators}
        if "exponential" in roles.values():
            return True
        squashed = {item.name for item in operators if roles[item.name] in DECODING and not self._is_gate(item)}
        if not squashed:
            return False
        if self._joins(operators):
            return True
        behind: set[str] = set()
        for item in operators:
            writers = [self._writer[name] for name in item.reads if name in self._writer]
            fed = any(writer.name in squashed | behind for writer in writers)
            if fed and roles[item.name] in ("arithmetic", "sum"):
                return True
            if fed and item.name not in squashed:
                behind.add(item.name)
        return False

    def _is_gate(self, squash: HeadOperator) -> bool:
        """Returns True for the sigmoid of x * sigmoid(x), which is an activation and decodes nothing."""
        readers = [reader for name in squash.writes for reader in self._readers.get(name, ())]
        return bool(readers) and all(
            self._roles[reader.name] == "arithmetic" and set(squash.reads) & set(reader.reads) for reader in readers
        )
