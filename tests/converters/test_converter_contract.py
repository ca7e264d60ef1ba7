"""What every converter promises, whatever it converts to. What one runtime alone does is tested beside this file."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar, final, get_args

import pytest

from edgekit import registry
from edgekit.artifact import RUNTIME_BY_SUFFIX, measure_files
from edgekit.converters.base import Conversion, ConversionRequest, Converter
from edgekit.errors import ConversionError, DataError, MissingDependencyError, WorkerError
from edgekit.model import CapturedKind, CapturedModel, TensorSpec
from edgekit.plan import PRECISIONS, Recipe
from edgekit.worker import silent

KINDS = get_args(CapturedKind)
RUNTIMES = tuple(registry.CONVERTERS)
STATIC = Recipe(default="int8_static")
FRAMEWORKS = (
    "torch",
    "tensorflow",
    "onnx",
    "onnxruntime",
    "executorch",
    "coremltools",
    "ai_edge_litert",
    "litert_torch",
)

EMPTY = Conversion(inputs=(), outputs=())
MODEL = CapturedModel(
    name="net",
    source="net.py:build",
    source_kind="torch",
    kind="pt2",
    path=Path("float.pt2"),
    inputs=(TensorSpec(name="x", shape=(1, 8), dtype="float32"),),
    outputs=(TensorSpec(name="y", shape=(1, 3), dtype="float32"),),
    digest="0" * 64,
    parameters=27,
    macs=24,
    family="mlp",
)


@final
class Scripted(Converter):
    """Does what its test says, under the base class's contract."""

    runtime: ClassVar[str] = "scripted"
    suffix: ClassVar[str] = ".scripted"
    extra: ClassVar[str] = "scripted"
    needs: ClassVar[Mapping[str, str]] = {"json": "json"}

    def __init__(self, script, reason=None):
        self.script, self.reason, self.calls = script, reason, []

    def why_not(self, kind, recipe):
        return self.reason

    def convert(self, request, output, progress):
        self.calls.append(output)
        return self.script(output)


def write_file(output):
    output.write_bytes(b"new")
    return EMPTY


def write_folder(output):
    (output / "weights").mkdir(parents=True)
    (output / "weights" / "w.bin").write_bytes(b"new")
    return EMPTY


def write_nothing(output):
    return EMPTY


def fail_after_half_a_file(output):
    output.write_bytes(b"ne")
    raise DataError("half")


def fail_after_half_a_folder(output):
    write_folder(output)
    raise DataError("half")


def fail_at_once(output):
    raise DataError("half")


def be_interrupted(output):
    write_file(output)
    raise KeyboardInterrupt


def request_for(folder, model=MODEL, recipe=None, calibration=None, io="float"):
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    return ConversionRequest(model=model, recipe=recipe or Recipe(), calibration=calibration, io=io, scratch=scratch)


def left_in(folder):
    return sorted(item.name for item in folder.iterdir() if item.name != "scratch")


def exactly(text):
    return f"^{re.escape(text)}$"


# The base class


@pytest.mark.parametrize("script", [write_file, write_folder])
def test_the_artifact_appears_under_its_name_and_nothing_beside_it(tmp_path, script):
    output = tmp_path / "net.scripted"
    assert Scripted(script).run(request_for(tmp_path), output, silent) is EMPTY
    assert left_in(tmp_path) == ["net.scripted"]


def test_a_converter_is_given_a_path_that_does_not_exist_in_the_folder_of_the_artifact(tmp_path):
    seen = []

    def look(output):
        seen.append((output.parent, output.exists()))
        return write_file(output)

    partial = tmp_path / ".partial-net.scripted"
    write_folder(partial)  # an earlier process was killed
    Scripted(look).run(request_for(tmp_path), tmp_path / "net.scripted", silent)
    assert seen == [(tmp_path, False)]
    assert left_in(tmp_path) == ["net.scripted"]


@pytest.mark.parametrize("before", [write_file, write_folder], ids=["over a file", "over a folder"])
@pytest.mark.parametrize("script", [write_file, write_folder])
def test_an_older_artifact_is_replaced_as_a_whole(tmp_path, before, script):
    output = tmp_path / "net.scripted"
    before(output)
    (output / "old").write_bytes(b"old") if output.is_dir() else output.write_bytes(b"old")
    Scripted(script).run(request_for(tmp_path), output, silent)
    assert left_in(tmp_path) == ["net.scripted"]
    files = [file.read_bytes() for file in ([output] if output.is_file() else output.rglob("*")) if file.is_file()]
    assert files == [b"new"]


@pytest.mark.parametrize("script", [fail_at_once, fail_after_half_a_file, fail_after_half_a_folder])
def test_a_converter_that_fails_leaves_no_file_and_its_own_error(tmp_path, script):
    with pytest.raises(DataError, match=r"^half$"):
        Scripted(script).run(request_for(tmp_path), tmp_path / "net.scripted", silent)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("script", [fail_at_once, fail_after_half_a_file, fail_after_half_a_folder])
def test_a_converter_that_fails_leaves_the_older_artifact_alone(tmp_path, script):
    output = tmp_path / "net.scripted"
    output.write_bytes(b"old")
    with pytest.raises(DataError, match=r"^half$"):
        Scripted(script).run(request_for(tmp_path), output, silent)
    assert left_in(tmp_path) == ["net.scripted"]
    assert output.read_bytes() == b"old"


def test_an_interrupted_conversion_leaves_no_file(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        Scripted(be_interrupted).run(request_for(tmp_path), tmp_path / "net.scripted", silent)
    assert left_in(tmp_path) == []


def test_a_converter_that_writes_nothing_has_broken_its_contract(tmp_path):
    output = tmp_path / "net.scripted"
    output.write_bytes(b"old")
    message = "The scripted converter returned without writing net.scripted."
    with pytest.raises(WorkerError, match=exactly(message)):
        Scripted(write_nothing).run(request_for(tmp_path), output, silent)
    assert output.read_bytes() == b"old"


def test_a_reason_against_the_recipe_is_told_before_anything_is_done(tmp_path, monkeypatch):
    monkeypatch.setattr(Scripted, "needs", {"no_such_module_1": "no-such-1"})
    converter = Scripted(write_file, reason="there are no such kernels.")
    message = "net.py:build cannot become scripted int8-static: there are no such kernels."
    with pytest.raises(ConversionError, match=exactly(message)):
        converter.run(request_for(tmp_path, recipe=STATIC), tmp_path / "net.scripted", silent)
    assert (converter.calls, left_in(tmp_path)) == ([], [])


def test_missing_packages_are_all_named_with_the_command_that_installs_them(tmp_path, monkeypatch):
    needs = {"no_such_module_1": "no-such-1", "json": "json", "no_such_module_2": "no-such-2"}
    monkeypatch.setattr(Scripted, "needs", needs)
    converter = Scripted(write_file)
    assert converter.missing() == ("no-such-1", "no-such-2")
    message = (
        "scripted needs no-such-1, no-such-2, which is not installed. "
        "Install it from the checkout: pip install -e '.[scripted]'"
    )
    with pytest.raises(MissingDependencyError, match=exactly(message)):
        converter.run(request_for(tmp_path, recipe=STATIC), tmp_path / "net.scripted", silent)
    assert (converter.calls, left_in(tmp_path)) == ([], [])


@pytest.mark.parametrize("method", ["why_not", "convert"])
def test_a_converter_without_one_of_the_two_methods_cannot_be_made(method):
    other = {"why_not": "convert", "convert": "why_not"}[method]
    half = type("Half", (Converter,), {other: lambda self: None})
    with pytest.raises(TypeError, match=method):
        half()


def test_a_conversion_survives_json():
    spec = TensorSpec(name="x", shape=(1, 8), dtype="int8", layout="NC", scale=0.5, zero_point=-3)
    made = Conversion(
        inputs=(spec,), outputs=(spec, spec), notes=("a",), operators={"conv": 2}, float_fallbacks=("head", "norm")
    )
    assert Conversion.from_json(json.loads(json.dumps(made.to_json()))) == made


# The table


def test_built_in_converters_come_first_and_cannot_be_replaced(monkeypatch):
    points = [
        SimpleNamespace(name="mine", value=f"{__name__}:Scripted"),
        SimpleNamespace(name="onnx", value="somebody.elses:Converter"),
    ]
    monkeypatch.setattr(
        "importlib.metadata.entry_points", lambda group: points if group == "edgekit.converters" else []
    )
    assert registry.converter_names() == (*RUNTIMES, "mine")
    assert type(registry.converter("onnx")).__module__ == "edgekit.converters.to_onnx"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_converter_says_what_it_makes_and_which_extra_installs_it(runtime):
    converter = registry.converter(runtime)
    assert converter.runtime == runtime
    assert RUNTIME_BY_SUFFIX[converter.suffix] == runtime
    assert converter.extra == runtime
    assert converter.missing() == ()
    project = Path(__file__).parents[2].joinpath("pyproject.toml").read_text()
    (extra,) = re.findall(rf"^{converter.extra} = \[(.*)\]$", project, re.MULTILINE)
    for distribution in converter.needs.values():
        assert re.search(rf'"{re.escape(distribution)}[=>]', extra), distribution


@pytest.fixture(scope="module")
def answers():
    """What each converter answers to each kind and recipe, in a fresh process; and the frameworks imported there."""
    code = f"""
import json, sys
from edgekit import registry
from edgekit.plan import PRECISIONS, Recipe
found = [
    [runtime, kind, precision, registry.converter(runtime).why_not(kind, Recipe(default=precision))]
    for runtime in registry.CONVERTERS for kind in {KINDS!r} for precision in PRECISIONS
]
print(json.dumps([found, [name for name in {FRAMEWORKS!r} if name in sys.modules]]))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found, imported = json.loads(ended.stdout)
    return {(runtime, kind, precision): reason for runtime, kind, precision, reason in found}, imported


def test_asking_all_converters_imports_no_framework(answers):
    assert answers[1] == []


@pytest.mark.parametrize(("runtime", "kind"), list(product(RUNTIMES, KINDS)))
def test_every_refusal_is_a_sentence(answers, runtime, kind):
    for precision in PRECISIONS:
        reason = answers[0][runtime, kind, precision]
        assert reason is None or re.search(r"\w+ \w+ \w+", reason)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_every_runtime_takes_torch_programs_in_float_and_in_static_int8(answers, runtime):
    for precision in ("fp32", "fp16", "int8_static", "int8_dynamic", "int4_weights"):
        assert answers[0][runtime, "pt2", precision] is None


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_no_runtime_takes_a_finished_artifact_or_16_bit_activations(answers, runtime):
    assert all(answers[0][runtime, "tflite", precision] for precision in PRECISIONS)
    assert answers[0][runtime, "pt2", "w8a16"]


REFUSED = [
    pytest.param(runtime, kind, Recipe(default=precision), id=f"{runtime}-{kind}-{precision}")
    for runtime, kind, precision in product(RUNTIMES, KINDS, PRECISIONS)
    if registry.converter(runtime).why_not(kind, Recipe(default=precision)) is not None
]


@pytest.mark.parametrize(("runtime", "kind", "recipe"), REFUSED)
def test_what_is_refused_is_refused_with_the_same_reason_when_it_is_run(tmp_path, runtime, kind, recipe):
    converter = registry.converter(runtime)
    reason = converter.why_not(kind, recipe)
    request = request_for(tmp_path, replace(MODEL, kind=kind), recipe)
    message = f"net.py:build cannot become {runtime} {recipe.name}: {reason}"
    with pytest.raises(ConversionError, match=exactly(message)):
        converter.run(request, tmp_path / f"net{converter.suffix}", silent)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("recipe", "name"),
    [
        pytest.param(STATIC, "int8-static", id="static"),
        pytest.param(
            Recipe(default="int8_static", overrides=(("head", "fp32"),)), "int8-static+mixed", id="static but one"
        ),
        pytest.param(Recipe(overrides=(("stem", "int8_static"),)), "fp32+mixed", id="one static"),
    ],
)
def test_static_int8_without_calibration_data_is_refused(tmp_path, runtime, recipe, name):
    converter = registry.converter(runtime)
    message = (
        f"{runtime} {name} needs calibration data and the task has none. "
        "Give [data] calibration in edgekit.toml, or use --precision int8-dynamic or fp16."
    )
    with pytest.raises(ConversionError, match=exactly(message)):
        converter.run(request_for(tmp_path, recipe=recipe), tmp_path / f"net{converter.suffix}", silent)
    assert left_in(tmp_path) == []


# Real conversions: for each runtime one process that converts these, and one with another hash seed for the first.

CASES = {
    "two inputs": ("two_inputs", STATIC, "float"),
    "integer io": ("two_inputs", STATIC, "int8"),
    "token ids": ("token_ids", Recipe(default="int8_dynamic"), "float"),
    "two outputs": ("two_outputs", Recipe(default="fp32"), "float"),
    "unknown": ("unknown_operator", Recipe(default="fp32"), "float"),
}


@pytest.fixture(scope="module")
def converted(tiny, tmp_path_factory):
    """Returns a function from a runtime to (results by case, artifacts by case, whether the inputs were left alone)."""
    made = {}

    def run(runtime):
        if runtime not in made:
            names = {name for name, _, _ in CASES.values()}
            before = {name: measure_inputs(tiny(name)) for name in names}
            first = convert_all(runtime, CASES, "0")
            again = convert_all(runtime, {"two inputs": CASES["two inputs"]}, "1")
            made[runtime] = (first, again, before == {name: measure_inputs(tiny(name)) for name in names})
        return made[runtime]

    def convert_all(runtime, cases, seed):
        folder = tmp_path_factory.mktemp(runtime)
        suffix = registry.converter(runtime).suffix
        items = {
            case: {
                "model": tiny(name).captured.to_json(),
                "model_folder": str(tiny(name).captured.path.parent),
                "calibration": str(tiny(name).calibration),
                "recipe": recipe.to_json(),
                "io": io,
                "output": str(folder / case.replace(" ", "_") / f"net{suffix}"),
            }
            for case, (name, recipe, io) in cases.items()
        }
        for item in items.values():
            Path(item["output"]).parent.mkdir()
        payload = {"runtime": runtime, "items": list(items.values()), "results": str(folder / "results.json")}
        subprocess.run(
            [sys.executable, str(Path(__file__).with_name("convert_tiny.py"))],
            input=json.dumps(payload),
            text=True,
            check=True,
            capture_output=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        results = json.loads((folder / "results.json").read_text())
        return {case: (Path(items[case]["output"]), found) for case, found in zip(items, results, strict=True)}

    return run


def measure_inputs(model):
    return measure_files(model.captured.path), measure_files(model.calibration)


runtime_test = pytest.mark.runtime


@runtime_test
@pytest.mark.parametrize("case", [case for case in CASES if case != "unknown"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_inputs_and_outputs_are_described_in_the_order_of_the_captured_model(converted, tiny, runtime, case):
    path, found = converted(runtime)[0][case]
    assert path.exists(), found
    captured = tiny(CASES[case][0]).captured
    for specs, expected in ((found["inputs"], captured.inputs), (found["outputs"], captured.outputs)):
        assert [spec["name"] for spec in specs] == [spec.name for spec in expected]
        assert [tuple(spec["shape"]) for spec in specs] == [spec.shape for spec in expected]
        for spec, item in zip(specs, expected, strict=True):
            # Runtimes for devices index with 32 bits; some say so at their boundary too.
            assert (
                spec["dtype"]
                in {
                    "float32": {"int8"} if CASES[case][2] == "int8" else {"float32"},
                    "int64": {"int64", "int32"},
                }[item.dtype]
            )


@runtime_test
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_integer_inputs_and_outputs_have_a_grid_and_float_ones_have_none(converted, runtime):
    for case in ("two inputs", "integer io"):
        _, found = converted(runtime)[0][case]
        for spec in (*found["inputs"], *found["outputs"]):
            if case == "integer io":
                assert spec["scale"] > 0
                assert -128 <= spec["zero_point"] <= 127
            else:
                assert (spec["scale"], spec["zero_point"]) == (None, None)


@runtime_test
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_operators_of_the_file_are_counted(converted, runtime):
    _, found = converted(runtime)[0]["two outputs"]
    assert sum(found["operators"].values()) >= 4
    assert found["float_fallbacks"] == []


@runtime_test
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_captured_model_and_its_samples_are_left_alone(converted, runtime):
    assert converted(runtime)[2]


@runtime_test
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_another_process_makes_the_same_bytes(converted, runtime):
    first, again, _ = converted(runtime)
    assert measure_files(first["two inputs"][0]) == measure_files(again["two inputs"][0])


@runtime_test
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_an_operator_that_the_format_lacks_is_refused_and_leaves_no_file(converted, runtime):
    path, found = converted(runtime)[0]["unknown"]
    assert found.get("error") == "ConversionError", found
    assert "unknown_operator.py:build" in found["message"]
    assert list(path.parent.glob("*net*")) == [path.with_suffix(".scratch")]
