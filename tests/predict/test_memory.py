"""Predicted memory."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.analysis.graph import Analysis, Memory, Operator, Tensor, Weight
from edgekit.analysis.graph_builder import GraphBuilder
from edgekit.formats.table import all_formats, find_format
from edgekit.predict.memory import arena_bytes, indirection_bytes, predict_memory
from edgekit.predict.size import estimate_size
from edgekit.recipe import Recipe


def chain(width=100_000):
    """x (100 floats) -> a -> b -> y (10 floats), a and b of `width` floats."""
    builder = GraphBuilder()
    builder.store("w", (width, 100), "float32", lambda: np.ones((width, 100), "f4"))
    for name, size in (("x", 100), ("a", width), ("b", width), ("y", 10)):
        builder.tensor(name, (1, size), "float32")
    roles = {"w": ("kernel", width)}
    builder.add(name="l", type="linear", kernel="linear", reads=["x", "w"], outputs=["a"], macs=1, roles=roles)
    builder.add(name="t", type="softmax", kernel="normalization", reads=["a"], outputs=["b"])
    builder.add(name="s", type="slice", kernel="data_movement", reads=["b"], outputs=["y"])
    return builder.finish(["x"], ["y"])


def test_the_arena_holds_what_is_alive_together():
    arena = arena_bytes(chain(), Recipe(default="fp32"))
    assert arena == pytest.approx(2 * 400_000 + 400, abs=128)


def test_static_int8_activations_take_a_quarter_while_inputs_and_outputs_stay_float():
    arena = arena_bytes(chain(), Recipe(default="int8_static"))
    assert arena == pytest.approx(2 * 100_000 + 400, abs=128)


@pytest.mark.parametrize("precision", ["fp16", "int8_dynamic", "int8_weights", "int4_weights"])
def test_other_recipes_compute_on_float_activations(precision):
    assert arena_bytes(chain(), Recipe(default=precision)) == arena_bytes(chain(), Recipe(default="fp32"))


@pytest.mark.parametrize("runtime", [one.name for one in all_formats() if one.memory])
def test_memory_holds_the_file_the_packed_weights_and_the_arena(runtime):
    analysis, recipe = chain(), Recipe(default="fp32")
    size = estimate_size(analysis, recipe, runtime).total_bytes
    found = predict_memory(analysis, recipe, runtime)
    assert found.value > size + arena_bytes(analysis, recipe)
    assert found.low < found.value < found.high


@pytest.mark.parametrize(
    ("runtime", "basis"),
    [
        ("coreml", "not measured: Core ML's memory can only be measured on Apple's systems"),
        ("other", "not measured: edgekit has no memory model of other"),
    ],
)
def test_what_cannot_be_known_is_not_run_with_the_reason(runtime, basis):
    found = predict_memory(chain(), Recipe(default="fp32"), runtime)
    assert (found.value, found.basis) == (None, basis)


@pytest.mark.parametrize(("precision", "arenas"), [("fp32", 1.0), ("int8_dynamic", 2.5)])
def test_kernels_with_ranges_found_at_run_time_hold_activations_of_their_own(precision, arenas):
    analysis, recipe = chain(), Recipe(default=precision)
    terms = find_format("executorch").memory
    arena = arena_bytes(analysis, recipe)
    larger = predict_memory(chain(200_000), recipe, "executorch").value
    value = predict_memory(analysis, recipe, "executorch").value
    # Twice the width is twice the weights and, but for the input, twice the arena.
    assert larger - value == pytest.approx(value - terms.fixed_bytes, rel=0.01)
    weights = value - terms.fixed_bytes - arenas * arena
    assert weights == pytest.approx({"fp32": 2 * 4, "int8_dynamic": 1.04}[precision] * 100_000 * 100, rel=0.05)


def test_weights_that_are_widened_before_use_count_as_float():
    analysis = chain()
    narrow = predict_memory(analysis, Recipe(default="int8_dynamic"), "tflite").value
    widened = predict_memory(analysis, Recipe(default="int8_weights"), "tflite").value
    assert widened - narrow == pytest.approx(2 * 4 * 100_000 * 100 - 100_000 * (100 + 12), rel=0.01)


def test_a_precision_without_a_layout_is_not_run():
    found = predict_memory(chain(), Recipe(default="w8a16"), "tflite")
    assert (found.value, found.basis) == (None, "not measured: how tflite stores w8a16 weights is not known to edgekit")


def lstm(steps):
    """One layer, 40 inputs, state of 256."""
    builder = GraphBuilder()
    for name, shape in (("w", (1024, 40)), ("r", (1024, 256))):
        builder.store(name, shape, "float32", lambda shape=shape: np.ones(shape, "f4"))
    builder.tensor("x", (1, steps, 40), "float32")
    builder.tensor("y", (1, steps, 256), "float32")
    builder.add(
        name="l",
        type="lstm",
        kernel="recurrent",
        reads=["x", "w", "r"],
        outputs=["y"],
        macs=1,
        roles={"w": ("recurrent", 1024), "r": ("recurrent", 1024)},
        attributes={"steps": steps},
    )
    return builder.finish(["x"], ["y"])


def test_an_unrolled_lstm_packs_the_state_s_matrix_once_a_step_in_float():
    """LiteRT took 71.0 MB for this layer at 8 bits over 60 steps."""
    found = predict_memory(lstm(60), Recipe(default="int8_dynamic"), "tflite")
    assert found.value == pytest.approx(71.0e6, rel=0.05)


def test_each_step_of_an_unrolled_lstm_adds_as_much_at_any_precision():
    for precision in ("fp32", "int8_dynamic"):
        values = [predict_memory(lstm(steps), Recipe(default=precision), "tflite").value for steps in (60, 61)]
        assert values[1] - values[0] == pytest.approx(4 * 1024 * 256, rel=0.01)


def test_where_recurrent_layers_are_operators_steps_cost_no_weights():
    values = [predict_memory(lstm(steps), Recipe(default="fp32"), "onnx").value for steps in (60, 61)]
    assert values[1] - values[0] < 10_000


def test_a_convolution_points_to_its_input_once_for_each_position_and_tap():
    def bytes_of(kernel, **attributes):
        operator = Operator(
            name="c", type="conv2d", kernel=kernel, module="c", inputs=(), outputs=("y",), weights=("w",),
            attributes={"kernel_h": 1, "kernel_w": 1, "stride_h": 1, "stride_w": 1, "groups": 1, **attributes},
        )  # fmt: skip
        weight = Weight(name="w", shape=(8, 1), dtype="float32", role="kernel", channels=8)
        tensor = Tensor(name="y", shape=(1, 8, 1, 100), dtype="float32")
        memory = Memory(live_peak_bytes=0, arena_bytes=0, peak_operator="c", peak_tensors=())
        return indirection_bytes(
            Analysis(
                operators=(operator,), tensors={"y": tensor}, weights={"w": weight}, inputs=(), outputs=("y",),
                memory=memory, family="cnn", family_evidence="",
            )
        )  # fmt: skip

    assert bytes_of("dense_conv", kernel_w=25) == 100 * 25 * 8
    assert bytes_of("depthwise_conv", kernel_h=3, kernel_w=3) == 100 * 3 * 8
    assert bytes_of("pointwise_conv") == 0
    assert bytes_of("pointwise_conv", stride_w=2) == 100 * 8
