"""How a state that goes from call to call is spelled in each snippet: its member, its type and how it begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from edgekit.model import ArtifactState

_SUFFIXES: Final[Mapping[str, str]] = {"FloatArray": "f", "LongArray": "L"}
"""What Kotlin wants behind a number, by the array that holds it."""


def state_views(
    language: str,
    states: Sequence[ArtifactState],
    inputs: Sequence[Mapping[str, Any]],
    outputs: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Returns what templates say about each state that is an input and an output; those the artifact keeps are none.

    Args:
        language: Suffix of the source file.
        states: The artifact's.
        inputs: What templates say about its inputs (see `tensor_views`).
        outputs: The same of its outputs.
    """
    takes, gives = {view["name"]: view for view in inputs}, {view["name"]: view for view in outputs}
    return [
        {
            "input": takes[state.input],
            "output": gives[state.output],
            "begin": _begin(language, state, takes[state.input]),
            "words": _words(state),
        }
        for state in states
        if not state.held
    ]


def _words(state: ArtifactState) -> str:
    """Returns how a state begins, for a comment: `zeros`, `1.0 everywhere`, `values of its own`."""
    if len(state.initial) > 1:
        return "values of its own"
    value = next(iter(state.initial), 0.0)
    return f"{value:g} everywhere" if value else "zeros"


def _begin(language: str, state: ArtifactState, view: Mapping[str, Any]) -> str:
    """Returns the expression of a state's value before the first call."""
    values = [_literal(language, value, view) for value in state.initial]
    many, count = ", ".join(values), view["count"]
    if language == "py":
        if len(values) == 1:
            return f'np.full({view["shape"]}, {many}, "{state.dtype}")'
        return f'np.array([{many}], "{state.dtype}").reshape({view["shape"]})'
    if language == "kt":
        array: str = view["array"]
        one = f"{array}({count}) {{ {many} }}"
        return one if len(values) == 1 else f"{array[0].lower()}{array[1:]}Of({many})"
    if language == "swift":
        return f"[{view['scalar']}](repeating: {many}, count: {count})" if len(values) == 1 else f"[{many}]"
    return f"std::vector<{view['element']}>({count}, {many})" if len(values) == 1 else f"{{{many}}}"


def _literal(language: str, value: float, view: Mapping[str, Any]) -> str:
    """Returns a number, or a truth value, as the language writes it."""
    if view["dtype"] == "bool":
        word = str(bool(value))
        return word if language == "py" else word.lower()
    number = repr(value) if view["quantized"] or view["dtype"].startswith("float") else str(int(value))
    return number + (_SUFFIXES.get(view.get("array", ""), "") if language == "kt" else "")
