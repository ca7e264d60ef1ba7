from __future__ import annotations

import pytest

from edgekit.errors import ConfigError, DataError
from edgekit.task.request import make_task
from edgekit.task.task import load_task
from edgekit.task.task_kinds import TASKS
from edgekit.task.task_metric import fitting_metric

HEAD = (("decoder", "yolov8"), ("classes", 3))


@pytest.mark.parametrize(
    ("metric", "kind", "head", "text"),
    [
        (None, None, (), "agreement"),
        ("top1", None, (), "top1"),
        ("metrics.py:f1", "detection", HEAD, "metrics.py:f1"),
        (None, "detection", HEAD, "map(decoder='yolov8', classes=3)"),
        ("map50", None, HEAD, "map50(decoder='yolov8', classes=3)"),
        ("map50(classes=2)", "detection", HEAD, "map50(classes=2, decoder='yolov8')"),
        ("agreement", "detection", HEAD, "agreement_of(metric='map', decoder='yolov8', classes=3)"),
        ("agreement", "segmentation", (), "agreement_of(metric='miou')"),
        ("agreement", "classification", (), "agreement"),
        ("agreement", "retrieval", (), "cosine"),
        ("recall_at_k(k=5)", "retrieval", (), "recall_at_k(k=5)"),
    ],
)
def test_task_metric_and_head_make_one_text(metric, kind, head, text):
    assert fitting_metric(metric, kind, head) == text


@pytest.mark.parametrize("kind", TASKS)
def test_every_task_has_a_default_and_an_agreement(kind):
    assert fitting_metric(None, kind, ()).startswith(TASKS[kind].metrics[0]) or kind == "text"
    assert fitting_metric("agreement", kind, ())


def test_a_metric_of_another_task_is_refused():
    with pytest.raises(DataError) as caught:
        fitting_metric("miou", "detection", ())
    assert caught.value.message == (
        '[data] metric is "miou", which is no metric of the task detection: its metrics are map, map50, agreement, and '
        "functions of your own."
    )


TASK = """\
[model]
source = "net.onnx"
[data]
task = "{kind}"
{data}
[head]
{head}
"""


@pytest.fixture
def write(tmp_path):
    def save(kind="detection", head='decoder = "yolov8"', data=""):
        path = tmp_path / "edgekit.toml"
        path.write_text(TASK.format(kind=kind, head=head, data=data))
        return path

    return save


def test_a_task_file_says_task_and_head(write):
    task = load_task(write(head='decoder = "yolov5"\nstrides = [8, 16]\nanchors = [[1, 2], [3, 4]]'))
    assert task.metric == "map(decoder='yolov5', strides='8,16', anchors='1,2;3,4')"


def test_a_flag_takes_the_place_of_the_metric_and_keeps_the_head(write, tmp_path):
    write()
    assert make_task(None, None, {"metric": "map50"}, tmp_path).metric == "map50(decoder='yolov8')"


def test_an_alphabet_may_be_a_file(write, tmp_path):
    (tmp_path / "letters.txt").write_text("a\nb\n \n")
    assert load_task(write("text", 'alphabet = "letters.txt"')).metric == "cer(alphabet='ab ')"


def test_a_line_of_more_characters_is_reported(write, tmp_path):
    (tmp_path / "letters.txt").write_text("a\nbc\n")
    path = write("text", 'alphabet = "letters.txt"')
    with pytest.raises(ConfigError) as caught:
        load_task(path)
    assert caught.value.message == (
        f"{path}: head.alphabet: line 2 of {tmp_path / 'letters.txt'} has 2 characters; expected one a line."
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "boxes"}, f'data.task: "boxes" was given; accepted are {", ".join(TASKS)}'),
        (
            {"head": "classes = {}"},
            "head: classes: a table was given; expected text, a number, true, false, or a list of numbers",
        ),
        (
            {"head": 'decoder = "yolov8"\nanchor = 1'},
            'The decoder yolov8 has no setting "anchor": accepted are score, ',
        ),
        ({"kind": "segmentation"}, 'The metric miou has no setting "decoder": accepted are ignore, threshold.'),
    ],
)
def test_what_is_wrong_in_the_file_is_reported(write, arguments, message):
    with pytest.raises(ConfigError) as caught:
        load_task(write(**arguments))
    assert message in caught.value.message
    assert caught.value.message.startswith(str(write(**arguments)))
