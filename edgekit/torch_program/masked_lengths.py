"""Lengths that depend on values, `x[mask]`, as whole lengths whose other rows count nowhere.

What `x[mask]` keeps is kept in its old place, beside the rest; whoever adds up, scatters or assigns along that axis
leaves the rest out. So a graph network whose edges are chosen by a mask has fixed shapes, and gives the same. It is
done where all that happens on such an axis is known to treat each row by itself (`_BY_ROW`), and given up otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.torch_program.graph_nodes import is_node, operator_name
from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    from torch.fx import GraphModule

_BY_ROW: Final = frozenset(
    {
        "_to_copy", "_unsafe_view", "alias", "clone", "contiguous", "detach", "dropout", "embedding", "expand",
        "expand_as", "gather", "getitem", "index", "index_select", "linear", "matmul", "mm", "permute", "reshape",
        "select", "slice", "split", "squeeze", "t", "to", "transpose", "unbind", "unsqueeze", "view",
    }
)  # fmt: skip
"""Operators whose result, where it has the axis, has row by row what comes from the same row of what they read."""

_LOOKS_UP: Final = frozenset({"embedding", "gather", "index", "index_select"})
_MADE: Final = frozenset(
    {"full", "full_like", "new_full", "new_ones", "new_zeros", "ones", "ones_like", "zeros", "zeros_like"}
)
_SIZED: Final = _MADE | {"_unsafe_view", "expand", "reshape", "view"}
"""Operators that take sizes as numbers; with others an open size would be a value."""

_SCATTERS: Final[Mapping[str, tuple[int, int]]] = {
    "index_add": (1, 2),
    "scatter": (1, 2),
    "scatter_add": (1, 2),
    "scatter_reduce": (1, 2),
}
"""Where the axis and the places stand among the arguments; `index_put` has both in one."""

_NEUTRAL: Final[Mapping[str, float]] = {"sum": 0.0, "amax": -float("inf"), "amin": float("inf")}


class _UnknownError(Exception):
    """Something happens on such an axis of which it is not known that rows stay apart."""


def use_whole_lengths(graph_module: GraphModule) -> bool:
    """Replaces selections by a mask in place; the graph must be traced again after.

    Args:
        graph_module: The module of an ExportedProgram, without operators that work in place.

    Returns:
        False where it cannot be done; the graph is of no use then.
    """
    try:
        _Rows(graph_module).replace()
    except _UnknownError:
        return False
    graph_module.graph.eliminate_dead_code()
    graph_module.graph.lint()
    graph_module.recompile()
    return True


def open_axes(value: Any) -> list[object]:
    """Returns the sizes in a tensor's shape that depend on values, as expressions of their symbols."""
    import torch
    from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

    sizes = [size for size in getattr(value, "shape", ()) if isinstance(size, torch.SymInt)]
    return [size.node.expr for size in sizes if free_unbacked_symbols(size)]


@final
class _Rows:
    """Walks the graph once, in order, and knows of each open axis which of its rows count."""

    def __init__(self, graph_module: GraphModule) -> None:
        self._graph: Any = graph_module.graph
        self._counts: dict[Node, tuple[object, Node]] = {}
        """A tensor's open size, and the mask of the rows that count, as long as the whole axis."""
        self._masks: dict[object, Node] = {}

    def replace(self) -> None:
        for node in list(self._graph.nodes):
            if node.op == "output":
                if any(item in self._counts for item in node.all_input_nodes):
                    raise _UnknownError  # its size is part of what the model returns
            elif node.op == "call_function":
                self._visit(node, operator_name(node) or str(getattr(node.target, "__name__", "")))

    def _visit(self, node: Node, name: str) -> None:
        value = node.meta.get("val")
        parts = list(value) if isinstance(value, (tuple, list)) else [value]
        sizes = {size for part in parts for size in open_axes(part)}
        known = [item for item in node.all_input_nodes if item in self._counts]
        if not any(hasattr(part, "shape") for part in parts):
            return  # a size or an assertion about one: it is a number when the graph is traced again
        if _reads_open_number(node) and (name not in _SIZED or _is_filled_with_size(node, name)):
            raise _UnknownError
        if not known and not sizes:
            return
        if name == "index" and _mask_of(node) is not None:
            self._select(node)
        elif (name == "index_put" or name in _SCATTERS) and known:
            self._scatter(node, name)
        elif name in _MADE and not sizes:
            return  # only dtype and device of what it reads
        elif name == "cat":
            self._join(node, sizes)
        elif known and not sizes:
            self._reduce(node, name)
        else:
            self._pass(node, name, known, sizes)

    def _select(self, node: Node) -> None:
        """Puts the whole tensor in the place of `x[:, mask]`."""
        source, (axis, mask) = node.args[0], _mask_of(node) or (0, node)
        if source in self._counts or mask in self._counts or mask.meta["val"].ndim != 1:
            raise _UnknownError
        (size,) = open_axes(node.meta["val"])
        if node.meta["val"].shape[axis].node.expr != size:
            raise _UnknownError
        new = self._call(node, "clone.default", source)
        new.meta = dict(node.meta)
        self._replace(node, new)
        self._remember(new, size, mask)

    def _pass(self, node: Node, name: str, known: list[Node], sizes: set[object]) -> None:
        """Checks that an operator treats rows by themselves; its result counts as what it reads does."""
        import torch

        pointwise = torch.Tag.pointwise in getattr(node.target, "tags", ())
        by_row = name in _BY_ROW and not self._mixes(node, name)
        if len(sizes) != 1 or not (pointwise or by_row or name in _MADE or self._apart(node, name, known)):
            raise _UnknownError
        (size,) = sizes
        if max(len(open_axes(part)) for part in _parts(node)) != 1:
            raise _UnknownError
        masks = {self._counts[item][1] for item in known if self._counts[item][0] == size}
        if len(masks) != len({self._counts[item] for item in known}):
            raise _UnknownError  # an axis of another size went away
        mask = masks.pop() if len(masks) == 1 else self._masks.get(size) if name in _MADE and not known else None
        if mask is None:
            raise _UnknownError
        self._remember(node, size, mask)

    def _mixes(self, node: Node, name: str) -> bool:
        """Returns whether rows are looked up by their places, or serve as weights."""
        if name not in _LOOKS_UP or node.args[0] not in self._counts:
            return name == "linear" and any(item in self._counts for item in node.args[1:])
        value = node.args[0].meta["val"]
        place = _axis(value, self._counts[node.args[0]][0])
        if name == "index":
            return any(item is not None for item in node.args[1][place : place + 1])
        return name == "embedding" or node.args[1] % value.ndim == place

    def _apart(self, node: Node, name: str, known: list[Node]) -> bool:
        """Returns whether a softmax, sum, mean or norm lies along other axes than the open one."""
        value = node.args[0].meta["val"] if node.args and node.args[0] in known else None
        if value is None or name not in (*_NEUTRAL, "softmax", "log_softmax", "mean", "layer_norm"):
            return False
        place = _axis(value, self._counts[node.args[0]][0])
        if name == "layer_norm":
            return bool(place < value.ndim - len(node.args[1]))
        given = node.args[1] if len(node.args) > 1 else None
        axes = given if isinstance(given, (tuple, list)) else [given]
        return all(axis is not None and axis % value.ndim != place for axis in axes)

    def _join(self, node: Node, sizes: set[object]) -> None:
        """Joins along the open axis or another one."""
        tensors, axis = list(node.args[0]), int(node.args[1]) if len(node.args) > 1 else 0
        value = node.meta["val"]
        if len(sizes) != 1 or len(open_axes(value)) != 1:
            raise _UnknownError
        (size,) = sizes
        if _axis(value, size) != axis % value.ndim:
            return self._pass_joined(node, tensors, size)
        parts: list[Node] = []
        for item in tensors:
            if item in self._counts:
                parts.append(self._counts[item][1])
            elif open_axes(item.meta["val"]):
                raise _UnknownError
            else:
                parts.append(self._every(node, int(item.meta["val"].shape[axis])))
        return self._remember(node, size, self._call(node, "cat.default", parts, 0))

    def _pass_joined(self, node: Node, tensors: list[Node], size: object) -> None:
        masks = {self._counts[item][1] if item in self._counts else None for item in tensors}
        if len(masks) != 1 or None in masks:
            raise _UnknownError
        self._remember(node, size, self._counts[tensors[0]][1])

    def _every(self, before: Node, count: int) -> Node:
        import torch

        with self._graph.inserting_before(before):
            made: Node = self._graph.call_function(
                torch.ops.aten.full.default, ([count], True), {"dtype": torch.bool, "device": torch.device("cpu")}
            )
        return made

    def _scatter(self, node: Node, name: str) -> None:
        """Sends the rows that do not count to a line behind the last, which is cut off again."""
        target = node.args[0]
        axis, place, get = _places(node, name)
        if target in self._counts or not is_node(place) or open_axes(node.meta["val"]):
            raise _UnknownError
        masks = {self._counts[item] for item in node.all_input_nodes if item in self._counts}
        if len(masks) != 1 or place not in self._counts:
            raise _UnknownError
        size, mask = masks.pop()
        lines = int(target.meta["val"].shape[axis])
        value = place.meta["val"]
        wide = [1] * value.ndim
        wide[_axis(value, size)] = -1
        counted = self._call(node, "add.Scalar", place, lines)
        counted = self._call(node, "where.self", self._call(node, "lt.Scalar", place, 0), counted, place)
        there = self._call(node, "view.default", mask, wide)
        behind = self._call(node, "full_like.default", place, lines)
        sent = self._call(node, "where.self", there, counted, behind)
        spare = self._call(node, "slice.Tensor", target, axis, 0, 1)
        longer = self._call(node, "cat.default", [target, spare], axis)
        node.args = get(longer, sent)
        with self._graph.inserting_after(node):
            kept = self._graph.call_function(_aten("slice.Tensor"), (node, axis, 0, lines))
        kept.meta = dict(node.meta)
        node.replace_all_uses_with(kept, delete_user_cb=lambda user: user is not kept)

    def _reduce(self, node: Node, name: str) -> None:
        """Leaves rows out of a sum, a mean or an extreme along the open axis."""
        source = node.args[0] if node.args else None
        if not is_node(source) or source not in self._counts or name not in (*_NEUTRAL, "mean"):
            raise _UnknownError
        size, mask = self._counts[source]
        value = source.meta["val"]
        place = _axis(value, size)
        axes = node.args[1] if len(node.args) > 1 else None
        if not isinstance(axes, (tuple, list)) or [axis % value.ndim for axis in axes] != [place] or node.kwargs:
            raise _UnknownError
        wide = [1] * value.ndim
        wide[place] = -1
        neutral = self._call(node, "full_like.default", source, _NEUTRAL.get(name, 0.0))
        there = self._call(node, "view.default", mask, wide)
        chosen = self._call(node, "where.self", there, source, neutral)
        if name != "mean":
            node.args = (chosen, *node.args[1:])
            return
        total = self._call(node, "sum.dim_IntList", chosen, *node.args[1:])
        number = self._call(node, "sum.default", mask)
        self._replace(node, self._call(node, "div.Tensor", total, number))

    def _call(self, before: Node, operator: str, *args: object) -> Node:
        """Puts an operator of ATen in front of a node, whose layer and line it gets."""
        with self._graph.inserting_before(before):
            made: Node = self._graph.call_function(_aten(operator), args)
        made.meta = {key: before.meta[key] for key in ("nn_module_stack", "stack_trace") if key in before.meta}
        return made

    def _replace(self, node: Node, new: Node) -> None:
        new.meta = dict(node.meta)
        node.replace_all_uses_with(new)
        self._graph.erase_node(node)

    def _remember(self, node: Node, size: object, mask: Node) -> None:
        self._counts[node] = (size, mask)
        self._masks.setdefault(size, mask)


def _aten(operator: str) -> Any:
    import torch

    name, _, overload = operator.partition(".")
    return getattr(getattr(torch.ops.aten, name), overload)


def _parts(node: Node) -> list[Any]:
    value = node.meta["val"]
    return list(value) if isinstance(value, (tuple, list)) else [value]


def _axis(value: Any, size: object) -> int:
    """Returns the one axis of a tensor that has an open size."""
    return next(i for i, item in enumerate(value.shape) if getattr(getattr(item, "node", None), "expr", None) == size)


def _mask_of(node: Node) -> tuple[int, Node] | None:
    """Returns the axis and the mask of `x[:, mask]`; None for other indices."""
    import torch

    given = [(axis, item) for axis, item in enumerate(node.args[1]) if item is not None]
    masks = [item for _, item in given if item.meta["val"].dtype in (torch.bool, torch.uint8)]
    return given[0] if len(given) == 1 and masks else None


def _places(node: Node, name: str) -> tuple[int, Any, Callable[[Node, Node], tuple[Any, ...]]]:
    """Returns the axis and places of a scatter, and what makes its arguments of a longer tensor and other places."""
    if name == "index_put":
        given = [(axis, item) for axis, item in enumerate(node.args[1]) if item is not None]
        if len(given) != 1:
            raise _UnknownError
        axis, place = given[0]
        return axis, place, lambda longer, sent: (longer, [*[None] * axis, sent], *node.args[2:])
    at, where = _SCATTERS[name]
    axis, place, args = int(node.args[at]), node.args[where], node.args
    return axis % node.meta["val"].ndim, place, lambda longer, sent: (longer, args[at], sent, *args[where + 1 :])


def _is_filled_with_size(node: Node, name: str) -> bool:
    place = {"full": 1, "full_like": 1, "new_full": 2}.get(name, len(node.args))
    return any(is_node(item) for item in node.args[place : place + 1])


def _reads_open_number(node: Node) -> bool:
    """Returns whether a size that depends on values is among the arguments."""
    import torch
    from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

    numbers = (torch.SymInt, torch.SymFloat, torch.SymBool)
    values = [item.meta.get("val") for item in node.all_input_nodes]
    return any(isinstance(value, numbers) and bool(free_unbacked_symbols(value)) for value in values)
