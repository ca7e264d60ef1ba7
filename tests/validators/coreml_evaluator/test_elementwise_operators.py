"""Elementwise operators of the Core ML evaluator against NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest

RNG = np.random.default_rng(2)
X = RNG.normal(0, 3, (2, 3, 4)).astype(np.float32)
Y = RNG.normal(0, 2, (3, 1)).astype(np.float32)
UNIT = RNG.uniform(-0.9, 0.9, (2, 3)).astype(np.float32)
POSITIVE = RNG.uniform(0.1, 9, (2, 3)).astype(np.float32)
INTEGERS = np.array([[-7, -2, 0], [3, 5, 9]], np.int32)
DIVISORS = np.array([2, -3, 4], np.int32)
TRUTH = np.array([[1, 0], [1, 0]], np.int32)
OTHER_TRUTH = np.array([[1, 1], [0, 0]], np.int32)


def unary(operator, array, reference):
    return ("iOS15", {"x": array}, lambda mb, x: getattr(mb, operator)(x=x), reference)


def binary(operator, reference):
    return ("iOS15", {"x": X, "y": Y}, lambda mb, x, y: getattr(mb, operator)(x=x, y=y), reference)


def comparison(operator, reference):
    """Bool results are cast: a model's outputs are numbers."""
    inputs = {"x": np.round(X), "y": np.round(Y)}
    return (
        "iOS15",
        inputs,
        lambda mb, x, y: mb.cast(x=getattr(mb, operator)(x=x, y=y), dtype="int32"),
        lambda x, y: reference(x, y).astype(np.int32),
    )


def logical(operator, reference):
    def build(mb, x, y):
        result = getattr(mb, operator)(x=mb.cast(x=x, dtype="bool"), y=mb.cast(x=y, dtype="bool"))
        return mb.cast(x=result, dtype="int32")

    return ("iOS15", {"x": TRUTH, "y": OTHER_TRUTH}, build, lambda x, y: reference(x, y).astype(np.int32))


CASES = {
    "abs": unary("abs", X, np.abs),
    "acos": unary("acos", UNIT, np.arccos),
    "add": binary("add", np.add),
    "asin": unary("asin", UNIT, np.arcsin),
    "atan": unary("atan", X, np.arctan),
    "atanh": unary("atanh", UNIT, np.arctanh),
    "cast-to-integer": ("iOS15", {"x": X}, lambda mb, x: mb.cast(x=x, dtype="int32"), np.trunc),
    "cast-to-float": ("iOS15", {"x": INTEGERS}, lambda mb, x: mb.cast(x=x, dtype="fp32"), lambda x: x),
    "cast-through-bytes": (
        "iOS17",
        {"x": INTEGERS},
        lambda mb, x: mb.cast(x=mb.cast(x=x, dtype="int8"), dtype="fp32"),
        lambda x: x,
    ),
    "cast-through-uint16": (
        "iOS17",
        {"x": np.array([0, 5, 65535], np.int32)},
        lambda mb, x: mb.cast(x=mb.cast(x=x, dtype="uint16"), dtype="fp32"),
        lambda x: x,
    ),
    "ceil": unary("ceil", X, np.ceil),
    "clip": ("iOS15", {"x": X}, lambda mb, x: mb.clip(x=x, alpha=-1.0, beta=2.0), lambda x: np.clip(x, -1, 2)),
    "cos": unary("cos", X, np.cos),
    "cosh": unary("cosh", UNIT, np.cosh),
    "equal": comparison("equal", np.equal),
    "erf": unary("erf", X, np.vectorize(math.erf)),
    "exp": unary("exp", X, np.exp),
    "exp2": unary("exp2", X, np.exp2),
    "floor": unary("floor", X, np.floor),
    "floor_div": binary("floor_div", np.floor_divide),
    "floor_div-integers": (
        "iOS15",
        {"x": INTEGERS, "y": DIVISORS},
        lambda mb, x, y: mb.floor_div(x=x, y=y),
        np.floor_divide,
    ),
    "greater": comparison("greater", np.greater),
    "greater_equal": comparison("greater_equal", np.greater_equal),
    "identity": unary("identity", X, lambda x: x),
    "inverse": (
        "iOS15",
        {"x": POSITIVE},
        lambda mb, x: [mb.inverse(x=x), mb.inverse(x=x, epsilon=0.5)],
        lambda x: [1 / (x + 1e-4), 1 / (x + 0.5)],
    ),
    "less": comparison("less", np.less),
    "less_equal": comparison("less_equal", np.less_equal),
    "log": (
        "iOS15",
        {"x": POSITIVE},
        lambda mb, x: [mb.log(x=x), mb.log(x=x, epsilon=0.5)],
        lambda x: [np.log(x), np.log(x + 0.5)],
    ),
    "logical_and": logical("logical_and", np.logical_and),
    "logical_not": (
        "iOS15",
        {"x": TRUTH},
        lambda mb, x: mb.cast(x=mb.logical_not(x=mb.cast(x=x, dtype="bool")), dtype="int32"),
        lambda x: 1 - x,
    ),
    "logical_or": logical("logical_or", np.logical_or),
    "logical_xor": logical("logical_xor", np.logical_xor),
    "maximum": binary("maximum", np.maximum),
    "minimum": binary("minimum", np.minimum),
    "mod": binary("mod", np.mod),
    "mod-integers": ("iOS15", {"x": INTEGERS, "y": DIVISORS}, lambda mb, x, y: mb.mod(x=x, y=y), np.mod),
    "mul": binary("mul", np.multiply),
    "not_equal": comparison("not_equal", np.not_equal),
    "pow": ("iOS15", {"x": POSITIVE, "y": UNIT}, lambda mb, x, y: mb.pow(x=x, y=y), np.power),
    "real_div": binary("real_div", np.divide),
    "round": unary("round", np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 2.6], np.float32), np.round),
    "rsqrt": (
        "iOS15",
        {"x": POSITIVE},
        lambda mb, x: [mb.rsqrt(x=x), mb.rsqrt(x=x, epsilon=0.5)],
        lambda x: [1 / np.sqrt(x), 1 / np.sqrt(x + 0.5)],
    ),
    "sign": unary("sign", np.round(X), np.sign),
    "sin": unary("sin", X, np.sin),
    "sinh": unary("sinh", UNIT, np.sinh),
    "sqrt": unary("sqrt", POSITIVE, np.sqrt),
    "square": unary("square", X, np.square),
    "sub": binary("sub", np.subtract),
    "tan": unary("tan", UNIT, np.tan),
    "tanh": unary("tanh", X, np.tanh),
    "threshold": ("iOS15", {"x": X}, lambda mb, x: mb.threshold(x=x, alpha=0.4), lambda x: np.maximum(x, 0.4)),
}

QUOTIENTS = {
    "real_div-integers": (
        "iOS15",
        {"x": INTEGERS, "y": DIVISORS},
        lambda mb, x, y: mb.cast(x=mb.real_div(x=x, y=y), dtype="fp32"),
        lambda x, y: np.trunc(x / y),
    )
}
CASES.update(QUOTIENTS)


@pytest.mark.parametrize("name", [name for name in CASES if name not in QUOTIENTS])
def test_elementwise_operator_agrees_with_its_reference(name, run_case):
    run_case(name, CASES[name])


def test_quotient_of_integers_has_its_fraction_cut_off(packages):
    """Here coremltools' own inference keeps the fraction in a result that it types as an integer."""
    from edgekit.validators.coreml_evaluator import load

    _, inputs, _, reference = QUOTIENTS["real_div-integers"]
    (result,) = load(packages / "real_div-integers.mlpackage").run(inputs).values()
    np.testing.assert_array_equal(result, reference(*inputs.values()))
