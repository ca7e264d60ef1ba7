"""No silent downgrade: integer coverage, the accelerated paths and ignored settings, on operators that are made up."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from edgekit.analysis.graph import Analysis, Memory, Operator, Weight
from edgekit.artifact import Artifact
from edgekit.budget import RECIPE_SOURCE, Budget, Limit
from edgekit.checks import Check
from edgekit.formats.table import accelerator_files
from edgekit.recipe import Recipe
from edgekit.validators.accelerator_rules import accelerator_rules
from edgekit.validators.artifact_operators import ArtifactOperator
from edgekit.validators.base import Evidence
from edgekit.validators.delegate_coverage import DelegateCoverageValidator
from edgekit.validators.ignored_settings import IgnoredSettingsValidator
from edgekit.validators.integer_coverage import IntegerCoverageValidator
from edgekit.validators.requested import (
    PRECISION_KEY,
    REQUESTED_KEY,
    read_requested,
    requested_metadata,
    requested_settings,
)
from edgekit.workers.structure import structure


def conv(name: str = "conv", arithmetic: str = "integer", **facts: Any) -> ArtifactOperator:
    usual = {"kind": "CONV_2D", "macs": 100, "weights": 10, "weight_bits": 8, "scales": 2, "channels": 2, "rank": 4}
    if arithmetic == "float":
        usual |= {"weight_bits": 32, "scales": 0, "dtype": "float32"}
    return structure({"name": name, "arithmetic": arithmetic, **usual, **facts}, ArtifactOperator, "operator")


def evidence(
    *operators: ArtifactOperator, recipe: Recipe | None = None, runtime: str = "tflite", **facts: Any
) -> Evidence:
    artifact = Artifact(
        path=Path("net.tflite"), runtime=runtime, precision="", size_bytes=1, download_bytes=1, sha256=""
    )
    requested = requested_settings(recipe) if recipe else None
    return Evidence(artifact=artifact, runtime="LiteRT 2", operators=operators, **{"requested": requested, **facts})


def integer(found: Evidence, *limits: Limit) -> Check:
    return IntegerCoverageValidator().run(found, Budget(limits=limits))[0]


def paths(found: Evidence, *limits: Limit) -> tuple[Check, ...]:
    return DelegateCoverageValidator().run(found, Budget(limits=limits))


def ignored(found: Evidence) -> Check:
    return IgnoredSettingsValidator().run(found, Budget())[0]


STATIC = Recipe(default="int8_static")


def test_a_float_operator_in_an_int8_artifact_fails_by_default_and_is_named() -> None:
    check = integer(evidence(conv(), conv("stem", "float", macs=300), recipe=STATIC))
    assert (check.verdict, check.level, check.value) == ("fail", "error", 25.0)
    assert (check.limit, check.limit_from) == (100.0, RECIPE_SOURCE)
    assert check.detail == "Of 0.0004 M multiply-accumulates requested in integers. In float: stem (CONV_2D)."


def test_an_artifact_that_runs_in_integers_passes() -> None:
    check = integer(evidence(conv(), conv("b"), recipe=STATIC))
    assert (check.verdict, check.value) == ("pass", 100.0)


def test_activations_quantized_at_run_time_are_integers_and_are_reported() -> None:
    check = integer(evidence(conv(), conv("late", "dynamic"), recipe=STATIC))
    assert check.verdict == "pass"
    assert check.detail.endswith("Grids chosen at run time: late (CONV_2D).")


@pytest.mark.parametrize(("bits", "verdict"), [(8, "pass"), (4, "pass"), (16, "fail"), (32, "fail")], ids=str)
def test_integer_weights_are_all_that_weight_only_precisions_ask_for(bits: int, verdict: str) -> None:
    found = evidence(conv(arithmetic="float", weight_bits=bits), recipe=Recipe(default="int8_weights"))
    assert integer(found).verdict == verdict


def test_integer_weights_in_float_arithmetic_are_not_what_int8_dynamic_asks_for() -> None:
    found = evidence(conv(arithmetic="float", weight_bits=8), recipe=Recipe(default="int8_dynamic"))
    assert integer(found).verdict == "fail"


@pytest.mark.parametrize(("precision", "verdict"), [("int8_static", "fail"), ("int8_dynamic", "pass")], ids=str)
def test_products_of_two_activations_are_requested_by_static_precisions_only(precision: Any, verdict: str) -> None:
    product = conv("scores", "float", kind="BATCH_MATMUL", weights=0, weight_bits=0, scales=0)
    found = evidence(conv(arithmetic="dynamic"), product, recipe=Recipe(default=precision))
    assert integer(found).verdict == verdict


def test_a_float_artifact_is_requested_nothing() -> None:
    check = integer(evidence(conv(arithmetic="float"), recipe=Recipe(default="fp32")))
    assert (check.verdict, check.limit, check.level) == ("not_run", None, "warn")
    assert check.detail == "No operator was requested in integers."


def test_a_budget_takes_the_place_of_the_recipes_limit() -> None:
    found = evidence(conv(), conv("stem", "float", macs=300), recipe=STATIC)
    check = integer(found, Limit(name="integer_coverage", value=20.0, source="edgekit.toml [budget]"))
    assert (check.verdict, check.limit_from) == ("pass", "edgekit.toml [budget]")


def test_a_runtime_that_tells_nothing_does_not_pass_where_integers_were_requested() -> None:
    found = evidence(recipe=STATIC, missing={"operators": "The runtime does not report what it runs."})
    check = integer(found)
    assert (check.verdict, check.fails_gate) == ("not_run", True)
    assert check.detail == "The runtime does not report what it runs."


def test_an_artifact_made_elsewhere_is_reported_and_not_judged_until_somebody_says_what_it_must_be() -> None:
    found = evidence(conv(), conv("stem", "float", macs=300))
    check = integer(found)
    assert (check.verdict, check.value, check.limit) == ("pass", 25.0, None)
    assert check.detail.endswith("Nothing says which of it was requested in integers. In float: stem (CONV_2D).")
    reported = integer(found, Limit(name="integer_coverage", value=100.0, source="--min-integer-coverage"))
    assert (reported.verdict, reported.level) == ("fail", "error")


def two_layers() -> Analysis:
    def layer(name: str, macs: int) -> Operator:
        return Operator(
            name=name, type="linear", kernel="linear", module=name, inputs=(), outputs=(), weights=(name,), macs=macs
        )

    def weight(name: str, shape: tuple[int, int]) -> Weight:
        return Weight(name=name, shape=shape, dtype="float32", role="kernel", channels=shape[0])

    return Analysis(
        operators=(layer("first", 20), layer("last", 30)),
        tensors={},
        weights={"first": weight("first", (5, 4)), "last": weight("last", (6, 5))},
        inputs=(),
        outputs=(),
        memory=Memory(live_peak_bytes=0, arena_bytes=0, peak_operator="", peak_tensors=()),
        family="mlp",
        family_evidence="",
    )


MIXED = Recipe(default="int8_static", overrides=(("last", "fp32"),))


def linear(name: str, arithmetic: str, weights: int) -> ArtifactOperator:
    return conv(name, arithmetic, kind="FULLY_CONNECTED", weights=weights, macs=weights)


def test_of_a_recurrent_layer_only_integer_weights_are_requested() -> None:
    analysis = two_layers()
    first, last = analysis.operators
    lstm = dataclasses.replace(first, kernel="recurrent")
    weights = {**analysis.weights, "first": dataclasses.replace(analysis.weights["first"], role="recurrent")}
    requested = requested_settings(
        Recipe(default="int8_dynamic"), analysis=dataclasses.replace(analysis, operators=(lstm, last), weights=weights)
    )
    stored, computed = linear("lstm", "float", 20), linear("last", "integer", 30)
    stored = dataclasses.replace(stored, weight_bits=8)
    assert integer(evidence(stored, computed, requested=requested)).verdict == "pass"
    lost = dataclasses.replace(stored, weight_bits=32)
    assert integer(evidence(lost, computed, requested=requested)).verdict == "fail"
    assert integer(evidence(stored, linear("last", "float", 30), requested=requested)).verdict == "fail"


@pytest.mark.parametrize(
    ("runtime", "verdict"), [("executorch", "pass"), ("tflite", "fail")], ids=["without_kernels", "with_kernels"]
)
def test_an_unrolled_recurrent_layer_is_float_by_plan_where_the_format_has_no_kernels(
    runtime: str, verdict: str
) -> None:
    analysis = two_layers()
    first, last = analysis.operators
    weights = {**analysis.weights, "first": dataclasses.replace(analysis.weights["first"], role="recurrent")}
    gru = dataclasses.replace(first, kernel="recurrent")
    requested = requested_settings(
        Recipe(default="int8_dynamic"), analysis=dataclasses.replace(analysis, operators=(gru, last), weights=weights)
    )
    unrolled = [linear(f"step{i}", "float", 20) for i in range(3)]
    check = integer(evidence(*unrolled, linear("last", "integer", 30), requested=requested, runtime=runtime))
    assert check.verdict == verdict
    assert ("In float by plan: step0" in check.detail) == (verdict == "pass")
    lost = evidence(*unrolled, linear("last", "float", 30), requested=requested, runtime=runtime)
    assert integer(lost).verdict == "fail"


def test_narrow_weights_of_a_recurrent_layer_may_stay_half_floats() -> None:
    analysis = two_layers()
    first, last = analysis.operators
    narrow = dataclasses.replace(analysis.weights["first"], role="recurrent", shape=(20, 1))
    requested = requested_settings(
        Recipe(default="int8_dynamic"),
        analysis=dataclasses.replace(
            analysis,
            operators=(dataclasses.replace(first, kernel="recurrent"), last),
            weights={**analysis.weights, "first": narrow},
        ),
    )
    half = dataclasses.replace(linear("lstm", "float", 20), weight_bits=16)
    assert integer(evidence(half, linear("last", "integer", 30), requested=requested)).verdict == "pass"


@pytest.mark.parametrize(
    ("operators", "verdict", "value"),
    [
        pytest.param((linear("a", "integer", 20), linear("b", "float", 30)), "pass", 100.0, id="as planned"),
        pytest.param((linear("a", "float", 20), linear("b", "float", 30)), "fail", 0.0, id="more float than planned"),
        pytest.param((linear("a", "integer", 20), linear("b", "integer", 30)), "pass", 100.0, id="less float"),
    ],
)
def test_layers_that_a_mixed_plan_meant_to_be_float_do_not_count(operators: Any, verdict: str, value: float) -> None:
    requested = requested_settings(MIXED, analysis=two_layers())
    check = integer(evidence(*operators, requested=requested))
    assert (check.verdict, check.value) == (verdict, value)


def test_a_mixed_artifact_without_its_model_is_reported_and_not_judged() -> None:
    check = integer(evidence(linear("a", "integer", 20), linear("b", "float", 30), recipe=MIXED))
    assert (check.verdict, check.limit, check.value) == ("pass", None, 40.0)
    assert check.detail.endswith("give the model to tell which. In float: b (FULLY_CONNECTED).")


def test_a_mixed_artifact_that_holds_the_table_of_its_layers_is_judged_without_its_model() -> None:
    requested = read_requested(requested_metadata(MIXED, "float", two_layers()))
    assert requested is not None
    sound = integer(evidence(linear("a", "integer", 20), linear("b", "float", 30), requested=requested))
    assert (sound.verdict, sound.limit, sound.value) == ("pass", 100.0, 100.0)
    lost = integer(evidence(linear("a", "float", 20), linear("b", "float", 30), requested=requested))
    assert (lost.verdict, lost.value) == ("fail", 0.0)


@pytest.mark.parametrize(
    ("operator", "detail"),
    [
        pytest.param(
            conv("up", "float", kind="ConvTranspose", weight_bits=8),
            "As requested: all of 0.0001 M multiply-accumulates. In float by plan: up (ConvTranspose), because "
            "onnxruntime has no integer kernel for transposed convolutions.",
            id="with integer weights",
        ),
        pytest.param(
            conv("up", "float", kind="ConvTranspose"),
            "Of 0.0002 M multiply-accumulates requested in integers. In float: up (ConvTranspose).",
            id="with float weights",
        ),
        pytest.param(
            conv("stem", "float", kind="Conv", weight_bits=8),
            "Of 0.0002 M multiply-accumulates requested in integers. In float: stem (Conv).",
            id="with a kernel",
        ),
    ],
)
def test_what_a_runtime_has_no_integer_kernel_for_is_float_by_plan(operator: ArtifactOperator, detail: str) -> None:
    check = integer(evidence(conv(kind="QLinearConv"), operator, recipe=STATIC, runtime="onnx"))
    assert check.detail == detail
    assert check.verdict == ("pass" if "by plan" in detail else "fail")


def test_a_hybrid_recipe_asks_for_integers_where_there_are_weights() -> None:
    hybrid = Recipe(default="int8_hybrid")
    product = conv("scores", "float", kind="BATCH_MATMUL", weights=0, weight_bits=0)
    assert integer(evidence(conv(), linear("layer", "dynamic", 20), product, recipe=hybrid)).value == 100.0
    assert integer(evidence(conv("stem", "float"), linear("layer", "dynamic", 20), recipe=hybrid)).verdict == "fail"
    assert integer(evidence(conv(), linear("layer", "float", 20), recipe=hybrid)).verdict == "fail"


def test_what_falls_off_the_delegate_is_named() -> None:
    found = evidence(conv(path="XNNPACK"), conv("odd", kind="CONV_3D", macs=300, path=""), host="CPU")
    check = paths(found, Limit(name="delegate_coverage", value=90.0, source="profile", level="warn"))[0]
    assert (check.verdict, check.level, check.value, check.basis) == ("fail", "warn", 25.0, "measured")
    assert check.detail == "Of 0.0004 M multiply-accumulates, run by XNNPACK. Off it: odd (CONV_3D)."


def test_a_delegate_that_nobody_tells_about_is_not_run_and_a_profiles_limit_is_not_about_it() -> None:
    limit = Limit(name="delegate_coverage", value=90.0, source="profile", level="warn")
    check = paths(evidence(conv(path=None)), limit)[0]
    assert (check.verdict, check.limit) == ("not_run", None)
    assert check.detail == "The runtime does not report what runs where."
    given = paths(evidence(conv(path=None)), dataclasses.replace(limit, source="--min-delegate-coverage"))[0]
    assert given.limit == 90.0


def test_an_accelerators_share_is_predicted_with_its_rules_named() -> None:
    found = evidence(
        conv("first", kind="conv", dtype="float16"),
        conv("loop", "float", kind="lstm", dtype="float16", macs=300),
        runtime="coreml",
        accelerator="neural_engine",
    )
    check = paths(found)[1]
    assert (check.value, check.basis, check.measured_on) == (25.0, "predicted", "rules about Apple Neural Engine")
    assert check.detail.startswith("Predicted by published rules about Apple Neural Engine, of 0.0004 M")
    assert check.detail.endswith("Not taken (recurrent layers run on the CPU): loop (lstm).")


def test_a_device_without_an_accelerator_for_the_format_says_so() -> None:
    check = paths(evidence(conv()), Limit(name="accelerator_coverage", value=90.0, source="profile"))[1]
    assert (check.verdict, check.limit) == ("not_run", None)
    assert check.detail == "The device's profile names no accelerator for this format."


@pytest.mark.parametrize("name", sorted(accelerator_files()))
def test_every_accelerators_rules_have_sources_and_a_caveat(name: str) -> None:
    rules = accelerator_rules(name)
    assert rules.sources
    assert all(source.startswith("https://") for source in rules.sources)
    assert rules.caveat
    assert all(why_not.reason for why_not in rules.exclusions)


@pytest.mark.parametrize(
    ("rules", "operator", "reason"),
    [
        pytest.param(
            "tensorrt",
            conv(kind="QLinearConv", dtype="uint8"),
            "it takes signed, symmetric grids only: symmetric_activations = true in the profile's [export.onnx]",
            id="tensorrt unsigned",
        ),
        pytest.param("tensorrt", conv(kind="QLinearConv", dtype="int8"), None, id="tensorrt signed"),
        pytest.param("hexagon", conv(kind="Foo"), "not among its operators", id="hexagon unlisted"),
        pytest.param("hexagon", conv(kind="QLinearConv", dtype="uint8"), None, id="hexagon conv"),
        pytest.param("nnapi", conv(rank=5), "it takes tensors of 4 dimensions at most", id="nnapi rank"),
        pytest.param("nnapi", conv(), None, id="nnapi conv"),
    ],
)
def test_rules_say_why_an_operator_is_not_taken(rules: str, operator: ArtifactOperator, reason: str | None) -> None:
    assert accelerator_rules(rules).why_not(operator) == reason


@pytest.mark.parametrize(
    ("recipe", "operators", "sentence"),
    [
        pytest.param(
            Recipe(default="int4_weights"),
            [conv()],
            "int4_weights was requested; no layer has 4-bit weights, but 1 with 8 bits.",
            id="int4",
        ),
        pytest.param(
            Recipe(default="int4_weights", group_size=64),
            [conv(weight_bits=4, weights=128, scales=4)],
            "Groups of 64 weights were requested; groups of 32 came out.",
            id="group size",
        ),
        pytest.param(
            Recipe(default="int8_static", per_channel=False),
            [conv(), conv("b", scales=1)],
            "One scale a tensor was requested; a scale for each channel came out: conv (CONV_2D).",
            id="per tensor",
        ),
        pytest.param(
            STATIC,
            [conv(scales=1), conv("b", scales=1)],
            "A scale for each channel was requested; each of 2 layers has one for the whole tensor.",
            id="per channel",
        ),
        pytest.param(
            Recipe(default="int8_static", symmetric_activations=True),
            [conv(dtype="int8", zero_point=0), conv("b", dtype="int8", zero_point=-128)],
            "Symmetric activations were requested; these have a zero point or no sign: b (CONV_2D).",
            id="symmetric",
        ),
        pytest.param(
            Recipe(default="fp16"),
            [conv(arithmetic="float")],
            "fp16 was requested; no layer has 16-bit weights, but 1 with 32 bits.",
            id="fp16",
        ),
    ],
)
def test_a_setting_that_the_file_does_not_show_is_named_with_what_came_out(
    recipe: Recipe, operators: list[ArtifactOperator], sentence: str
) -> None:
    check = ignored(evidence(*operators, recipe=recipe))
    assert (check.verdict, check.level, check.value, check.detail) == ("fail", "error", 1, sentence)


def test_a_table_of_four_bits_shows_that_they_were_not_ignored() -> None:
    recipe = Recipe(default="int8_dynamic", overrides=(("words", "int4_weights"),))
    look_up = conv("words", "other", kind="EMBEDDING_LOOKUP", macs=0, weights=0, weight_bits=0, table_bits=4)
    assert ignored(evidence(conv(arithmetic="dynamic"), look_up, recipe=recipe)).verdict == "pass"
    assert (
        ignored(evidence(conv(arithmetic="dynamic"), recipe=recipe)).detail
        == "int4_weights was requested; no layer has 4-bit weights, but 1 with 8 bits."
    )


def test_float_inputs_where_int8_was_requested_are_named() -> None:
    requested = requested_settings(STATIC, io="int8")
    check = ignored(evidence(conv(), requested=requested, boundary=(("image", "float32"), ("logits", "int8"))))
    assert (check.verdict, check.detail) == ("fail", "--io int8 was requested; image came out as float.")


def test_techniques_that_the_file_does_not_speak_of_are_named() -> None:
    requested = requested_settings(STATIC, techniques="equalize")
    check = ignored(evidence(conv(), requested=requested, embedded={"edgekit.version": "1"}))
    assert check.detail == "Techniques requested: equalize; the file was made with: none."


def test_settings_that_the_file_shows_pass() -> None:
    requested = requested_settings(STATIC, io="int8", techniques="")
    check = ignored(
        evidence(conv(), requested=requested, boundary=(("image", "int8"),), embedded={PRECISION_KEY: "int8-static"})
    )
    assert (check.verdict, check.value) == ("pass", 0)


def test_an_artifact_that_says_nothing_about_itself_has_no_ignored_settings() -> None:
    check = ignored(evidence(conv()))
    assert (check.verdict, check.limit, check.detail) == ("not_run", None, "Nothing says what was requested.")


@pytest.mark.parametrize(
    ("recipe", "io"),
    [
        (STATIC, "float"),
        (STATIC, "int8"),
        (MIXED, "float"),
        (Recipe(default="int4_weights", group_size=64), "float"),
        (Recipe(default="int8_static", symmetric_activations=True, per_channel=False), "int8"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_what_was_requested_is_read_back_from_the_artifact(recipe: Recipe, io: str) -> None:
    found = read_requested(requested_metadata(recipe, io))
    assert found is not None
    assert (found.recipe, found.io) == (recipe, io)


def test_usual_settings_add_nothing_to_an_artifact() -> None:
    assert requested_metadata(STATIC, "float") == {PRECISION_KEY: "int8-static"}


def test_somebody_elses_use_of_the_key_is_passed_over() -> None:
    found = read_requested({PRECISION_KEY: "int8-static", REQUESTED_KEY: "[1]"})
    assert found is not None
    assert (found.recipe, found.io) == (STATIC, "float")


def test_a_mixed_artifact_of_an_edgekit_that_did_not_write_its_layers_down_is_not_judged_by_layer() -> None:
    found = read_requested({PRECISION_KEY: "int8-static+mixed"})
    assert found is not None
    assert not found.knows_layers


def test_an_artifact_without_a_precision_says_nothing() -> None:
    assert read_requested({}) is None
