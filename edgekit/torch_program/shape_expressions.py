"""The shape expressions of an exported program, which torch hands to SymPy, which evaluates them as Python.

Only arithmetic of sizes is let through: it is parsed, never evaluated, and each part must be of a kind that is listed.
"""

from __future__ import annotations

import ast
import re
from typing import Final

_FUNCTIONS: Final = frozenset(
    {"Max", "Min", "Mod", "PythonMod", "FloorDiv", "CeilDiv", "CleanDiv", "IntTrueDiv", "FloatTrueDiv", "Integer"}
    | {"ModularIndexing", "Where", "TruncToInt", "TruncToFloat", "FloorToInt", "CeilToInt", "RoundToInt", "ToFloat"}
    | {"PowByNatural", "FloatPow", "Identity", "Add", "Mul", "Pow", "Rational", "Float", "Abs", "LShift", "RShift"}
    | {"Eq", "Ne", "Lt", "Le", "Gt", "Ge", "And", "Or", "Not"}
)
_CONSTANTS: Final = frozenset({"oo", "int_oo", "True", "False"})
_SYMBOL: Final = re.compile(r"(?!erf2$|hn1$|hn2$|ord0$)[a-z]{1,3}[0-9]{1,6}")
"""A symbol of torch; SymPy has four functions that look like one."""

_POWERS: Final = frozenset({"Pow", "PowByNatural", "FloatPow", "LShift", "RShift"})
_OPERATORS: Final = (
    *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.BitAnd, ast.BitOr),
    *(ast.UAdd, ast.USub, ast.Invert, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE),
)
_LONGEST: Final = 10_000
_LARGEST_EXPONENT: Final = 64


def is_shape_expression(text: str) -> bool:
    """Returns True if `text` is arithmetic of sizes: numbers, symbols such as `s77`, operators and known functions."""
    if len(text) > _LONGEST or not text.isascii() or "\\" in text:
        return False
    try:
        return _is_value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def is_symbol(text: str) -> bool:
    """Returns True if `text` is the name of one size."""
    return _SYMBOL.fullmatch(text) is not None


def _is_value(node: ast.expr) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, bool | int | float) and abs(node.value) <= 2.0**64
    if isinstance(node, ast.Name):
        return is_symbol(node.id) or node.id in _CONSTANTS
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, _OPERATORS) and _is_value(node.operand)
    if isinstance(node, ast.BinOp):
        if isinstance(node.op, ast.Pow):
            return _is_value(node.left) and _is_exponent(node.right)
        return isinstance(node.op, _OPERATORS) and _is_value(node.left) and _is_value(node.right)
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        return all(isinstance(op, _OPERATORS) for op in node.ops) and all(map(_is_value, sides))
    return isinstance(node, ast.Call) and _is_call(node)


def _is_exponent(node: ast.expr) -> bool:
    """Returns True for a small number: a power of powers would take all of the memory."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Integer" and node.args:
        node = node.args[0]
    if not isinstance(node, ast.Constant) or isinstance(node.value, bool):
        return False
    return isinstance(node.value, int | float) and node.value <= _LARGEST_EXPONENT


def _is_call(node: ast.Call) -> bool:
    if not isinstance(node.func, ast.Name):
        return False
    if node.func.id == "Symbol":
        # How SymPy spells a symbol with its assumptions: Symbol('s77', integer=True, positive=True).
        name = node.args[0] if len(node.args) == 1 else None
        return (
            isinstance(name, ast.Constant)
            and isinstance(name.value, str)
            and is_symbol(name.value)
            and all(word.arg is not None and isinstance(word.value, ast.Constant) for word in node.keywords)
            and all(isinstance(word.value, ast.Constant) and type(word.value.value) is bool for word in node.keywords)
        )
    if node.func.id not in _FUNCTIONS or node.keywords or any(isinstance(x, ast.Starred) for x in node.args):
        return False
    if node.func.id in _POWERS:
        return len(node.args) == 2 and _is_value(node.args[0]) and _is_exponent(node.args[1])
    return all(map(_is_value, node.args))
