from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import ResourceError
from edgekit.workers.cache import Cache, cache_folder, code_fingerprint, content_key, versions
from edgekit.workers.entry_digests import DIGESTS_NAME


def write_one(folder: Path) -> None:
    (folder / "value").write_text("1")


def test_an_entry_is_made_once_and_found_again(tmp_path: Path) -> None:
    cache = Cache(root=tmp_path)
    made = cache.make("kind", "key", write_one)
    again = cache.make("kind", "key", lambda folder: pytest.fail(f"built again in {folder}"))
    assert made == again == cache.find("kind", "key")
    assert (again / "value").read_text() == "1"


def test_a_failed_build_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        write_one(folder)
        raise ValueError("half done")

    with pytest.raises(ValueError, match=r"^half done$"):
        Cache(root=tmp_path).make("kind", "key", fail)
    assert list((tmp_path / "kind").iterdir()) == []


def test_without_reuse_an_entry_is_made_anew_in_place_of_the_old_one(tmp_path: Path) -> None:
    Cache(root=tmp_path).make("kind", "key", write_one)
    folder = Cache(root=tmp_path, reuse=False).make("kind", "key", lambda folder: (folder / "value").write_text("2"))
    assert (folder / "value").read_text() == "2"
    assert len(list((tmp_path / "kind").iterdir())) == 1


def test_a_cache_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    expected = (
        f"The cache folder {blocker / 'cache'} cannot be written: Not a directory. "
        "Free it, or name another one with EDGEKIT_CACHE_DIR."
    )
    with pytest.raises(ResourceError, match=f"^{re.escape(expected)}$"):
        Cache(root=blocker / "cache").make("kind", "key", write_one)


def test_size_is_the_sum_of_all_files(tmp_path: Path) -> None:
    cache = Cache(root=tmp_path)
    cache.make("a", "1", lambda folder: (folder / "x").write_bytes(b"12345"))
    cache.make("b", "2", lambda folder: (folder / "y").write_bytes(b"123"))
    assert cache.size_bytes() == 8 + sum(file.stat().st_size for file in tmp_path.glob(f"*/*/{DIGESTS_NAME}"))


def test_the_cache_folder_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    assert not (tmp_path / "here").exists()


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.none()))
def test_keys_depend_on_content_and_not_on_order(facts: dict[str, object]) -> None:
    backwards = dict(reversed(list(facts.items())))
    assert content_key(facts) == content_key(backwards)
    assert content_key(facts) != content_key({**facts, "one more": 1, "and": 2})


def test_versions_tells_missing_from_installed() -> None:
    assert versions(("pytest", "no-such-distribution")) == {"pytest": pytest.__version__, "no-such-distribution": ""}


def test_the_code_fingerprint_is_stable_within_a_process() -> None:
    assert code_fingerprint() == code_fingerprint()
    assert len(code_fingerprint()) == 16


def test_a_journal_outlives_what_writes_it(tmp_path: Path) -> None:
    cache = Cache(root=tmp_path)
    (cache.journal("parts", "k") / "a.json").write_text("1")
    assert (cache.journal("parts", "k") / "a.json").read_text() == "1"


def test_without_reuse_a_journal_starts_empty(tmp_path: Path) -> None:
    (Cache(root=tmp_path).journal("parts", "k") / "a.json").write_text("1")
    assert list(Cache(root=tmp_path, reuse=False).journal("parts", "k").iterdir()) == []


def test_a_journal_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "parts").write_text("in the way")
    with pytest.raises(ResourceError) as caught:
        Cache(root=tmp_path).journal("parts", "k")
    assert caught.value.message == (
        f"The cache folder {tmp_path} cannot be written: Not a directory. "
        "Free it, or name another one with EDGEKIT_CACHE_DIR."
    )
