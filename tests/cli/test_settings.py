"""What the flags of long commands set, and that nothing of it stays behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgekit.cli.options import Screen, Workers
from edgekit.cli.settings import pipeline_settings
from edgekit.errors import UsageError


def test_the_shared_cache_of_the_flags_is_used_and_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "local"))
    monkeypatch.delenv("EDGEKIT_SHARED_CACHE", raising=False)
    workers = Workers(shared_cache=str(tmp_path / "shared"), cache_write=True)
    with pipeline_settings(Screen(quiet=True), workers) as (settings, _):
        assert os.environ["EDGEKIT_SHARED_CACHE"] == str(tmp_path / "shared")
        settings.cache.make("captured", "key", lambda folder: (folder / "a").write_bytes(b"1") and None)
    assert len(list((tmp_path / "shared").glob("actions/**/key.json"))) == 1
    assert "EDGEKIT_SHARED_CACHE" not in os.environ


def test_leave_to_write_without_a_cache_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEKIT_SHARED_CACHE", raising=False)
    message = r"^--cache-write names no cache\. Give --cache URL, or set EDGEKIT_SHARED_CACHE\.$"
    with (
        pytest.raises(UsageError, match=message),
        pipeline_settings(Screen(quiet=True), Workers(cache_write=True)),
    ):
        pass
