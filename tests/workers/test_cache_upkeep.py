"""The size limit takes what was not used for longest, and nothing that a running process needs."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from edgekit.errors import ConfigError
from edgekit.workers.cache import Cache
from edgekit.workers.cache_upkeep import (
    RUNNING_NAME,
    cache_limit_bytes,
    remove_beyond,
    remove_damaged,
    stored_entries,
    tidy,
)
from edgekit.workers.entry_digests import DIGESTS_NAME
from edgekit.workers.process_folder import PREFIX


@pytest.fixture
def root(tmp_path):
    """A cache of three entries of 1000 bytes, made by a process that is gone; `c` was used last."""
    cache = Cache(root=tmp_path / "cache")
    for number, key in enumerate("abc"):
        folder = cache.make("kind", key, lambda place: (place / "data").write_bytes(bytes(1000)))
        os.utime(folder / DIGESTS_NAME, (number, number))
    for folder in (cache.root / RUNNING_NAME).iterdir():
        folder.rename(tmp_path / folder.name)  # as if this process had ended
    return cache.root


def keys(root):
    return [entry.folder.name for entry in stored_entries(root)]


def test_entries_come_by_last_use(root):
    assert keys(root) == ["a", "b", "c"]
    assert all(entry.is_finished and entry.kind == "kind" and entry.size_bytes > 1000 for entry in stored_entries(root))


def test_what_is_found_counts_as_used(root):
    assert Cache(root=root).find("kind", "a")
    assert keys(root) == ["b", "c", "a"]


def test_the_longest_unused_go_until_the_limit_is_kept(root):
    assert [entry.folder.name for entry in remove_beyond(root, 2500)] == ["a"]
    assert keys(root) == ["b", "c"]


def test_what_a_running_process_has_used_stays(root):
    Cache(root=root).find("kind", "a")
    assert [entry.folder.name for entry in remove_beyond(root, 0)] == ["b", "c"]
    assert keys(root) == ["a"]


def test_the_limit_holds_where_something_is_made(root, monkeypatch):
    monkeypatch.setenv("EDGEKIT_CACHE_SIZE", "2500 B")
    (root / ".swept").unlink()
    Cache(root=root).make("kind", "d", lambda place: (place / "data").write_bytes(bytes(1000)))
    assert keys(root) == ["b", "c", "d"]


def test_a_second_look_within_a_minute_is_left_out(root, monkeypatch):
    monkeypatch.setenv("EDGEKIT_CACHE_SIZE", "1 B")
    (root / ".swept").touch()
    tidy(root)
    assert keys(root) == ["a", "b", "c"]
    tidy(root, now=True)
    assert keys(root) == []


def test_what_dead_processes_left_is_swept(root):
    left = root / RUNNING_NAME / f"{PREFIX}dead"
    left.mkdir()
    (left / ".lock").touch()
    (left / "new").mkdir()
    tidy(root, now=True)
    assert not left.exists()


def test_damaged_entries_are_removed_and_named(root):
    (root / "kind" / "b" / "data").write_bytes(bytes(999))
    assert [(entry.folder.name, why) for entry, why in remove_damaged(root)] == [("b", "data has changed")]
    assert keys(root) == ["a", "c"]


def test_journals_are_entries_that_are_not_finished(tmp_path):
    folder = Cache(root=tmp_path).journal("parts", "k")
    (folder / "a.json").write_text("1")
    (entry,) = stored_entries(tmp_path)
    assert (entry.is_finished, entry.size_bytes) == (False, 1)
    assert abs(entry.used - time.time()) < 10
    assert remove_damaged(tmp_path) == ()


def test_links_are_no_entries(tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "key").mkdir(parents=True)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "kind").symlink_to(tmp_path / "elsewhere")
    assert stored_entries(tmp_path / "cache") == ()


def test_the_limit_is_twenty_gigabytes_unless_it_is_set(monkeypatch):
    monkeypatch.delenv("EDGEKIT_CACHE_SIZE", raising=False)
    assert cache_limit_bytes() == 20_000_000_000


def test_a_limit_that_is_no_size_is_refused_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_CACHE_SIZE", "lots")
    message = (
        'EDGEKIT_CACHE_SIZE "lots" is not a quantity: write a number and a unit, such as "800 kB", "6 MB" or "64 MiB".'
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        Cache(root=tmp_path).make("kind", "key", lambda place: pytest.fail("built"))
