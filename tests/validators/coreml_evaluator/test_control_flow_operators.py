"""Branches, loops, lists, states, classifiers and random operators of the Core ML evaluator."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.errors import ArtifactError
from edgekit.validators.coreml_evaluator import load

X = np.array([[1.0, -2.0, 3.0], [0.5, 4.0, -6.0]], np.float32)
COUNT = np.array([4], np.int32)


def doubled_until(mb, x, limit):
    """Doubles x and counts, while the count stays below a limit."""

    def condition(count, _):
        return mb.less(x=count, y=mb.squeeze(x=limit))

    def body(count, value):
        return mb.add(x=count, y=1), mb.mul(x=value, y=2.0)

    return mb.while_loop(_cond=condition, _body=body, loop_vars=(0, mb.identity(x=x)))


def chosen(mb, x):
    positive = mb.greater(x=mb.reduce_sum(x=x, axes=[0, 1]), y=0.0)
    return mb.cond(
        pred=positive,
        _true_fn=lambda: (mb.add(x=x, y=1.0), mb.reduce_max(x=x, axes=[1])),
        _false_fn=lambda: (mb.sub(x=x, y=1.0), mb.reduce_min(x=x, axes=[1])),
    )


def nested(mb, x, limit):
    """A branch inside of a loop, which uses a value from outside."""
    total = mb.reduce_sum(x=x, axes=[0, 1])

    def body(count, value):
        even = mb.equal(x=mb.mod(x=count, y=2), y=0)
        value = mb.cond(pred=even, _true_fn=lambda: mb.add(x=value, y=total), _false_fn=lambda: mb.mul(x=value, y=2.0))
        return mb.add(x=count, y=1), value

    return mb.while_loop(
        _cond=lambda count, _: mb.less(x=count, y=mb.squeeze(x=limit)), _body=body, loop_vars=(0, mb.identity(x=x))
    )[1]


def filled_list(mb, x):
    items = mb.make_list(init_length=3, dynamic_length=False, elem_shape=(np.int32(3),), dtype="fp32")
    first, second = (mb.squeeze(x=part, axes=[0]) for part in mb.split(x=x, num_splits=2, axis=0))
    items = mb.list_write(ls=items, index=0, value=first)
    return mb.list_write(ls=items, index=2, value=second)


def lists(mb, x):
    items = filled_list(mb, x)
    scattered = mb.list_scatter(ls=items, indices=[1, 0], value=x)
    return [
        mb.list_read(ls=items, index=2),
        mb.list_gather(ls=items, indices=[2, 1, 0]),
        mb.list_gather(ls=scattered, indices=[0, 1, 2]),
        mb.list_length(ls=items),
    ]


def grown_list(mb, x):
    items = mb.make_list(init_length=1, dynamic_length=True, elem_shape=(np.int32(2), np.int32(3)), dtype="fp32")
    items = mb.list_write(ls=items, index=2, value=x)
    return [mb.list_length(ls=items), mb.list_read(ls=items, index=2), mb.list_read(ls=items, index=1)]


def looped(x, limit):
    return [limit[0], x * 2.0 ** limit[0]]


def looped_with_branch(x, limit):
    total = x.sum()
    for count in range(limit[0]):
        x = x + total if count % 2 == 0 else x * 2
    return x


CASES = {
    "while_loop": ("iOS15", {"x": X, "limit": COUNT}, doubled_until, looped),
    "while_loop-never-entered": ("iOS15", {"x": X, "limit": 0 * COUNT}, doubled_until, looped),
    "cond-true": ("iOS15", {"x": X + 1}, chosen, lambda x: [x + 1, x.max(1)]),
    "cond-false": ("iOS15", {"x": X - 2}, chosen, lambda x: [x - 1, x.min(1)]),
    "cond-in-loop": ("iOS15", {"x": X, "limit": COUNT}, nested, looped_with_branch),
    "lists": (
        "iOS15",
        {"x": X},
        lists,
        lambda x: [x[1], np.stack([x[1], 0 * x[0], x[0]]), np.stack([x[1], x[0], x[1]]), np.array(3)],
    ),
    "lists-grown": ("iOS15", {"x": X}, grown_list, lambda x: [np.array(3), x, 0 * x]),
    "list-out-of-range": (
        "iOS15",
        {"x": X, "place": COUNT},
        lambda mb, x, place: mb.list_read(ls=filled_list(mb, x), index=mb.squeeze(x=place), name="read"),
        None,
    ),
    "random": (
        "iOS15",
        {"x": X},
        lambda mb, x: [
            mb.random_normal(shape=[4000], mean=2.0, stddev=0.5, seed=3),
            mb.random_uniform(shape=[4000], low=-1.0, high=3.0),
            mb.random_bernoulli(shape=[4000], prob=0.25),
            mb.random_categorical(x=x, size=4000),
            mb.random_categorical(x=mb.softmax(x=x), mode="probs", size=4000, seed=1),
        ],
        None,
    ),
}
NOT_COMPARED = ("random", "list-out-of-range")


def accumulator(ct, mb):
    """A state that adds up the inputs."""

    @mb.program(
        input_specs=[
            mb.TensorSpec((3,), dtype=ct.converters.mil.mil.types.fp16),
            mb.StateTensorSpec((3,), dtype=ct.converters.mil.mil.types.fp16),
        ],
        opset_version=ct.target.iOS18,
    )
    def program(x, total):
        new = mb.add(x=x, y=mb.read_state(input=total), name="new")
        return mb.mul(x=mb.coreml_update_state(state=total, value=new), y=np.float16(2), name="twice")

    return ct.convert(program, source="milinternal", minimum_deployment_target=ct.target.iOS18, skip_model_load=True)


def classifier(labels):
    def make(ct, mb):
        @mb.program(input_specs=[mb.TensorSpec((1, 4))], opset_version=ct.target.iOS16)
        def program(x):
            return mb.softmax(x=x, name="scores")

        return ct.convert(
            program,
            source="milinternal",
            minimum_deployment_target=ct.target.iOS16,
            classifier_config=ct.ClassifierConfig(labels),
            skip_model_load=True,
        )

    return make


PACKAGES = {
    "stateful": accumulator,
    "classifier-text": classifier(["cat", "dog", "owl", "fox"]),
    "classifier-numbers": classifier([10, 20, 30, 40]),
}


@pytest.mark.parametrize("name", [name for name in CASES if name not in NOT_COMPARED])
def test_control_flow_operator_agrees_with_its_reference(name, run_case):
    run_case(name, CASES[name])


def test_reading_past_the_end_of_a_list_is_an_error(packages):
    with pytest.raises(ArtifactError) as caught:
        load(packages / "list-out-of-range.mlpackage").run(CASES["list-out-of-range"][1])
    assert caught.value.message == (
        'Operator list_read "read" got index 4 for a list of 3 elements: the result on a device is undefined. '
        "Check the model's loop bounds."
    )


def test_random_operators_draw_from_their_distributions_and_are_named(packages):
    program = load(packages / "random.mlpackage")
    normal, uniform, coin, category, likely = program.run({"x": X}).values()
    assert program.random_operators == (
        "random_bernoulli",
        "random_categorical",
        "random_normal",
        "random_uniform",
    )
    assert abs(normal.mean() - 2) < 0.05
    assert abs(normal.std() - 0.5) < 0.05
    assert uniform.min() >= -1
    assert uniform.max() < 3
    assert abs(uniform.mean() - 1) < 0.1
    assert set(coin.tolist()) == {0.0, 1.0}
    assert abs(coin.mean() - 0.25) < 0.05
    chances = np.exp(X) / np.exp(X).sum(1, keepdims=True)
    for drawn in (category, likely):
        shares = np.stack([(drawn == label).mean(1) for label in range(3)], 1)
        np.testing.assert_allclose(shares, chances, atol=0.05)


def test_a_seeded_random_operator_gives_the_same_values_again(packages):
    program = load(packages / "random.mlpackage")
    first, second = program.run({"x": X}), program.run({"x": X})
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name])


def test_a_state_is_carried_from_run_to_run(packages):
    program = load(packages / "stateful.mlpackage")
    step = np.array([1, 2, 3], np.float16)
    state = program.new_state()
    outputs = [next(iter(program.run({"x": step}, state=state).values())) for _ in range(3)]
    np.testing.assert_array_equal(outputs, [2 * step, 4 * step, 6 * step])
    np.testing.assert_array_equal(state.arrays()["total"], 3 * step)
    assert [(item.name, item.shape, item.dtype, item.kind) for item in program.states] == [
        ("total", (3,), "fp16", "state")
    ]


def test_without_a_state_every_run_starts_from_zeros(packages):
    program = load(packages / "stateful.mlpackage")
    step = np.array([1, 2, 3], np.float16)
    for _ in range(2):
        (output,) = program.run({"x": step}).values()
        np.testing.assert_array_equal(output, 2 * step)


@pytest.mark.parametrize(("name", "label"), [("classifier-text", "owl"), ("classifier-numbers", 30)])
def test_a_classifier_gives_its_label_and_the_probabilities_in_the_order_of_the_labels(name, label, packages):
    program = load(packages / f"{name}.mlpackage")
    logits = np.array([[0.1, 0.2, 3.0, 0.4]], np.float32)
    outputs = program.run({"x": logits})
    assert outputs["classLabel"].tolist() == [label]
    np.testing.assert_allclose(outputs["classLabel_probs"], (np.exp(logits) / np.exp(logits).sum())[0], rtol=2e-3)
    assert [feature.kind for feature in program.outputs] == ["label", "probabilities"]
