"""Plans: the choice, and the reasons for everything else."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgekit.analysis.graph_builder import GraphBuilder
from edgekit.budget import Budget, read_limit
from edgekit.errors import InputError, UsageError
from edgekit.model import CapturedModel
from edgekit.planner.make import make_plan
from edgekit.planner.plan import Plan
from edgekit.profiles.profile import CpuCluster, DeviceProfile, Hardware
from edgekit.recipe import Prediction

RNG = np.random.default_rng(0)


def cnn(weights=1_000_000):
    """One 1x1 convolution with `weights` weights, so a float file of 4 bytes each."""
    channels = weights // 1000
    builder = GraphBuilder()
    builder.store(
        "w", (channels, 1000, 1, 1), "float32", lambda: RNG.standard_normal((channels, 1000, 1, 1)).astype("f4")
    )
    builder.tensor("x", (1, 1000, 4, 4), "float32")
    builder.tensor("y", (1, channels, 4, 4), "float32")
    roles = {"w": ("kernel", channels)}
    builder.add(
        name="c",
        type="conv2d",
        kernel="pointwise_conv",
        reads=["x", "w"],
        outputs=["y"],
        macs=16 * weights,
        roles=roles,
    )
    return builder.finish(["x"], ["y"])


def encoder():
    builder = GraphBuilder()
    builder.store("table", (2000, 500), "float32", lambda: RNG.standard_normal((2000, 500)).astype("f4"))
    builder.store("w", (500, 500), "float32", lambda: RNG.standard_normal((500, 500)).astype("f4"))
    builder.tensor("ids", (1, 8), "int64")
    for name in ("e", "l", "y"):
        builder.tensor(name, (1, 8, 500), "float32")
    builder.tensor("s", (1, 8, 8), "float32")
    builder.add(
        name="e", type="embedding", kernel="embedding", module="words", reads=["ids", "table"], outputs=["e"],
        roles={"table": ("table", 2000)},
    )  # fmt: skip
    builder.add(
        name="l", type="linear", kernel="linear", reads=["e", "w"], outputs=["l"], macs=8 * 250_000,
        roles={"w": ("kernel", 500)},
    )  # fmt: skip
    builder.add(name="qk", type="matmul", kernel="attention_matmul", reads=["l", "e"], outputs=["s"], macs=32_000)
    builder.add(name="av", type="matmul", kernel="attention_matmul", reads=["s", "e"], outputs=["y"], macs=32_000)
    return builder.finish(["ids"], ["y"])


def captured(analysis, name="net"):
    return CapturedModel(
        name=name,
        source="model.py:build",
        source_kind="torch",
        kind="pt2",
        path=Path("float.pt2"),
        inputs=(),
        outputs=(),
        digest="d",
        parameters=analysis.parameters,
        macs=analysis.macs,
        family=analysis.family,
    )


def board(runtimes=("tflite", "onnx"), features=("neon",), kind="raspberry_pi", options=None):
    return DeviceProfile(
        name="board",
        title="Board",
        kind=kind,
        runtimes=runtimes,
        hardware=Hardware(cpu=(CpuCluster(cores=4, core="Cortex-A72", clock_ghz=1.5),), features=features),
        options=options or {},
        path=Path("board.toml"),
    )


def budget(**limits):
    return Budget().overridden_by(read_limit(name, text, f"--max-{name}") for name, text in limits.items())


def plan_for(analysis, profile=None, limits=None, prefer="accuracy", **more):
    return make_plan(captured(analysis), analysis, profile or board(), budget(**(limits or {})), prefer=prefer, **more)


def test_a_balance_takes_the_precision_whose_loss_does_not_show():
    made = plan_for(cnn(), prefer="balanced")
    assert (made.prefer, made.chosen.title) == ("balanced", "tflite int8-static")
    assert re.fullmatch(
        r"its loss is not expected to show, and it has 0\.\d+ x the size of tflite fp32", made.reasons[2]
    )
    behind = next(item.reason for item in made.runners_up if item.candidate.title == "tflite fp32")
    assert re.fullmatch(
        r"no loss is expected to show in either, and it has 3\.9 x the size of tflite int8-static", behind
    )


@pytest.mark.parametrize(
    ("prefer", "reason"),
    [
        pytest.param("size", "of those that fit it is the smallest", id="size"),
        pytest.param("speed", "of those that fit it is the fastest, as far as that is predicted", id="speed"),
    ],
)
def test_what_was_preferred_is_the_reason(prefer, reason):
    assert reason in plan_for(cnn(), prefer=prefer).reasons


def test_without_limits_the_float_model_is_kept():
    made = plan_for(cnn())
    assert (made.feasible, made.chosen.title) == (True, "tflite fp32")


def test_a_size_limit_takes_the_most_accurate_that_fits():
    assert plan_for(cnn(), limits={"size": "3 MB"}).chosen.title == "tflite fp16"
    assert plan_for(cnn(), limits={"size": "1.5 MB"}).chosen.title == "tflite int8-static"


def test_a_latency_limit_that_cannot_be_predicted_takes_what_practice_knows_to_be_faster():
    made = plan_for(cnn(), limits={"latency": "50 ms"})
    assert made.chosen.title == "tflite int8-static"
    assert made.reasons[2] == (
        "latency is limited to 50 ms and cannot be predicted here, so what practice knows to be faster comes first: "
        "integer kernels run at about half of float's time"
    )


def timed_board(level="error", **rates):
    """A board with latency models: ms of one inference of anything, by precision."""
    import dataclasses

    from edgekit.predict.latency_features import TERMS

    tables = {
        precision: {
            "unit": "cpu", "timed": "kernels", "rows": 9, "models": 9, "spread": 0.1, "untested": [], "sources": [],
            "ns": dict.fromkeys(TERMS, 0.0) | {"pointwise_macs": ms, "operators": ms},
        }
        for precision, ms in rates.items()
    }  # fmt: skip
    return dataclasses.replace(board(runtimes=("tflite",)), latency_model={"tflite": tables})


def slowest(profile, precision="fp32"):
    """Returns the latency that is predicted for the CNN."""
    made = plan_for(cnn(), profile, precision=precision)
    return next(check for check in made.checks if check.name == "latency").value


def test_a_predicted_latency_turns_down_what_is_too_slow():
    profile = timed_board(fp32=1.0, int8_static=0.2)
    limit = slowest(profile) * 0.5
    made = plan_for(cnn(), profile, limits={"latency": f"{limit:.9f} ms"})
    assert made.chosen.title == "tflite int8-static"
    reason = next(item.reason for item in made.rejected if item.candidate == "tflite fp32")
    assert re.fullmatch(r"latency [\d.]+ ms exceeds [\d.]+ ms \(--max-latency\) by [\d.]+ ms", reason)


def test_a_predicted_latency_that_is_kept_costs_no_accuracy():
    profile = timed_board(fp32=1.0, int8_static=0.2)
    assert plan_for(cnn(), profile, limits={"latency": f"{slowest(profile) * 2:.9f} ms"}).chosen.title == "tflite fp32"


def test_a_latency_limit_that_only_warns_still_prefers_what_keeps_it():
    profile = timed_board(fp32=1.0, int8_static=0.2)
    text = f"{slowest(profile) * 0.5:.9f} ms"
    limits = Budget().overridden_by([read_limit("latency", {"limit": text, "level": "warn"}, "profile")])
    analysis = cnn()
    made = make_plan(captured(analysis), analysis, profile, limits)
    assert (made.feasible, made.chosen.title) == (True, "tflite int8-static")
    behind = {item.candidate.title: item.reason for item in made.runners_up}
    assert behind["tflite fp32"].startswith("latency ")


def test_a_precision_that_usually_loses_more_than_is_allowed_is_not_taken_for_speed():
    made = plan_for(cnn(), limits={"latency": "50 ms", "accuracy_drop": "0.5 pp"})
    assert made.chosen.recipe.default in ("fp32", "fp16")
    assert (
        "is expected to lose 0.64 pp and 0.50 pp is allowed (--max-accuracy_drop): per-channel weights and calibrated "
        in (next(item.reason for item in made.rejected if item.candidate == "tflite int8-static"))
    )


def test_a_transformer_gets_dynamic_activations_and_never_static_ones():
    made = plan_for(encoder(), limits={"size": "2 MB"})
    assert made.chosen.title == "tflite int8-dynamic"
    titles = [made.chosen.title, *(r.candidate.title for r in made.runners_up), *(r.candidate for r in made.rejected)]
    assert not [title for title in titles if "static" in title]


def test_every_candidate_is_chosen_runner_up_or_turned_down():
    made = plan_for(cnn(), limits={"size": "3 MB"})
    titles = [made.chosen.title, *(r.candidate.title for r in made.runners_up), *(r.candidate for r in made.rejected)]
    assert sorted(titles) == sorted(
        f"{runtime} {name}" for runtime in ("tflite", "onnx") for name in ("fp32", "fp16", "int8-static")
    )


def test_a_broken_budget_is_named_with_who_set_it_and_by_how_much():
    made = plan_for(cnn(), limits={"size": "3 MB"})
    reason = next(item.reason for item in made.rejected if item.candidate == "tflite fp32")
    assert re.fullmatch(r"size 4(\.\d+)? MB exceeds 3 MB \(--max-size\) by 1(\.\d+)? MB", reason)


def test_where_nothing_fits_the_nearest_and_the_smallest_change_are_named():
    made = plan_for(cnn(), limits={"size": "500 kB"}, formats=("tflite",))
    assert not made.feasible
    assert made.chosen.title == "tflite int8-static"
    assert made.reasons == ("nothing keeps every budget; this comes nearest",)
    assert re.fullmatch(r"size 1\.0\d MB exceeds 500 kB \(--max-size\) by 5\d\d kB", made.misses[0])
    assert made.remedies == (
        '--max-size "1.1 MB" makes tflite int8-static fit',
        "structured pruning: needs training data to recover; worth it from 2 points of allowed loss on",
        "distillation: needs training data; worth it from 5 points of allowed loss on, or for more than 4 x",
    )


def test_the_named_change_is_enough():
    made = plan_for(cnn(), limits={"size": "500 kB"}, formats=("tflite",))
    size = re.search(r'--max-size "([^"]+)"', made.remedies[0]).group(1)
    again = plan_for(cnn(), limits={"size": size}, formats=("tflite",))
    assert (again.feasible, again.chosen.title) == (True, "tflite int8-static")
    assert next(check for check in again.checks if check.name == "size").verdict == "pass"


def test_where_one_change_is_not_enough_all_of_them_are_named():
    made = plan_for(cnn(), limits={"size": "500 kB", "memory": "1 MB"}, formats=("tflite",))
    pattern = (
        r'--max-size "[\d.]+ MB" --max-memory "[\d.]+ MB" together make tflite int8-static fit; '
        r"no change of one budget is enough"
    )
    assert re.fullmatch(pattern, made.remedies[0])


def test_a_limit_that_only_warns_turns_nothing_down():
    limits = Budget().overridden_by([read_limit("size", {"limit": "500 kB", "level": "warn"}, "profile")])
    analysis = cnn()
    made = make_plan(captured(analysis), analysis, board(), limits)
    assert made.feasible
    assert made.checks[0].verdict == "fail"


def warned(text):
    return Budget().overridden_by([read_limit("size", {"limit": text, "level": "warn"}, "profile")])


def test_what_keeps_a_limit_that_only_warns_comes_first():
    analysis = cnn()
    made = make_plan(captured(analysis), analysis, board(), warned("1.5 MB"))
    assert made.chosen.title == "tflite int8-static"
    rejected = {item.candidate: item.reason for item in made.rejected}
    behind = {item.candidate.title: item.reason for item in made.runners_up} | rejected
    assert re.fullmatch(r"size 4(\.\d+)? MB exceeds 1\.5 MB \(profile\) by 2\.\d+ MB", behind["tflite fp32"])


def test_a_warning_limit_that_is_missed_is_reported_as_a_reason():
    analysis = cnn()
    made = make_plan(captured(analysis), analysis, board(), warned("500 kB"), precision="int8")
    assert re.fullmatch(
        r"misses a limit that only warns: size 1\.0\d MB exceeds 500 kB \(profile\) by 5\d\d kB", made.reasons[1]
    )


def test_better_predictions_and_other_candidates_come_from_a_refinement():
    def refine(candidates):
        (fp32, fp16, int8) = candidates
        better = Prediction(
            name="accuracy_drop", value=0.1, low=0.0, high=0.2, unit="pp", basis="simulated", evidence="simulated"
        )
        predictions = tuple(better if item.name == "accuracy_drop" else item for item in int8.predictions)
        mixed = replace(int8, recipe=replace(int8.recipe, overrides=(("c", "fp32"),)), predictions=predictions)
        return (fp32, fp16, int8, mixed)

    made = plan_for(cnn(), board(runtimes=("tflite",)), {"size": "1.5 MB"}, refine=refine)
    assert made.chosen.title == "tflite int8-static+mixed"
    reason = {item.candidate.title: item.reason for item in made.runners_up}["tflite int8-static"]
    assert reason.startswith("expected to lose more accuracy (0.64 pp): ")


def test_of_two_that_lose_nothing_the_one_nearer_to_float_is_taken():
    def refine(candidates):
        made = []
        for item, ratio in zip(candidates, (150.0, 40.0, 25.0), strict=True):
            known = {
                "accuracy_drop": Prediction(
                    name="accuracy_drop", value=0.0, low=0.0, high=0.2, unit="pp", basis="", evidence="simulated"
                ),
                "parity": Prediction(name="parity", value=ratio, low=ratio, high=ratio, unit="dB", basis=""),
            }
            made.append(replace(item, predictions=tuple(known.get(p.name, p) for p in item.predictions)))
        return tuple(made)

    made = plan_for(cnn(), board(runtimes=("tflite",)), {"size": "3 MB"}, refine=refine)
    assert made.chosen.title == "tflite fp16"
    assert made.runners_up[0].reason == (
        "loses no more, but its outputs are 25.0 dB from float's and the chosen one's 40.0 dB"
    )


def test_what_is_not_known_is_not_run_with_its_reason():
    made = plan_for(cnn(), board(runtimes=("coreml",), kind="phone"), limits={"memory": "10 MB", "latency": "5 ms"})
    details = {check.name: (check.verdict, check.detail) for check in made.checks}
    assert details["memory"] == ("not_run", "not measured: Core ML's memory can only be measured on Apple's systems")
    assert details["latency"] == (
        "not_run",
        "not measured: board has no fitted latency model for coreml; measure it on the device",
    )
    assert details["accuracy_drop"] == (
        "not_run",
        (
            "not measured: no cnn was measured as coreml fp16 in edgekit's benchmarks; --effort default simulates it "
            "on calibration data"
        ),
    )
    assert made.feasible


def test_core_ml_starts_from_16_bit_float():
    assert plan_for(cnn(), board(runtimes=("coreml",))).chosen.title == "coreml fp16"


def test_a_forced_precision_is_the_only_one():
    made = plan_for(cnn(), precision="int8")
    assert made.chosen.title == "tflite int8-static"
    assert [item.candidate.title for item in made.runners_up] == ["onnx int8-static"]


def test_a_forced_format_that_the_device_does_not_list_is_planned_with_a_warning():
    made = plan_for(cnn(), formats=("coreml",))
    assert made.chosen.title == "coreml fp16"
    assert made.warnings == ("board lists tflite, onnx and not coreml: its budgets are applied all the same",)


def test_a_forced_precision_that_ruins_the_family_is_warned_about():
    made = plan_for(encoder(), formats=("tflite",), precision="int8-static")
    (warning,) = made.warnings
    assert warning == (
        "tflite int8-static may lose up to 50 points and 1 point is common sense: calibrated 8-bit activations ruin "
        "attention: a sentence encoder falls to a cosine of 0.35"
    )


def test_an_unknown_precision_is_refused():
    with pytest.raises(UsageError) as caught:
        plan_for(cnn(), precision="int7")
    assert caught.value.message == (
        '--precision "int7" is not known: accepted are fp32, fp16, int8, int8-static, int8-dynamic, int8-hybrid, '
        "int8-weights, int4."
    )


def test_without_calibration_data_static_int8_is_turned_down_with_the_reason():
    made = plan_for(cnn(), limits={"size": "1.5 MB"}, has_calibration=False)
    refused = {item.candidate: item.reason for item in made.rejected}
    reason = (
        "it needs calibration data and the task has none; give --calibration, or [data] calibration in edgekit.toml"
    )
    assert refused["tflite int8-static"] == refused["onnx int8-static"] == reason
    assert not made.feasible


def test_what_the_source_cannot_reach_is_turned_down_with_its_word():
    made = plan_for(cnn(), why_not=lambda runtime, _recipe: "no such bridge" if runtime == "tflite" else None)
    assert made.chosen.runtime == "onnx"
    assert made.rejected[-1].candidate == "tflite fp32, fp16, int8-static"
    assert made.rejected[-1].reason == "no such bridge"


def test_every_candidate_that_was_judged_is_on_record_with_its_predictions():
    made = plan_for(cnn(), limits={"size": "3 MB"})
    assert made.considered[0] == made.chosen
    assert {item.title for item in made.considered} == {
        f"{runtime} {name}" for runtime in ("tflite", "onnx") for name in ("fp32", "fp16", "int8-static")
    }
    assert all(item.prediction("size").value for item in made.considered)


def test_without_any_candidate_there_is_no_choice():
    made = plan_for(cnn(), why_not=lambda _runtime, _recipe: "a finished artifact")
    assert (made.feasible, made.chosen, made.checks, made.remedies) == (False, None, (), ())
    assert [item.reason for item in made.rejected] == ["a finished artifact", "a finished artifact"]
    assert made.to_json()["recipe"] is None
    assert Plan.from_json(made.to_json()) == made


def test_the_profile_s_options_reach_the_recipe():
    made = plan_for(
        cnn(),
        board(runtimes=("onnx",), options={"onnx": {"symmetric_activations": True, "per_channel": False}}),
        precision="int8",
    )
    assert (made.chosen.recipe.symmetric_activations, made.chosen.recipe.per_channel) == (True, False)


def test_steps_say_how_it_is_quantized():
    (step,) = plan_for(cnn(), precision="int8").chosen.steps
    assert step.to_json() == {
        "technique": "quantize_static",
        "settings": {
            "precision": "int8_static",
            "per_channel": True,
            "ranges": "percentile",
            "symmetric_activations": False,
        },
    }


def test_json_brings_the_plan_back():
    made = plan_for(cnn(), limits={"size": "3 MB", "latency": "50 ms"})
    assert Plan.from_json(json.loads(json.dumps(made.to_json()))) == made


def test_json_has_the_keys_that_ci_relies_on():
    data = plan_for(cnn(), limits={"size": "3 MB"}).to_json()
    assert list(data)[:6] == ["schema_version", "command", "device", "device_title", "runtime", "feasible"]
    assert (data["schema_version"], data["command"], data["runtime"]) == (1, "plan", "tflite")
    assert set(data["model"]) >= {"name", "source", "parameters", "macs", "family", "embedded_default"}
    assert data["checks"][0]["basis"] == "predicted"
    assert {"name", "value", "low", "high", "unit"} <= set(data["predictions"][0])
    assert set(data["rejected"][0]) == {"candidate", "reason"}


def test_another_json_file_is_refused():
    with pytest.raises(UsageError) as caught:
        Plan.from_json({"command": "export", "schema_version": 1}, "out/report.json")
    assert caught.value.message == (
        'out/report.json: not a plan of schema 1: "command" is \'export\', "schema_version" is 1. '
        "Write one with: edgekit plan --device NAME -o plan.json"
    )


def test_an_incomplete_plan_is_refused():
    data = plan_for(cnn()).to_json()
    del data["limits"]
    with pytest.raises(UsageError) as caught:
        Plan.from_json(data, "plan.json")
    assert caught.value.message == (
        "plan.json has 1 fault:\n  limits: missing; expected a list of limits\n"
        "Write it anew with: edgekit plan --device NAME -o plan.json"
    )


def test_a_plan_with_an_unknown_precision_is_refused():
    data = plan_for(cnn()).to_json()
    data["recipe"]["default"] = "int7"
    with pytest.raises(InputError) as caught:
        Plan.from_json(data)
    assert caught.value.message == (
        'plan has 1 fault:\n  recipe.default: "int7" was given; expected a precision, such as int8_static\n'
        "Write it anew with: edgekit plan --device NAME -o plan.json"
    )
