from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgekit.errors import EdgekitError, InputError, ProfileError, UsageError
from edgekit.exporting.validation import budget_of_artifact
from edgekit.task.request import Request, make_request, parse_formats

TASK = """
[model]
source = "net.onnx"
[budget]
size = "7 MB"
memory = "70 MB"
[devices."raspberry pi 4"]
format = "onnx"
budget.memory = "60 MB"
"""


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DEVICE", "CONFIG", "FORMAT", "PRECISION", "PREFER", "MAX_SIZE", "MAX_MEMORY", "MAX_REGRESSION"):
        monkeypatch.delenv(f"EDGEKIT_{name}", raising=False)


def ask(cwd: Path, *, without: tuple[str, ...] = (), **given: str | None) -> Request:
    limits = {"size": given.pop("max_size", None)}
    return make_request(
        model=given.pop("model", None),
        device=given.pop("device", "pi4"),
        config=None,
        formats=given.pop("formats", None),
        precision=given.pop("precision", None),
        prefer=given.pop("prefer", None),
        limits=limits,
        overrides=given,
        without=without,
        cwd=cwd,
    )


def sources(request: Request) -> dict[str, str]:
    return {limit.name: limit.source for limit in request.budget.limits}


def test_without_anything_the_embedded_default_meets_the_profile(tmp_path: Path) -> None:
    request = ask(tmp_path)
    assert request.task.embedded_default
    found = sources(request)
    assert found.pop("accuracy_drop") == "demo task"
    assert set(found.values()) == {"profile"}


def test_the_demos_limits_are_not_about_an_artifact_that_nobody_named_a_model_for(tmp_path: Path) -> None:
    request = make_request(model=None, device="pi4", config=None, limits={}, demo_limits=False, cwd=tmp_path)
    limit = request.budget.get("accuracy_drop")
    assert limit is not None
    assert (limit.value, limit.source) == (1.0, "profile")


@pytest.mark.parametrize(
    ("metadata", "flag", "expected"),
    [
        pytest.param({}, None, (1.0, "profile"), id="made elsewhere"),
        pytest.param({"edgekit.embedded_default": "true"}, None, (10.0, "demo task"), id="the demo's"),
        pytest.param({"edgekit.embedded_default": "true"}, "2 pp", (2.0, "--max-drop"), id="the demo's with a flag"),
    ],
)
def test_an_artifact_of_the_demo_has_the_demos_limits(
    tmp_path: Path, metadata: dict[str, str], flag: str | None, expected: tuple[float, str]
) -> None:
    limits = {"accuracy_drop": flag}
    request = make_request(model=None, device="pi4", config=None, limits=limits, demo_limits=False, cwd=tmp_path)
    limit = budget_of_artifact(request.budget, metadata, tmp_path).get("accuracy_drop")
    assert limit is not None
    assert (limit.value, limit.source) == expected


def test_each_limit_remembers_who_set_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "edgekit.toml").write_text(TASK)
    assert sources(ask(tmp_path))["size"] == "edgekit.toml [budget]"
    assert sources(ask(tmp_path))["memory"] == "edgekit.toml [devices.raspberry pi 4]"
    assert sources(ask(tmp_path))["accuracy_drop"] == "profile"
    monkeypatch.setenv("EDGEKIT_MAX_SIZE", "5 MB")
    assert sources(ask(tmp_path))["size"] == "EDGEKIT_MAX_SIZE"
    request = ask(tmp_path, max_size="4 MB")
    assert sources(request)["size"] == "--max-size"
    size = request.budget.get("size")
    assert size is not None
    assert size.value == 4_000_000


def test_a_device_table_names_the_format_by_any_alias(tmp_path: Path) -> None:
    (tmp_path / "edgekit.toml").write_text(TASK)
    assert ask(tmp_path).formats == ("onnx",)
    assert ask(tmp_path, device="pi5").formats == ()
    assert ask(tmp_path, formats="tflite,coreml").formats == ("tflite", "coreml")


def test_a_model_argument_takes_the_place_of_the_task_files(tmp_path: Path) -> None:
    (tmp_path / "edgekit.toml").write_text(TASK)
    assert ask(tmp_path, model="other.onnx").task.model == "other.onnx"


def test_data_flags_take_the_place_of_the_task_files(tmp_path: Path) -> None:
    (tmp_path / "edgekit.toml").write_text(TASK)
    task = ask(tmp_path, calibration="cal.npz", metric="top1").task
    assert (task.calibration, task.metric, task.evaluation) == ("cal.npz", "top1", None)


def test_all_formats_means_those_that_the_device_runs(tmp_path: Path) -> None:
    pi, phone = ask(tmp_path, formats="all"), ask(tmp_path, formats="all", device="iphone15")
    assert (pi.formats, pi.omitted) == (("tflite", "onnx", "executorch"), ("coreml",))
    assert (phone.formats, phone.omitted) == (("tflite", "onnx", "executorch", "coreml"), ())


def test_the_profiles_limits_on_costs_only_warn_for_a_format_that_the_device_does_not_run(tmp_path: Path) -> None:
    budget = ask(tmp_path, max_size="1 MB").budget
    levels = {limit.name: limit.level for limit in budget.for_format("coreml").limits}
    assert (levels["memory"], levels["latency"]) == ("warn", "warn")
    assert (levels["size"], levels["accuracy_drop"]) == ("error", "error")
    assert budget.for_format("tflite") == budget


def test_checks_are_waived_by_flag_and_by_the_task_file(tmp_path: Path) -> None:
    (tmp_path / "edgekit.toml").write_text(TASK + '[checks]\nwithout = ["evidence"]\n')
    budget = ask(tmp_path, without=("accuracy",)).budget
    assert budget.get("accuracy_drop") is None
    assert budget.waiver("accuracy_drop") == "--without accuracy"
    assert budget.waiver("evidence") == "edgekit.toml [checks] without evidence"
    both = ask(tmp_path, without=("accuracy, parity_floor", "evidence")).budget
    assert both.waiver("parity_floor") == "--without parity_floor"
    assert both.waiver("evidence") == "--without evidence"


def test_a_check_that_cannot_be_waived_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        ask(tmp_path, without=("size",))
    assert raised.value.message == (
        '--without "size" cannot be waived: accepted are accuracy, parity_floor, integer_outputs, outputs_alive, '
        "evidence, model_digest."
    )


WRONG = [
    pytest.param(
        {"device": None},
        "No device is named. Give one with --device NAME or EDGEKIT_DEVICE; the names: edgekit devices",
        UsageError,
        id="no device",
    ),
    pytest.param(
        {"formats": "tflit"},
        '--format: "tflit" is not a format: accepted are tflite, onnx, executorch, coreml and all.',
        UsageError,
        id="format",
    ),
    pytest.param(
        {"precision": "int7"},
        '--precision "int7" is not known: accepted are fp32, fp16, int8, int8-static, int8-dynamic, '
        "int8-hybrid, int8-weights, int4.",
        UsageError,
        id="precision",
    ),
    pytest.param(
        {"prefer": "fun"},
        '--prefer "fun" is not known: accepted are balanced, accuracy, size, speed.',
        UsageError,
        id="preference",
    ),
]


@pytest.mark.parametrize(("given", "message", "kind"), WRONG)
def test_wrong_flags_get_one_message(
    tmp_path: Path, given: dict[str, str | None], message: str, kind: type[EdgekitError]
) -> None:
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        ask(tmp_path, **given)


def test_a_device_table_for_an_unknown_device_is_named(tmp_path: Path) -> None:
    (tmp_path / "edgekit.toml").write_text('[model]\nsource = "n.onnx"\n[devices.pi44]\nformat = "onnx"\n')
    with pytest.raises(
        ProfileError, match=rf"^{re.escape(str(tmp_path))}/edgekit\.toml: \[devices\.pi44\]: No device is "
    ):
        ask(tmp_path)


def test_no_format_at_all_is_refused() -> None:
    with pytest.raises(
        UsageError,
        match=r"^--format: no format is named: accepted are tflite, onnx, executorch, coreml and all\.$",
    ):
        parse_formats(" , ", "--format", ())


def test_a_limit_on_regression_comes_from_flag_environment_device_or_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def source(*flags: str) -> list[tuple[str, float, str]]:
        request = make_request(model=None, device="pi4", config=None, limits={}, regression=flags, cwd=tmp_path)
        return [(limit.name, limit.value, limit.source) for limit in request.regression]

    (tmp_path / "edgekit.toml").write_text('[model]\nsource = "net.onnx"\n[regression]\nsize = "+5 %"\n')
    assert source() == [("size_change", 5.0, "edgekit.toml [regression]")]
    with (tmp_path / "edgekit.toml").open("a") as file:
        file.write('[devices.pi4]\nregression.size = "+4 %"\n')
    assert source() == [("size_change", 4.0, "edgekit.toml [devices.pi4]")]
    monkeypatch.setenv("EDGEKIT_MAX_REGRESSION", "size +3 %")
    assert source() == [("size_change", 3.0, "EDGEKIT_MAX_REGRESSION")]
    assert source("size +2 %", "memory +1 %") == [
        ("size_change", 2.0, "--max-regression"),
        ("memory_change", 1.0, "--max-regression"),
    ]


def test_the_device_comes_from_the_flag_then_the_environment_then_the_task_file(tmp_path, monkeypatch):
    (tmp_path / "edgekit.toml").write_text('device = "pi4"\n[model]\nsource = "net.onnx"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EDGEKIT_DEVICE", raising=False)

    def device(flag=None):
        return make_request(model=None, device=flag, config=None, limits={}).profile.name

    assert device() == "pi4"
    monkeypatch.setenv("EDGEKIT_DEVICE", "pi5")
    assert device() == "pi5"
    assert device("pixel8") == "pixel8"


def test_a_wrong_device_in_the_task_file_names_the_file(tmp_path, monkeypatch):
    (tmp_path / "edgekit.toml").write_text('device = "pi44"\n[model]\nsource = "net.onnx"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EDGEKIT_DEVICE", raising=False)
    with pytest.raises(ProfileError) as caught:
        make_request(model=None, device=None, config=None, limits={})
    assert caught.value.message.splitlines()[0] == (
        f'{tmp_path / "edgekit.toml"}: device: No device is called "pi44". Did you mean pi4? See them all with: '
        "edgekit devices"
    )


def test_the_preference_comes_from_the_flag_then_the_environment_then_the_task_file(tmp_path, monkeypatch):
    assert ask(tmp_path).prefer == "balanced"
    (tmp_path / "edgekit.toml").write_text('prefer = "size"\n[model]\nsource = "net.onnx"\n')
    assert ask(tmp_path).prefer == "size"
    monkeypatch.setenv("EDGEKIT_PREFER", "speed")
    assert ask(tmp_path).prefer == "speed"
    assert ask(tmp_path, prefer="accuracy").prefer == "accuracy"


@pytest.mark.parametrize(
    ("device", "table", "flag", "expected"),
    [
        ("pixel8", "mean = 127.0", None, True),
        ("iphone15", "mean = 127.0", None, True),
        ("pi4", "mean = 127.0", None, False),
        ("pixel8", None, None, False),
        ("pixel8", "image_input = false", None, False),
        ("pi4", "image_input = true", None, True),
        ("pixel8", "image_input = true", False, False),
        ("pi4", "image_input = false", True, True),
    ],
    ids=["phone", "iPhone", "board", "no table", "file: no", "file: yes", "flag: no", "flag: yes"],
)
def test_artifacts_take_pixels_by_the_flag_then_the_task_file_then_on_phones_with_preprocessing(
    tmp_path: Path, device: str, table: str | None, flag: bool | None, expected: bool
) -> None:
    text = "" if table is None else f"[data.preprocessing]\n{table}\n"
    (tmp_path / "edgekit.toml").write_text(f'[model]\nsource = "net.onnx"\n{text}')
    request = make_request(model=None, device=device, config=None, limits={}, image_input=flag, cwd=tmp_path)
    assert request.task.image_input is expected


def test_the_embedded_default_takes_floats_on_phones_too(tmp_path: Path) -> None:
    request = make_request(model=None, device="pixel8", config=None, limits={}, cwd=tmp_path)
    assert request.task.preprocessing_stated
    assert not request.task.image_input
