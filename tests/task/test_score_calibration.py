from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgekit.errors import ConfigError
from edgekit.task.task import load_task

ADVICE = 'Give a text file with one line a label, "scale,slope,offset" or "scale,slope,offset,lowest score".'


def write(folder: Path, scores: bytes | None) -> Path:
    path = folder / "edgekit.toml"
    path.write_text('[model]\nsource = "net.onnx"\nlabels = "labels.txt"\nscore_calibration = "scores.csv"\n')
    (folder / "labels.txt").write_text("cat\ndog\n")
    if scores is not None:
        (folder / "scores.csv").write_bytes(scores)
    return path


def test_each_label_has_its_line_and_an_empty_one_says_nothing(tmp_path: Path) -> None:
    assert load_task(write(tmp_path, b"1, 2.5,-3\n\n")).score_calibration == "1,2.5,-3\n"
    assert load_task(write(tmp_path, b"1,2,3,0.25\n0,1,1")).score_calibration == "1,2,3,0.25\n0,1,1"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "{path} does not exist"),
        (b"1,2,3\n", "{path} has 1 lines, and model.labels names 2 labels"),
        (b"1,2,3\n1,2\n", 'line 2 of {path} is "1,2"'),
        (b"a,b,c\n1,2,3\n", 'line 1 of {path} is "a,b,c"'),
        (b"-1,2,3\n1,2,3\n", 'line 1 of {path} is "-1,2,3"'),
        (b"1,2,nan\n1,2,3\n", 'line 1 of {path} is "1,2,nan"'),
        (b"caf\xe9\n", "{path} is not text: the byte at position 3 is not UTF-8. Save it as UTF-8"),
    ],
    ids=["missing", "too few", "two numbers", "words", "a negative scale", "not a number", "not text"],
)
def test_a_wrong_calibration_is_refused(tmp_path: Path, content: bytes | None, fault: str) -> None:
    path = write(tmp_path, content)
    expected = f"{path}: model.score_calibration: {fault.format(path=tmp_path / 'scores.csv')}. {ADVICE}"
    with pytest.raises(ConfigError, match=f"^{re.escape(expected)}$"):
        load_task(path)
