"""Shape expressions: arithmetic of sizes, and nothing else."""

from __future__ import annotations

import pytest
import sympy

from edgekit.torch_program.shape_expressions import is_shape_expression, is_symbol


@pytest.mark.parametrize(
    "text",
    [
        *("s0", "s77*2 + 1", "FloorDiv(s0, 2)", "Symbol('s77', positive=True, integer=True)", "Max(1, u0)", "0.5*s1"),
        *("s0**2", "s0**(-1)", "s0 // 2 <= 7", "~Eq(s0, 1) | (s1 > 2)", "int_oo", "-1", "Where(s0 < 3, s0, 3)"),
    ],
)
def test_arithmetic_of_sizes_passes(text):
    assert is_shape_expression(text)


@pytest.mark.parametrize(
    "text",
    [
        *("().__class__", "open('x')", "Symbol('x', f=open)", "s0 if s1 else [s2]", "exec(s0)", "Symbol('a b')"),
        *("s0.real", "lambda: s0", "s0[0]", "'s0'", "2**99999", "9**9**9", "Pow(9, Pow(9, 9))", "(s0 := 1)", "f's0'"),
        *("Max(*s0)", "Max(s0, evaluate=s1)", "\u017f0", "s0\\\n", "1" * 30, "(" * 300 + "s0" + ")" * 300, "", "erf2"),
        *("sqrt(s0)", "S0", "__import__", "s0; s1", "s0 and s1", "Symbol('s0', integer=1)", "None", "..."),
    ],
)
def test_anything_else_does_not(text):
    assert not is_shape_expression(text)


def test_no_name_of_sympy_passes_for_a_size():
    assert [name for name in dir(sympy) if is_symbol(name)] == []
