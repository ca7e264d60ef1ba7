"""Which operators belong to the head of an output."""

import pytest

from edgekit.analysis.output_heads import Head, HeadOperator, find_heads, head_operators, role_of


def call(name: str, word: str, *reads: str) -> HeadOperator:
    return HeadOperator(name=name, word=word, reads=reads, writes=(name,))


def head_of(*operators: HeadOperator) -> Head:
    (found,) = find_heads(operators, [operators[-1].name])
    return found


BOXES = (call("boxes", "conv2d", "x"), call("scores", "conv2d", "x"))


@pytest.mark.parametrize(
    ("word", "role"),
    [
        ("aten.cat.default", "join"),
        ("Concat", "join"),
        ("CONCATENATION", "join"),
        ("PACK", "join"),
        ("split_with_sizes", "move"),
        ("STRIDED_SLICE", "move"),
        ("GatherElements", "move"),
        ("mul_", "arithmetic"),
        ("SELECT_V2", "arithmetic"),
        ("HardSwish", "activation"),
        ("RELU6", "clamp"),
        ("LOGISTIC", "squash"),
        ("_softmax", "softmax"),
        ("exp.default", "exponential"),
        ("ReduceMax", "selection"),
        ("aten.sum.dim_IntList", "sum"),
        ("FULLY_CONNECTED", "layer"),
        ("LayerNormalization", "layer"),
        ("whatever_this_is", "layer"),
    ],
)
def test_an_operator_has_one_role_in_the_words_of_every_graph(word: str, role: str) -> None:
    assert role_of(word) == role


def test_boxes_and_scores_that_are_joined_are_a_head_with_both_layers_as_entries() -> None:
    head = head_of(*BOXES, call("joined", "cat", "boxes", "scores"))
    assert head.operators == ("joined",)
    assert head.joins[0].members == ("boxes", "scores")
    assert head.entries == ("boxes", "scores")
    assert not head.decodes


def test_a_joint_is_found_through_reshapes_and_permutations_behind_it() -> None:
    head = head_of(
        *BOXES,
        call("flat", "view", "boxes"),
        call("turned", "permute", "scores"),
        call("joined", "Concat", "flat", "turned"),
        call("rows", "Transpose", "joined"),
        call("out", "Reshape", "rows"),
    )
    assert [join.operator for join in head.joins] == ["joined"]
    assert head.operators == ("flat", "turned", "joined", "rows", "out")


def test_a_joint_of_three_members_has_them_all() -> None:
    keypoints = call("keypoints", "Conv", "x")
    head = head_of(*BOXES, keypoints, call("joined", "Concat", "boxes", "scores", "keypoints"))
    assert head.joins[0].members == ("boxes", "scores", "keypoints")


def test_a_joint_in_the_middle_that_feeds_decoding_alone_is_part_of_the_head() -> None:
    head = head_of(
        *BOXES,
        call("joined", "cat", "boxes", "scores"),
        call("probabilities", "sigmoid", "joined"),
        call("out", "mul", "probabilities", "strides"),
    )
    assert [join.operator for join in head.joins] == ["joined"]
    assert head.decodes


def test_a_joint_that_a_layer_reads_is_no_head() -> None:
    head = head_of(*BOXES, call("joined", "cat", "boxes", "scores"), call("out", "conv2d", "joined"))
    assert head == Head(position=0, output="out", operators=(), joins=(), decodes=False, entries=("out",))


def test_a_residual_stream_behind_the_last_layer_does_not_pull_in_the_whole_model() -> None:
    operators = [call("stem", "conv2d", "x"), call("cut", "cat", "stem", "x2")]
    for i in range(3):
        before = "cut" if i == 0 else f"add_{i - 1}"
        operators += [call(f"conv_{i}", "conv2d", before), call(f"add_{i}", "add", before, f"conv_{i}")]
    assert head_of(*operators).operators == ("add_2",)


def test_the_head_of_a_classifier_decodes_nothing() -> None:
    head = head_of(call("logits", "linear", "x"), call("out", "softmax", "logits"))
    assert head.operators == ("out",)
    assert not head.decodes
    assert not head.joins


def test_a_mask_with_a_sigmoid_at_its_end_decodes_nothing() -> None:
    assert not head_of(call("logits", "conv2d", "x"), call("out", "sigmoid", "logits")).decodes


@pytest.mark.parametrize("sigmoid", ["sigmoid", "LOGISTIC"])
def test_a_swish_that_is_spelled_out_decodes_nothing(sigmoid: str) -> None:
    head = head_of(call("conv", "conv2d", "x"), call("gate", sigmoid, "conv"), call("out", "mul", "conv", "gate"))
    assert not head.decodes


def test_an_exponential_decodes() -> None:
    assert head_of(call("sizes", "Conv", "x"), call("out", "Exp", "sizes")).decodes


def test_an_expectation_that_is_a_convolution_belongs_to_the_head() -> None:
    head = head_of(
        call("bins", "conv2d", "x"),
        call("probabilities", "softmax", "bins"),
        call("turned", "transpose", "probabilities"),
        call("expectation", "conv2d", "turned"),
        call("out", "mul", "expectation", "strides"),
    )
    assert head.operators == ("probabilities", "turned", "expectation", "out")
    assert head.entries == ("bins",)
    assert head.decodes


def test_an_expectation_that_is_a_weighted_sum_belongs_to_the_head() -> None:
    head = head_of(
        call("heat", "conv2d", "x"),
        call("probabilities", "Softmax", "heat"),
        call("weighted", "Mul", "probabilities", "places"),
        call("out", "ReduceSum", "weighted"),
    )
    assert head.operators == ("probabilities", "weighted", "out")
    assert head.decodes


@pytest.mark.parametrize(
    "expectation",
    [
        pytest.param([call("weighed", "MUL", "probabilities", "bins"), call("mean", "SUM", "weighed")], id="sum"),
        pytest.param([call("mean", "CONV_2D", "probabilities", "bins")], id="convolution"),
    ],
)
def test_a_softmax_that_is_spelled_out_is_one(expectation: list[HeadOperator]) -> None:
    head = head_of(
        *(call(name, "CONV_2D", "x") for name in ("distances", "scores")),
        call("joined", "CONCATENATION", "distances", "scores"),
        call("logits", "SLICE", "joined"),
        call("largest", "REDUCE_MAX", "logits"),
        call("moved", "SUB", "logits", "largest"),
        call("powers", "EXP", "moved"),
        call("total", "SUM", "powers"),
        call("shaped", "RESHAPE", "total"),
        call("probabilities", "DIV", "powers", "shaped"),
        *expectation,
        call("rest", "SLICE", "joined"),
        call("sure", "LOGISTIC", "rest"),
        call("found", "CONCATENATION", "mean", "sure"),
    )
    assert head.decodes
    assert head.entries == ("distances", "scores")
    assert set(head.operators) > {"joined", "powers", "total", "probabilities", "mean", "found"}


def test_a_sum_of_features_is_a_layer() -> None:
    head = head_of(call("conv", "conv2d", "x"), call("total", "sum", "conv"), call("out", "cat", "total", "y"))
    assert head.operators == ("out",)
    assert head.entries == ("total",)


def test_attention_that_feeds_a_layer_is_no_head() -> None:
    head = head_of(
        call("scores", "matmul", "q", "k"),
        call("weights", "softmax", "scores"),
        call("mixed", "matmul", "weights", "v"),
        call("out", "linear", "mixed"),
    )
    assert head.operators == ()


def test_a_clamp_right_behind_a_layer_runs_in_it() -> None:
    head = head_of(
        call("conv", "conv2d", "x"),
        call("relu", "relu", "conv"),
        call("scores", "conv2d", "x"),
        call("out", "cat", "relu", "scores"),
    )
    assert head.operators == ("out",)
    assert head.entries == ("relu", "scores")


def test_of_two_outputs_only_the_joined_one_has_joints() -> None:
    operators = [*BOXES, call("joined", "cat", "boxes", "scores"), call("mask", "conv2d", "x")]
    joined, mask = find_heads(operators, ["joined", "mask"])
    assert len(joined.joins) == 1
    assert mask.joins == ()
    assert head_operators(operators, ["joined", "mask"], {0}) == {"joined"}
    assert head_operators(operators, ["joined", "mask"], {1}) == frozenset()
    assert head_operators(operators, ["joined", "mask"], ()) == frozenset()


def test_constants_that_are_computed_in_the_graph_are_no_entries() -> None:
    places = HeadOperator(name="places", word="anchor_grid", reads=(), writes=("places",))
    head = head_of(places, *BOXES, call("moved", "add", "boxes", "places"), call("out", "cat", "moved", "scores"))
    assert head.entries == ("boxes", "scores")


def test_one_tensor_that_is_joined_with_itself_is_no_joint() -> None:
    assert head_of(call("conv", "conv2d", "x"), call("out", "cat", "conv", "conv")).joins == ()


def test_the_order_in_which_operators_are_listed_does_not_matter() -> None:
    operators = [*BOXES, call("flat", "view", "boxes"), call("joined", "cat", "flat", "scores")]
    assert head_operators(operators[::-1], ["joined"], {0}) == head_operators(operators, ["joined"], {0})
