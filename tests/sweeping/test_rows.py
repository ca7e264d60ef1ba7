"""Rows: one file each, whole or not at all, the newest of a combination counts."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.budget import Limit
from edgekit.checks import judge
from edgekit.errors import ArtifactError, MissingDependencyError, UsageError
from edgekit.sweeping.query import ask, compare
from edgekit.sweeping.rows import COMPACTED, PARTS, Row, compact, read_rows, require_tables, write_row


def row(device: str = "pi4", digest: str = "a", size: float = 5.0, limit: float = 10.0, **rest: object) -> Row:
    check = judge("size", size, Limit(name="size", value=limit, source="test"), runtime="tflite")
    made = Row(
        point=f"p-{device}", digest=digest, model="net", device=device, format="tflite", precision="int8",
        pipeline="", effort="quick", status="judged", made="int8-static", checks=(check,), finished=1.0,
    )  # fmt: skip
    return replace(made, **rest)


def test_a_row_comes_back_as_it_was_written(tmp_path: Path) -> None:
    made = row()
    write_row(tmp_path, made)
    assert read_rows(tmp_path) == (made,)


def test_the_newest_row_of_a_combination_counts(tmp_path: Path) -> None:
    old, new = row(finished=1.0), row(digest="b", size=6.0, finished=2.0)
    write_row(tmp_path, new)
    write_row(tmp_path, old)
    assert read_rows(tmp_path) == (new,)


def test_what_is_being_written_is_not_seen(tmp_path: Path) -> None:
    write_row(tmp_path, row())
    (tmp_path / PARTS / ".partial-p-pixel8-a.parquet.1-1").write_bytes(b"half")
    assert len(read_rows(tmp_path)) == 1


def test_compacting_keeps_the_newest_rows_in_one_file(tmp_path: Path) -> None:
    rows = [row(), row(digest="b", finished=2.0), row(device="pixel8")]
    for item in rows:
        write_row(tmp_path, item)
    before = read_rows(tmp_path)
    assert compact(tmp_path) == 2
    assert list((tmp_path / PARTS).iterdir()) == []
    assert (tmp_path / COMPACTED).is_file()
    assert read_rows(tmp_path) == before == tuple(sorted(rows[1:], key=lambda item: item.device))


def test_a_row_after_compacting_comes_before_the_compacted_one(tmp_path: Path) -> None:
    write_row(tmp_path, row())
    compact(tmp_path)
    newer = row(digest="c", size=7.0, finished=3.0)
    write_row(tmp_path, newer)
    assert read_rows(tmp_path) == (newer,)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = write_row(tmp_path, row())
    path.write_bytes(path.read_bytes()[:40])
    message = r"p-pi4-a\.parquet is damaged and cannot be read: .*\. Remove it: the next sweep makes its rows anew\.$"
    with pytest.raises(ArtifactError, match=message):
        read_rows(tmp_path)


@pytest.mark.parametrize(("exit_code", "stands"), [(0, True), (2, True), (3, False), (4, False)])
def test_a_failure_of_the_machine_is_tried_again(exit_code: int, stands: bool) -> None:
    assert row(exit_code=exit_code).stands is stands


def test_rows_are_chosen_in_sql() -> None:
    rows = [row(), row(device="pixel8"), row(device="watch", size=50.0)]
    answer = ask(rows, "passed and size < 10", ("device", "size * 2 as double"))
    assert answer.columns == ("device", "double")
    assert answer.rows == (("pi4", 10.0), ("pixel8", 10.0))


def test_columns_that_are_empty_everywhere_are_left_out_unless_they_are_named() -> None:
    assert ask([row()]).columns == ("model", "device", "format", "precision", "passed", "size")


@pytest.mark.parametrize("where", ["nonsense = 1", "select", "passed; drop table rows"])
def test_a_condition_that_is_no_sql_is_refused(where: str) -> None:
    with pytest.raises(UsageError, match=rf'^--where "{where}" cannot be used: .*\. The columns are point, .*parity'):
        ask([row()], where)


def test_a_column_that_is_not_there_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r'^--columns "speed" cannot be used: .*\. The columns are point, .*coverage\.$'
    ):
        ask([row()], None, ("speed",))


def test_a_condition_reaches_no_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    with pytest.raises(UsageError, match=r"cannot be used: Permission Error: "):
        ask([row()], f"size in (select a from read_csv('{secret}'))")


def test_what_has_changed_since_another_sweep_is_shown() -> None:
    now = [row(size=12.0), row(device="pixel8"), row(device="new")]
    answer = compare(now, [row(), row(device="pixel8"), row(device="old")])
    found = {item["device"]: (item["passed_before"], item["passed"]) for item in answer.to_json()}
    assert found == {"pi4": (True, False), "new": (None, True), "old": (True, None)}


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    message = "A sweep needs pyarrow and duckdb, and one of them is not installed: pip install -e '.[sweep]'"
    with pytest.raises(MissingDependencyError, match=f"^{re.escape(message)}$"):
        require_tables()
