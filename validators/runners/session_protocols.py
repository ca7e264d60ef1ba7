"""What a session file has, for type checkers: files that run on devices import nothing of edgekit's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from numpy.typing import NDArray

Spec = dict[str, Any]


class Session(Protocol):
    """An artifact that a session file has opened.

    Attributes:
        inputs: Inputs in the order in which `run` takes them.
        outputs: Outputs in the order in which `run` returns them.
        metadata: Text by name, as the artifact's format holds it.
    """

    inputs: list[Spec]
    outputs: list[Spec]
    metadata: dict[str, str]

    def run(self, arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """Returns the outputs of one inference."""
        ...

    def operators(self) -> object:
        """Returns what ran, one entry an operator; None where the runtime does not tell."""
        ...


class Runtime(Protocol):
    """What each session file has under this name.

    Attributes:
        name: Name of the runtime.
        version: Its version.
        untimed: Why its time and memory mean nothing; "" where they do.
    """

    name: str
    version: str
    untimed: str

    def open(self, path: str) -> Session:
        """Returns a session of the artifact at `path`."""
        ...
