"""`edgekit cache`: what it shows, removes and checks."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from edgekit.cli.app import main
from edgekit.workers.cache import Cache


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("EDGEKIT_CACHE_SIZE", "1 MB")
    for key in ("one", "two"):
        Cache(root=tmp_path / "cache").make("artifacts", key, lambda place: (place / "x").write_bytes(bytes(500)))
    return tmp_path / "cache"


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("form", [["cache"], ["cache", "show"]])
def test_it_shows_kinds_and_the_limit(root: Path, form: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(form) == 0
    head, kind = lines(capsys)
    assert head.startswith(f"{root}: ")
    assert head.endswith(" of 1 MB")
    assert kind.split()[:3] == ["artifacts", "2", "entries"]


def test_json_has_bytes(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "show", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["command"], shown["folder"], shown["limit_bytes"]) == ("cache show", str(root), 1_000_000)
    assert shown["kinds"] == [{"kind": "artifacts", "entries": 2, "size_bytes": shown["size_bytes"], "unused_days": 0}]


def test_check_removes_and_names_what_is_damaged(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "artifacts" / "two" / "x").write_bytes(bytes(499))
    assert main(["cache", "check"]) == 0
    assert lines(capsys) == ["removed artifacts two: x has changed", f"{root}: 2 entries checked, 1 damaged"]
    assert main(["cache", "check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "schema_version": 1, "command": "cache check", "folder": str(root), "checked": 1, "damaged": []
    }  # fmt: skip


def test_clear_keeps_what_a_running_process_has_used(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert Cache(root=root).find("artifacts", "one")
    os.utime(root / "artifacts" / "two" / ".digests.json", (0, 0))
    assert main(["cache", "clear"]) == 0
    (line,) = lines(capsys)
    assert line.startswith(f"{root}: 1 entries removed, ")
    assert line.endswith("freed; 1 in use by a running process stay")
    assert [path.name for path in (root / "artifacts").iterdir()] == ["one"]


def test_a_cache_that_is_not_there_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                            capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "none"))
    assert [main(["cache", "clear"]), main(["cache", "check"]), main(["cache"])] == [0, 0, 0]
    assert not (tmp_path / "none").exists()
    assert lines(capsys) == [
        f"{tmp_path / 'none'}: 0 entries removed, 0 B freed",
        f"{tmp_path / 'none'}: 0 entries checked, 0 damaged",
        f"{tmp_path / 'none'}: 0 B of 20 GB",
    ]


def test_options_before_the_command_are_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "--json", "clear"]) == 2
    assert "edgekit: --json and --no-color go behind the command: edgekit cache clear --json\n" in (
        capsys.readouterr().err
    )
