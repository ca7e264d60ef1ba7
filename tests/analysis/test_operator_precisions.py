"""Which precision a recipe gives to each operator of a graph."""

from __future__ import annotations

from edgekit.analysis.graph import Analysis, KernelClass, Memory, Operator
from edgekit.analysis.operator_precisions import analysis_precisions
from edgekit.recipe import Recipe

HYBRID = Recipe(default="int8_hybrid")


def graph(*rows: tuple[str, KernelClass, str]) -> Analysis:
    """Returns a graph of rows of (name, kernel, names of the operators that it reads with blanks between)."""
    operators = tuple(
        Operator(name=name, type=kernel, kernel=kernel, module=name, inputs=tuple(reads.split()), outputs=(name,))
        for name, kernel, reads in rows
    )
    return Analysis(
        operators=operators,
        tensors={},
        weights={},
        inputs=("input",),
        outputs=(),
        memory=Memory(live_peak_bytes=0, arena_bytes=0, peak_operator="", peak_tensors=()),
        family="mixed",
        family_evidence="",
    )


def test_what_only_reads_convolutions_is_static_and_a_transformer_block_is_not() -> None:
    analysis = graph(
        ("pad", "data_movement", "input"),
        ("stem", "dense_conv", "pad"),
        ("activation", "elementwise", "stem"),
        ("conv", "depthwise_conv", "activation"),
        ("sum", "elementwise", "conv activation"),
        ("tokens", "data_movement", "sum"),
        ("norm", "normalization", "tokens"),
        ("query", "linear", "norm"),
        ("scores", "attention_matmul", "query query"),
        ("residual", "elementwise", "tokens scores"),
        ("fold", "data_movement", "residual"),
        ("projection", "pointwise_conv", "fold"),
        ("joined", "data_movement", "projection sum"),
    )
    assert analysis_precisions(analysis, HYBRID) == {
        "pad": "fp32",
        "stem": "int8_static",
        "activation": "int8_static",
        "conv": "int8_static",
        "sum": "int8_static",
        "tokens": "int8_static",
        "norm": "fp32",
        "query": "int8_dynamic",
        "scores": "fp32",
        "residual": "fp32",
        "fold": "fp32",
        "projection": "int8_static",
        "joined": "int8_static",
    }


def test_what_follows_a_convolution_that_stays_float_is_float_too() -> None:
    analysis = graph(("stem", "dense_conv", "input"), ("activation", "elementwise", "stem"))
    recipe = Recipe(default="int8_hybrid", overrides=(("stem", "fp32"),))
    assert analysis_precisions(analysis, recipe) == {"stem": "fp32", "activation": "fp32"}


def test_without_a_hybrid_recipe_the_kind_decides_nothing() -> None:
    analysis = graph(("norm", "normalization", "input"), ("layer", "linear", "norm"))
    assert set(analysis_precisions(analysis, Recipe(default="int8_static")).values()) == {"int8_static"}
