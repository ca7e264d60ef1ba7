"""A gate's files are written whatever ends it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.cli.app import main


def test_a_fault_of_edgekits_own_is_in_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("edgekit.cli.gate.run_gate", crash)
    files = {"--sarif": "s.sarif", "--junit": "j.xml", "--markdown": "m.md"}
    arguments = [word for pair in files.items() for word in pair]
    assert main(["gate", ".", "-d", "pi4", "-q", *arguments]) == 4
    for name in files.values():
        assert "a fault of edgekit's own, RuntimeError: a bug" in (tmp_path / name).read_text().replace("&#x27;", "'")
