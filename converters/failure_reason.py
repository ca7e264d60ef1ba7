"""Why a framework could not convert a model, in one line for a person: no compiler's dump, no Python internals."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from typing import Any, Final

from edgekit.torch_program.operator_place import node_at, node_place, operator_place

_OPERATORS: Final = (
    re.compile(r"Lowering not found: ([\w.]+)"),
    re.compile(r"No ONNX function found for <OpOverload\(op='([^']+)'"),
    re.compile(r"[Cc]onvert function for op '([^']+)' not implemented"),
    re.compile(r"Unsupported fx node (\w+), kind"),
    re.compile(r"failed to legalize operation '([^']+)'"),
    re.compile(r"Missing out variants?:? \{'?([\w.:]+)"),
)
"""How the frameworks name an operator that they do not know."""

_COMPILER: Final = re.compile(r"(\S+\.py):(\d+):\d+: error: (.*)")
"""A line of a compiler about a place in the code that was traced, before its dump."""
_DUMP: Final = re.compile(r" that was explicitly marked illegal|: %\d+ = |\(%\d+|see current operation")
"""Where a compiler's words end and its dump begins."""
_EXECUTING: Final = re.compile(r"While executing %\S+ .*?target=(?:torch\.ops\.)?([\w.]+)", re.DOTALL)
_INTERNAL: Final = (TypeError, AttributeError, KeyError, IndexError, AssertionError, UnboundLocalError)
"""What a framework's own fault shows itself as; its message is about the framework's variables."""


def failure_reason(error: BaseException, knows: str, program: Any = None) -> str:
    """Returns the reason, without a full stop: the operator, its layer and the user's line where these are known.

    Args:
        error: What the framework raised.
        knows: How to say that it lacks an operator: `LiteRT has no lowering for`.
        program: torch ExportedProgram that was converted, where there is one.
    """
    texts = [str(item) for item in _chain(error)]
    for line in filter(None, map(_COMPILER.search, texts)):
        node = None if program is None else node_at(program, line.group(1), int(line.group(2)))
        if node is not None:
            return f"{knows} {node_place(node)} as it is used there ({_without_dump(line.group(3))})"
    for pattern in _OPERATORS:
        if match := next(filter(None, map(pattern.search, texts)), None):
            return f"{knows} {_placed(program, match.group(1))}"
    innermost = list(_chain(error))[-1]
    where = next(filter(None, map(_EXECUTING.search, texts)), None)
    node = None if program is None else _node_in_frames(error, program)
    at = f" at {node_place(node)}" if node is not None else f" at {_placed(program, where.group(1))}" if where else ""
    if isinstance(innermost, _INTERNAL):
        return f"the converter failed{at} with an error of its own ({type(innermost).__name__})"
    lines = [_without_dump(line) for line in str(innermost).splitlines() if line.strip()]
    return f"the converter failed{at} with {type(innermost).__name__}: {lines[0] if lines else 'no message'}".rstrip(
        "."
    )


def _without_dump(line: str) -> str:
    """Returns the words of a line, without what a compiler prints of its own graph behind them."""
    return _DUMP.split(line, maxsplit=1)[0].strip().rstrip(".:")


def _node_in_frames(error: BaseException, program: Any) -> Any:
    """Returns the operator of a program that the framework was at when it failed, None where its frames do not tell.

    All frameworks go through a program in a loop over a variable `node`, or hand one on under that name.
    """
    nodes = {node.name: node for node in program.graph.nodes if node.op == "call_function"}
    for item in reversed(list(_chain(error))):
        for frame, _ in reversed(list(traceback.walk_tb(item.__traceback__))):
            name = getattr(frame.f_locals.get("node"), "name", None)
            if isinstance(name, str) and name in nodes:
                return nodes[name]
    return None


def _placed(program: Any, operator: str) -> str:
    return operator if program is None else operator_place(program, operator)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yields an error and what caused it, outermost first."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__
