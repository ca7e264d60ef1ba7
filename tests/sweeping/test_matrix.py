"""The matrix: every combination, what is left out, and the messages about a wrong file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgekit.errors import ConfigError, InputError, UsageError
from edgekit.profiles.profile import find_profile
from edgekit.sweeping import matrix as matrix_module
from edgekit.sweeping.matrix import Axes, ModelEntry, expand
from edgekit.sweeping.matrix_file import SweepFlags, read_matrix, split
from edgekit.sweeping.schedule import JobBudget


def axes(tmp_path: Path, text: str, **flags: object) -> tuple[Axes, JobBudget]:
    path = tmp_path / "matrix.toml"
    path.write_text(text)
    return read_matrix(path, SweepFlags(**flags), tmp_path)


def titles(found: Axes) -> list[str]:
    return [point.title for point in expand(found).points]


def test_every_combination_of_the_axes_is_a_point(tmp_path: Path) -> None:
    found, _ = axes(
        tmp_path,
        'models = ["a.onnx", "b.py:build(width=8)"]\ndevices = ["pi4"]\nformats = ["tflite"]\n'
        'precisions = ["auto", "int8"]\ntechniques = ["", ["equalize", "round_weights"]]\n',
    )
    assert titles(found) == [
        f"{model} on pi4: tflite {precision}{pipeline}"
        for model in ("a.onnx", "b.py:build(width=8)")
        for precision in ("auto", "int8")
        for pipeline in ("", " equalize round_weights")
    ]


def test_formats_that_a_device_does_not_run_are_left_out_with_the_reason(tmp_path: Path) -> None:
    found, _ = axes(tmp_path, 'models = "a.onnx"\ndevices = ["pi4"]\nformats = ["tflite", "coreml"]\n')
    made = expand(found)
    assert [point.format for point in made.points] == ["tflite"]
    assert [(item.title, item.reason) for item in made.omitted] == [("coreml on pi4", "pi4 does not run it")]


def test_all_is_what_each_device_runs(tmp_path: Path) -> None:
    found, _ = axes(tmp_path, 'models = "a.onnx"\ndevices = ["pi4"]\n')
    assert [point.format for point in expand(found).points] == list(find_profile("pi4", Path()).runtimes)


def test_rules_keep_and_exclude_combinations(tmp_path: Path) -> None:
    found, _ = axes(
        tmp_path,
        'models = "a.onnx"\ndevices = ["pi4", "pixel8"]\nformats = ["tflite", "onnx"]\nprecisions = ["int8", "fp16"]\n'
        'include = [{format = "tflite"}, {precision = "fp*"}]\nexclude = [{device = "pi4", precision = "fp16"}]\n',
    )
    assert titles(found) == [
        "a.onnx on pi4: tflite int8",
        "a.onnx on pixel8: tflite int8",
        "a.onnx on pixel8: tflite fp16",
        "a.onnx on pixel8: onnx fp16",
    ]
    reasons = {item.reason for item in expand(found).omitted}
    assert reasons == {"no rule of include names it", "excluded by device = pi4, precision = fp16"}


def test_the_key_of_a_point_is_the_same_in_every_run(tmp_path: Path) -> None:
    text = 'models = "a.onnx"\ndevices = ["pi4"]\nformats = ["tflite"]\n'
    assert expand(axes(tmp_path, text)[0]).points[0].key == expand(axes(tmp_path, text)[0]).points[0].key


def test_flags_come_before_the_file(tmp_path: Path) -> None:
    text = 'models = "a.onnx"\ndevices = ["pi4"]\nformats = ["onnx"]\n[budget]\ntime = "2 h"\njobs = 5\n'
    found, budget = axes(
        tmp_path, text, models=("b.onnx",), devices=("pixel8",), formats=("tflite",), precisions=("int8",),
        techniques=("equalize",), efforts=("default",), time="90 s", jobs=3,
    )  # fmt: skip
    assert titles(found) == ["b.onnx on pixel8: tflite int8 equalize (default)"]
    assert budget == JobBudget(time_s=90.0, jobs=3)
    assert axes(tmp_path, text)[1] == JobBudget(time_s=7200.0, jobs=5)


def test_a_table_of_the_task_file_is_a_matrix(tmp_path: Path) -> None:
    (tmp_path / "edgekit.toml").write_text(
        '[model]\nsource = "net.onnx"\n[sweep]\ndevices = ["pi4"]\nformats = ["onnx"]\n'
    )
    found, _ = read_matrix(None, SweepFlags(), tmp_path)
    assert titles(found) == ["net.onnx on pi4: onnx auto"]
    assert found.models[0].config == tmp_path / "edgekit.toml"


def test_a_model_may_have_a_task_of_its_own(tmp_path: Path) -> None:
    found, _ = axes(
        tmp_path,
        'devices = ["pi4"]\n[[models]]\nsource = "a.onnx"\nname = "small"\nconfig = "a.toml"\nevaluation = "a.npz"\n',
    )
    model = found.models[0]
    assert (model.name, model.source, model.config) == ("small", "a.onnx", tmp_path / "a.toml")
    assert model.overrides == {"evaluation": "a.npz"}


def test_values_with_commas_are_split() -> None:
    assert split(["pi4,pixel8", "pi4", " watch "]) == ("pi4", "pixel8", "watch")


def test_all_faults_of_a_matrix_are_listed_at_once(tmp_path: Path) -> None:
    text = (
        'models = []\ndevices = "pi4"\nformats = ["tflight"]\nprecisions = ["int7"]\nefforts = [1]\n'
        "size = 3\n"
        'include = [{colour = "red"}]\nexclude = [{device = 4}]\ntechniques = [[1]]\n[budget]\ntime = "soon"\n'
        "jobs = 0\n"
    )
    with pytest.raises(ConfigError) as caught:
        axes(tmp_path, text)
    lines = caught.value.message.splitlines()
    assert lines[0] == f"{tmp_path / 'matrix.toml'} has 10 faults:"
    assert lines[1:] == [
        '  models: a list of no model was given; expected at least one, such as ["net.onnx"]',
        '  formats: "tflight" was given; accepted are tflite, onnx, executorch, coreml, all',
        (
            '  precisions: "int7" was given; accepted are auto, fp32, fp16, int8, int8-static, int8-dynamic, '
            "int8-hybrid, int8-weights, int4"
        ),
        (
            "  techniques: a list was given; expected a list of pipelines, each a technique or a list of them, such as "
            '["", "equalize", ["equalize", "round_weights"]]'
        ),
        '  efforts: a list was given; expected a list of texts, such as ["quick"]',
        '  include: "colour" is no axis; accepted are model, device, format, precision, technique, effort',
        "  exclude: device: 4 was given; expected a text, in which * and ? stand for others",
        '  budget.time: "soon" is not a quantity: write a number and a unit, such as "90 s", "20 min" or "2 h"',
        "  budget.jobs: 0 was given; expected a whole number above 0",
        (
            "  size: unknown key; accepted are config, models, devices, formats, precisions, techniques, efforts, "
            "include, exclude, budget"
        ),
        "The keys of a matrix: docs/commands/sweep.md.",
    ]


def test_a_model_with_a_wrong_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"models: weights: unknown key; accepted are source, name, .*metric\n"):
        axes(tmp_path, 'models = [{source = "a.onnx", weights = "b"}]\ndevices = ["pi4"]\n')


def test_rules_that_are_no_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r'include: a list was given; expected a list of tables, such as \[\{device = "pi4"\}\]'
    ):
        axes(tmp_path, 'models = "a.onnx"\ndevices = ["pi4"]\ninclude = ["pi4"]\n')


def test_a_matrix_that_is_not_there_is_refused(tmp_path: Path) -> None:
    message = re.escape(f"{tmp_path / 'no.toml'}: no such file. Give a matrix file, or [sweep] in the task file.")
    with pytest.raises(ConfigError, match=f"^{message}$"):
        read_matrix(tmp_path / "no.toml", SweepFlags(), tmp_path)


def test_a_sweep_without_a_device_is_refused(tmp_path: Path) -> None:
    message = 'The sweep names no device. Give -d pi4,pixel8, or devices = ["pi4", "pixel8"] in the matrix.'
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        read_matrix(None, SweepFlags(models=("a.onnx",)), tmp_path)


def test_a_precision_that_is_not_known_is_refused(tmp_path: Path) -> None:
    message = '--precision "int7" is not known: accepted are auto, fp32, fp16, int8, int8-static, int8-dynamic, '
    with pytest.raises(UsageError, match=f"^{re.escape(message)}int8-hybrid, int8-weights, int4\\.$"):
        read_matrix(None, SweepFlags(devices=("pi4",), precisions=("int7",)), tmp_path)


def test_a_time_without_a_unit_is_refused(tmp_path: Path) -> None:
    message = '--budget-time "3" has no unit: write it as "90 s", "20 min" or "2 h".'
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        read_matrix(None, SweepFlags(devices=("pi4",), time="3"), tmp_path)


def entry(name: str) -> ModelEntry:
    return ModelEntry(name=name, source=name, config=None, folder=Path())


def test_two_models_of_one_name_are_refused() -> None:
    message = 'Two models of the sweep are called "a". Give each a name of its own: name = "..."'
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        expand(Axes(models=(entry("a"), entry("a")), devices=(find_profile("pi4", Path()),)))


def test_a_matrix_with_nothing_left_is_refused() -> None:
    found = Axes(models=(entry("a"),), devices=(find_profile("pi4", Path()),), formats=("coreml",))
    message = (
        "The sweep has no combination left to judge.\n  coreml on pi4: pi4 does not run it\n"
        "Name other formats, devices or rules."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        expand(found)


def test_a_matrix_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix_module, "MOST_POINTS", 1)
    found = Axes(models=(entry("a"), entry("b")), devices=(find_profile("pi4", Path()),), formats=("tflite",))
    with pytest.raises(ConfigError, match=r"^The sweep has more than 1 combinations\. Name fewer values on an axis\.$"):
        expand(found)
