"""What edgekit uses of a torch FX graph, as Protocols.

torch's own hints give each argument of a node a union of a dozen types, which every reader would have to narrow again,
and mypy does not follow torch at all. These Protocols say what is used of a graph, torch's classes satisfy them, and
both type checkers hold them. Tensors, modules and exported programs are torch's own classes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol


class Node(Protocol):
    """One step of a graph: an input, a weight, a call or the output (torch.fx.Node).

    Attributes:
        name: Name, unique in its graph.
        op: "placeholder", "get_attr", "call_function", "call_module" or "output".
        target: The operator that is called, or the name of the input, weight or module.
        meta: What is known of its value; `meta["val"]` has its shape and dtype.
    """

    name: str
    op: str
    target: Any
    meta: dict[str, Any]

    @property
    def args(self) -> Sequence[Any]:
        """Positional arguments: nodes, numbers, text, None, and sequences of them."""
        ...

    @args.setter
    def args(self, a: tuple[Any, ...], /) -> None: ...

    @property
    def kwargs(self) -> Mapping[str, Any]:
        """Named arguments, of the same kinds."""
        ...

    @kwargs.setter
    def kwargs(self, k: dict[str, Any], /) -> None: ...

    @property
    def next(self) -> Node:
        """The node after it."""
        ...

    @property
    def graph(self) -> Graph:
        """The graph that it belongs to."""
        ...

    @property
    def users(self) -> Collection[Node]:
        """The nodes that read it."""
        ...

    @property
    def all_input_nodes(self) -> Sequence[Node]:
        """The nodes among its arguments, each once."""
        ...

    def replace_all_uses_with(self, replace_with: Any, delete_user_cb: Callable[..., bool] | None = ...) -> object:
        """Makes all readers of this node read another one."""
        ...

    def append(self, x: Any) -> None:
        """Moves another node behind this one."""
        ...

    def prepend(self, x: Any) -> None:
        """Moves another node before this one."""
        ...

    def _rename(self, candidate: str) -> None:
        """Gives it a name that no other node of the graph has."""
        ...

    def replace_input_with(self, old_input: Any, new_input: Any) -> None:
        """Makes this node read another node."""
        ...


class Nodes(Protocol):
    """A graph's nodes in order of execution."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Node]: ...

    def __reversed__(self) -> Iterator[Node]: ...


class Graph(Protocol):
    """The steps of a model (torch.fx.Graph)."""

    @property
    def nodes(self) -> Nodes:
        """Its nodes, in order of execution."""
        ...

    def inserting_before(self, n: Any, /) -> AbstractContextManager[Any, Any]:
        """Places new nodes before a node while the context lasts."""
        ...

    def inserting_after(self, n: Any, /) -> AbstractContextManager[Any, Any]:
        """Places new nodes after a node while the context lasts."""
        ...

    def create_node(self, op: str, target: Any, args: Any = ..., kwargs: Any = ..., name: str | None = ...) -> Node:
        """Adds a node of any kind."""
        ...

    def call_function(self, the_function: Callable[..., Any], args: Any = ..., kwargs: Any = ...) -> Node:
        """Adds a call of an operator."""
        ...

    def call_module(self, module_name: str, args: Any = ..., kwargs: Any = ...) -> Node:
        """Adds a call of a module."""
        ...

    def get_attr(self, qualified_name: str) -> Node:
        """Adds a node that reads a weight."""
        ...

    def erase_node(self, to_erase: Any) -> None:
        """Removes a node that nothing reads."""
        ...

    def eliminate_dead_code(self) -> bool:
        """Removes what nothing reads; returns whether there was any."""
        ...

    def lint(self) -> None:
        """Raises an error where the graph is not consistent."""
        ...
