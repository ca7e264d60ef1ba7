"""A file appears whole or not at all, and nothing half-written stays behind."""

from __future__ import annotations

import pytest

from edgekit.workers import atomic_files as whole_files


def names(folder):
    return sorted(item.name for item in folder.iterdir())


def test_text_and_json_take_the_place_of_what_was_there(tmp_path):
    path = tmp_path / "a.json"
    whole_files.write_text(path, "ä\n")
    assert path.read_text(encoding="utf-8") == "ä\n"
    whole_files.write_json(path, {"b": [1.5]})
    assert path.read_text() == '{\n "b": [\n  1.5\n ]\n}\n'
    assert names(tmp_path) == ["a.json"]


def test_what_cannot_be_written_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        whole_files.write_json(path, {"b": float("nan")})
    with pytest.raises(FileNotFoundError):
        whole_files.copy_atomically(tmp_path / "missing", path)
    with pytest.raises(FileNotFoundError):
        whole_files.write_text(tmp_path / "no" / "a.txt", "x")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.json"]


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_copy_takes_the_place_of_a_file_or_a_folder(tmp_path, is_folder):
    source, target = tmp_path / "source", tmp_path / "target"
    for place, text in ((source, "new"), (target, "old")):
        if is_folder:
            place.mkdir()
            (place / text).write_text(text)
        else:
            place.write_text(text)
    (tmp_path / ".partial-target.99999999-1").write_text("a dead process began this")
    whole_files.copy_atomically(source, target)
    assert names(target) == ["new"] if is_folder else target.read_text() == "new"
    assert names(tmp_path) == ["source", "target"]
