"""A sweep from a matrix to its folder, with an engine that makes up its results."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgekit.engines.engine import find_engine
from edgekit.engines.local_engine import LocalEngine
from edgekit.errors import ArtifactError, InputError, UsageError
from edgekit.pipeline.settings import Settings
from edgekit.profiles.profile import shipped_folder
from edgekit.sweeping.matrix_file import SweepFlags
from edgekit.sweeping.request import SweepRequest, dry_run, read_sweep, run_sweep

Maker = Callable[..., SweepRequest]


@pytest.fixture
def request_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., SweepRequest]:
    monkeypatch.chdir(tmp_path)

    def make(limits: dict[str, str | None] | None = None, **flags: Any) -> SweepRequest:
        given = {"models": ("a.onnx",), "devices": ("pi4", "pixel8"), "formats": ("tflite", "coreml")} | flags
        return SweepRequest.read(None, SweepFlags(**given), tmp_path / "out", limits or {})

    return make


def test_a_sweep_leaves_a_row_for_each_combination(request_of: Maker, engine: Any) -> None:
    made = engine()
    result = run_sweep(request_of(), Settings(), made)
    assert result.passed()
    assert [(row.model, row.device, row.format) for row in result.rows] == [
        ("a.onnx", "pi4", "tflite"),
        ("a.onnx", "pixel8", "tflite"),
    ]
    assert {item.reason for item in result.omitted} == {"pi4 does not run it", "pixel8 does not run it"}
    assert made.cancelled == 1
    assert result.to_json()["jobs"] == {
        "started": 3, "left": 0, "captured": 1, "converted": 1, "judged": 2, "failed": 0, "cached": 0,
    }  # fmt: skip


def test_what_a_folder_holds_is_read_again(request_of: Maker, engine: Any, tmp_path: Path) -> None:
    result = run_sweep(request_of(), Settings(), engine())
    found = read_sweep(tmp_path / "out")
    assert (found.rows, found.keys, found.omitted) == (result.rows, result.keys, result.omitted)


def test_rows_of_an_earlier_matrix_do_not_count(request_of: Maker, engine: Any, tmp_path: Path) -> None:
    run_sweep(request_of(), Settings(), engine())
    run_sweep(request_of(devices=("pi4",)), Settings(), engine())
    assert [row.device for row in read_sweep(tmp_path / "out").rows] == ["pi4"]


def test_another_limit_is_another_row(request_of: Maker, engine: Any) -> None:
    run_sweep(request_of(), Settings(), engine())
    again = run_sweep(request_of({"size": "3 MB"}), Settings(), engine())
    assert sum(tally.done for tally in again.tallies.values()) == 2


def test_a_row_has_the_same_name_in_another_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Any
) -> None:
    seen: list[set[str]] = []
    for name in ("one", "two"):
        place = tmp_path / name
        place.mkdir()
        (place / "board.toml").write_text((shipped_folder() / "pi4.toml").read_text())
        (place / "edgekit.toml").write_text('[model]\nsource = "a.onnx"\n[budget]\nsize = "3 MB"\n')
        monkeypatch.chdir(place)
        flags = SweepFlags(models=("a.onnx",), devices=("board.toml",), formats=("tflite",))
        run_sweep(SweepRequest.read(None, flags, place / "out", {}), Settings(), engine())
        seen.append({row.name for row in (place / "out" / "rows").iterdir()})
    assert seen[0] == seen[1]
    assert len(seen[0]) == 1


def test_a_dry_run_runs_nothing_and_says_what_is_there(request_of: Maker, engine: Any, tmp_path: Path) -> None:
    found = dry_run(request_of())
    assert (len(found.points), found.rows) == (2, ())
    assert not (tmp_path / "out").exists()
    run_sweep(request_of(devices=("pi4",)), Settings(), engine())
    assert [row.device for row in dry_run(request_of()).rows] == ["pi4"]


def test_mistakes_show_before_any_work(request_of: Maker, engine: Any, tmp_path: Path) -> None:
    made = engine()
    with pytest.raises(UsageError, match=r'^--technique "equalise" is not known: .* Did you mean "equalize"\?$'):
        run_sweep(request_of(techniques=("equalise",)), Settings(), made)
    with pytest.raises(InputError, match=r'^--max-size: size "3" has no unit: .* "64 MiB"\.$'):
        run_sweep(request_of({"size": "3"}), Settings(), made)
    assert made.done == []
    assert not (tmp_path / "out").exists()


def test_ctrl_c_ends_what_runs(request_of: Maker, engine: Any) -> None:
    made = engine()
    made.interrupt_after = 1
    with pytest.raises(KeyboardInterrupt):
        run_sweep(request_of(), Settings(), made)
    assert made.cancelled == 1


def test_a_folder_without_a_sweep_is_refused(tmp_path: Path) -> None:
    message = f"{tmp_path} holds no sweep: sweep.json is not there. Run edgekit sweep first."
    with pytest.raises(ArtifactError, match=f"^{re.escape(message)}$"):
        read_sweep(tmp_path)


def test_a_sweep_of_another_edgekit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sweep.json"
    path.write_text('{"schema_version": 2, "points": {}, "omitted": []}')
    message = f"{path}: not a sweep that this edgekit reads (schema_version 2, expected 1). Run edgekit sweep again."
    with pytest.raises(ArtifactError, match=f"^{re.escape(message)}$"):
        read_sweep(tmp_path)


def test_all_faults_of_a_sweep_s_file_are_named(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text('{"schema_version": 1, "points": {"p": {"model": 3}}, "omitted": {}}')
    with pytest.raises(ArtifactError) as caught:
        read_sweep(tmp_path)
    lines = caught.value.message.splitlines()
    assert "points.p.model: 3 was given; expected the name of a model" in lines[1]
    assert len(lines) == 9
    assert lines[-1] == "Run edgekit sweep again."


def test_the_best_choice_is_the_fastest_that_passes(request_of: Maker, engine: Any) -> None:
    result = run_sweep(request_of(devices=("pi4",), precisions=("int8", "fp16")), Settings(), engine())
    one, other = result.rows
    failed = replace(other, status="failed", checks=())
    assert replace(result, rows=(one, failed)).best("a.onnx", "pi4") == one
    assert replace(result, rows=(failed,)).best("a.onnx", "pi4") is None
    assert not replace(result, rows=(failed,), keys=(failed.point,)).passed()
    assert not replace(result, rows=(one,)).passed()


def test_engines_are_found_by_name() -> None:
    made = find_engine("local", 3)
    assert isinstance(made, LocalEngine)
    assert made.slots == 3
    made.cancel()


def test_an_engine_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match=r'^--engine "slurm" is not known: accepted are local, ray\.$'):
        find_engine("slurm", 1)
