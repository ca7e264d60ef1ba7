from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgekit.errors import ConfigError
from edgekit.registry import METRICS
from edgekit.task.task import ImagePreprocessing, default_task, find_config, load_task, model_task

FULL = """
schema = 1
[model]
source = "model.py:build"
example_inputs = "model.py:example_inputs"
name = "net"
labels = "labels.txt"
[data]
calibration = "data.py:calibration"
evaluation = "data.py:evaluation"
metric = "top1"
[data.preprocessing]
resize = 256
mean = [123.7, 116.3, 103.5]
std = 58.4
[training]
batches = "train.py:batches"
loss = "train.py:loss"
epochs = 3
[budget]
size = "6 MB"
latency = {limit = "30 ms", level = "warn"}
[devices.pi4]
format = "tflite"
budget.latency = "40 ms"
"""

UNKNOWN_KEY = (
    'data.metrc: unknown key (did you mean "metric"?); accepted are calibration, evaluation, task, metric, images, '
    "preprocessing"
)
UNKNOWN_METRIC = f'data.metric: "f1" was given; accepted are {", ".join(METRICS)}, or a function as "metrics.py:name"'
ADVICE = "The keys of a task file: edgekit init writes one with all of them, explained."


def write(folder: Path, text: str, name: str = "edgekit.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_full_task_file_is_read(tmp_path: Path) -> None:
    write(tmp_path, "cat\ndog\n", "labels.txt")
    task = load_task(write(tmp_path, FULL))
    assert task.model == "model.py:build"
    assert task.base == tmp_path
    assert task.metric == "top1"
    assert task.preprocessing.mean == (123.7, 116.3, 103.5)
    assert task.preprocessing.std == (58.4,)
    assert task.training is not None
    assert task.training.epochs == 3
    assert [(limit.name, limit.value, limit.level, limit.source) for limit in task.limits] == [
        ("size", 6_000_000, "error", "edgekit.toml [budget]"),
        ("latency", 30.0, "warn", "edgekit.toml [budget]"),
    ]
    assert task.devices["pi4"].formats == ("tflite",)
    assert task.devices["pi4"].limits[0].source == "edgekit.toml [devices.pi4]"
    assert task.metadata == {"name": "net", "labels": "cat\ndog"}
    assert not task.embedded_default


def test_a_pyproject_table_is_a_task_file_too(tmp_path: Path) -> None:
    path = write(tmp_path, '[tool.edgekit.model]\nsource = "net.onnx"\n', "pyproject.toml")
    assert find_config(tmp_path) == path
    assert load_task(path).model == "net.onnx"


def test_edgekit_toml_wins_over_pyproject(tmp_path: Path) -> None:
    write(tmp_path, '[tool.edgekit.model]\nsource = "net.onnx"\n', "pyproject.toml")
    path = write(tmp_path, '[model]\nsource = "other.onnx"\n')
    assert find_config(tmp_path) == path


def test_a_pyproject_without_the_table_is_no_task_file(tmp_path: Path) -> None:
    write(tmp_path, '[project]\nname = "x"\n', "pyproject.toml")
    assert find_config(tmp_path) is None


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        pytest.param(
            "[data]\n",
            ['model: missing; expected a table with at least source = "model.py:build"'],
            id="no model",
        ),
        pytest.param(
            '[model]\nsource = "m.py:f"\n[data]\nmetrc = "top1"\n',
            [UNKNOWN_KEY],
            id="unknown key",
        ),
        pytest.param(
            'schema = 2\n[model]\nsource = 3\n[data]\nmetric = "f1"\n[budget]\nsize = "6"\n',
            [
                "schema: 2 was given; this edgekit reads schema 1",
                'model.source: 3 was given; expected a model as text, such as "model.py:build" or "net.onnx"',
                UNKNOWN_METRIC,
                'budget: size "6" has no unit: write it as "800 kB", "6 MB" or "64 MiB".',
            ],
            id="several at once",
        ),
    ],
)
def test_all_faults_are_reported_at_once(tmp_path: Path, text: str, faults: list[str]) -> None:
    path = write(tmp_path, text)
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    expected = "\n".join([f"{path} has {count}:", *(f"  {fault}" for fault in faults), ADVICE])
    with pytest.raises(ConfigError, match=f"^{re.escape(expected)}$"):
        load_task(path)


def test_references_are_checked_for_their_form_before_any_user_code_runs(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        '[model]\nsource = "m.py:b"\nexample_inputs = "../../etc/passwd"\n[data]\nmetric = "metrics.py:"\n'
        '[training]\nbatches = "m.py"\nloss = 3\nheld_out = "m.py:f(x)"\n[search]\nfactory = "m.py"\nwidth = [1]\n',
    )
    form = "names no Python object. Write file.py:name or module:name"
    expected = "\n".join(
        [
            f"{path} has 6 faults:",
            f'  model.example_inputs: "../../etc/passwd" {form}',
            f'  data.metric: "metrics.py:" {form}',
            f'  training.batches: "m.py" {form} (for example "m.py:build")',
            '  training.loss: 3 was given; expected a function as "file.py:name" or "module:name"',
            '  training.held_out: "m.py:f(x)": an argument has no name. Write them as in build(width=8, depth=1)',
            f'  search: factory: "m.py" {form} (for example "m.py:build")',
            ADVICE,
        ]
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(expected)}$"):
        load_task(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "no.toml"
    expected = f"{path}: no such file. Give a task file with --config, or make one with: edgekit init"
    with pytest.raises(ConfigError, match=f"^{re.escape(expected)}$"):
        load_task(path)


def test_what_is_not_toml_is_reported_with_its_place(tmp_path: Path) -> None:
    path = write(tmp_path, "[model\n")
    expected = (
        f"{path} is not valid TOML: Expected ']' at the end of a table declaration (at line 1, column 7). "
        "Mend that place."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(expected)}$"):
        load_task(path)


def test_what_is_not_utf8_is_reported_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "edgekit.toml"
    path.write_bytes(b'name = "\xff"')
    expected = f"{path} is not text: the byte at position 8 is not UTF-8. Save it as UTF-8."
    with pytest.raises(ConfigError, match=f"^{re.escape(expected)}$"):
        load_task(path)


def test_a_pyproject_without_the_table_says_so_when_it_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, '[project]\nname = "x"\n', "pyproject.toml")
    expected = f"{path}: it has no [tool.edgekit] table. Add one, or make a task file: edgekit init"
    with pytest.raises(ConfigError, match=f"^{re.escape(expected)}$"):
        load_task(path)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"cat\n\ndog\n", "line 2 of {path} is empty"),
        (b"\n", "{path} is empty"),
        (b"caf\xe9\n", "{path} is not text: the byte at position 3 is not UTF-8. Save it as UTF-8"),
    ],
    ids=["gap", "empty", "not text"],
)
def test_labels_that_would_be_off_by_one_are_refused(tmp_path: Path, content: bytes, fault: str) -> None:
    path = write(tmp_path, '[model]\nsource = "net.onnx"\nlabels = "labels.txt"\n')
    (tmp_path / "labels.txt").write_bytes(content)
    expected = (
        f"{path}: model.labels: {fault.format(path=tmp_path / 'labels.txt')}. Give a text file with one label a line."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(expected)}$"):
        load_task(path)


def test_wrong_preprocessing_is_reported_key_by_key(tmp_path: Path) -> None:
    path = write(
        tmp_path, '[model]\nsource = "net.onnx"\n[data.preprocessing]\nmean = "127"\nstd = [1, 0]\ncolor = "hsv"\n'
    )
    expected = "\n".join(
        [
            f"{path} has 3 faults:",
            (
                '  data.preprocessing.mean: "127" was given; expected a number, or a list with one a channel, '
                "in pixel units"
            ),
            "  data.preprocessing.std: a list was given; expected numbers above 0: pixels are divided by them",
            '  data.preprocessing.color: "hsv" was given; accepted are "rgb" and "bgr", the order of the channels',
            ADVICE,
        ]
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(expected)}$"):
        load_task(path)


def test_preprocessing_counts_as_stated_only_where_the_file_has_the_table(tmp_path: Path) -> None:
    assert not load_task(write(tmp_path, '[model]\nsource = "net.onnx"\n')).preprocessing_stated
    stated = load_task(write(tmp_path, '[model]\nsource = "net.onnx"\n[data.preprocessing]\nmean = 127\n'))
    assert stated.preprocessing_stated
    assert ImagePreprocessing.from_json(stated.preprocessing.to_json()) == stated.preprocessing


def test_missing_labels_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, '[model]\nsource = "net.onnx"\nlabels = "no.txt"\n')
    expected = f"{path}: model.labels: {tmp_path / 'no.txt'} does not exist. Give a text file with one label a line."
    with pytest.raises(ConfigError, match=f"^{re.escape(expected)}$"):
        load_task(path)


def test_the_default_task_says_that_it_is_the_default(tmp_path: Path) -> None:
    task = default_task(tmp_path)
    assert task.embedded_default
    assert task.calibration == "edgekit.task.default_model:calibration"
    assert [(limit.name, limit.source) for limit in task.limits] == [("accuracy_drop", "demo task")]


def test_a_named_model_without_a_task_file_has_no_data(tmp_path: Path) -> None:
    task = model_task("net.onnx", tmp_path)
    assert (task.calibration, task.evaluation, task.embedded_default) == (None, None, False)


def test_limits_on_regression_are_read_for_all_devices_and_for_one(tmp_path: Path) -> None:
    task = load_task(
        write(tmp_path, '[model]\nsource = "a"\n[regression]\nsize = "+5 %"\n[devices.pi4]\nregression.size = "+2 %"\n')
    )
    (everywhere,), (there,) = task.regression, task.devices["pi4"].regression
    assert (everywhere.name, everywhere.value, everywhere.source) == ("size_change", 5.0, "edgekit.toml [regression]")
    assert (there.value, there.source) == (2.0, "edgekit.toml [devices.pi4]")


def test_every_fault_of_a_regression_table_is_reported(tmp_path: Path) -> None:
    path = write(tmp_path, '[model]\nsource = "a"\n[regression]\nsize = "5 %"\ncolour = "+1 %"\n')
    with pytest.raises(ConfigError) as caught:
        load_task(path)
    assert caught.value.message == (
        f"{path} has 1 fault:\n"
        '  regression: size "5 %" must begin with "+": it says by how much size may grow from the baseline, such as '
        '"+1 %".; "colour" has no limit on regression: accepted are size, download, memory, latency, latency_p95, '
        'accuracy, slice_drop, parity, such as "size +5 %" or "accuracy -0.5 pp".\n'
        f"{ADVICE}"
    )


def test_states_and_the_length_of_sequences_are_read(tmp_path: Path) -> None:
    text = '[model]\nsource = "net.onnx"\nsignature = "step"\n[state]\n"h_out" = "h_in"\nreset_every = 16\n'
    task = load_task(write(tmp_path, text))
    assert task.state_pairs == (("h_out", "h_in"),)
    assert task.reset_every == 16
    assert task.signature == "step"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            'state = "h"\n',
            (
                'state: "h" was given; expected a table of outputs with their inputs, such as "h_out" = "h_in", and '
                "reset_every = 16"
            ),
        ),
        (
            "[state]\nreset_every = 0\n",
            "state: reset_every: 0 was given; expected the calls of a sequence, at least 1",
        ),
        (
            "[state]\nh_out = 3\n",
            (
                'state: "h_out": 3 was given; expected the name of an input, such as "h_out" = "h_in", and '
                "reset_every = 16"
            ),
        ),
        ('[state]\na = "h"\nb = "h"\n', 'state: the input "h" is named twice'),
    ],
    ids=["no table", "no calls", "no name", "twice"],
)
def test_wrong_states_are_reported(tmp_path: Path, text: str, fault: str) -> None:
    path = write(tmp_path, text + '[model]\nsource = "net.onnx"\n')
    with pytest.raises(ConfigError) as caught:
        load_task(path)
    assert caught.value.message == f"{path} has 1 fault:\n  {fault}\n{ADVICE}"


def test_sizes_of_inputs_are_read_from_the_task_file(tmp_path):
    (tmp_path / "edgekit.toml").write_text(
        '[model]\nsource = "net.onnx"\n[inputs]\nimage = "1x3x224x224"\nids = "1x16:int32"\nrate = "scalar:int64"\n'
        '"past.0" = { shape = [2, 1, 8], dtype = "float16" }\n'
    )
    assert [item.text for item in load_task(tmp_path / "edgekit.toml").input_sizes] == [
        "image=1x3x224x224", "ids=1x16:int32", "rate=scalar:int64", "past.0=2x1x8:float16",
    ]  # fmt: skip


FORM = (
    'expected sizes such as "1x3x224x224", "1x128:int64" or "scalar:int64", or a table such as '
    '{ shape = [1, 128], dtype = "int64" }'
)


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ('"1 x 3"', f'x: "1 x 3" was given; {FORM}'),
        ("3", f"x: 3 was given; {FORM}"),
        ('"1x3:float"', 'x: "1x3:float" was given; "float" is no dtype: accepted are float32, '),
        ("{ shape = [1, 0] }", "; a size is 0; every size must be at least 1"),
    ],
    ids=["form", "number", "dtype", "zero"],
)
def test_other_sizes_in_the_task_file_are_refused(tmp_path, value, fault):
    (tmp_path / "edgekit.toml").write_text(f'[model]\nsource = "net.onnx"\n[inputs]\nx = {value}\n')
    with pytest.raises(ConfigError) as caught:
        load_task(tmp_path / "edgekit.toml")
    assert fault in caught.value.message
