from __future__ import annotations

from edgekit.analysis.graph import Analysis, Memory, Operator, Tensor
from edgekit.validators.output_layout import OutputLayout, output_layouts


def analysis(*operators: tuple[str, str, tuple[str, ...]], output: str, **shapes: tuple[int, ...]) -> Analysis:
    """Operators as (type, result, inputs)."""
    return Analysis(
        operators=tuple(
            Operator(name=made, type=kind, kernel="elementwise", module="", inputs=reads, outputs=(made,))
            for kind, made, reads in operators
        ),
        tensors={name: Tensor(name=name, shape=shape, dtype="float32") for name, shape in shapes.items()},
        weights={},
        inputs=("x",),
        outputs=(output,),
        memory=Memory(live_peak_bytes=0, arena_bytes=0, peak_operator="", peak_tensors=()),
        family="cnn",
        family_evidence="",
    )


def test_the_members_of_a_concatenation_are_reported_behind_what_only_moves_values() -> None:
    graph = analysis(
        ("conv2d", "boxes", ("x",)),
        ("sigmoid", "probability", ("x",)),
        ("cat", "joined", ("boxes", "probability")),
        ("permute", "y", ("joined",)),
        output="y",
        x=(1, 4, 64),
        boxes=(1, 4, 64),
        probability=(1, 5, 64),
        joined=(1, 9, 64),
        y=(1, 64, 9),
    )
    assert output_layouts(graph) == (OutputLayout(shape=(1, 64, 9), axis=2, sizes=(4, 5), bounded=(False, True)),)


def test_a_softmax_is_bounded_and_a_linear_layer_is_not() -> None:
    graph = analysis(("softmax", "y", ("x",)), output="y", x=(1, 5), y=(1, 5))
    assert output_layouts(graph) == (OutputLayout(shape=(1, 5), bounded=(True,)),)
    graph = analysis(("linear", "y", ("x",)), output="y", x=(1, 5), y=(1, 5))
    assert output_layouts(graph) == (OutputLayout(shape=(1, 5)),)


def test_nothing_is_said_where_the_sizes_do_not_add_up() -> None:
    graph = analysis(("cat", "y", ("x",)), output="y", x=(1, 4), y=(1, 9))
    assert output_layouts(graph) == (OutputLayout(shape=(1, 9)),)
