from __future__ import annotations

import os
import re
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import ConfigError, ResourceError
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


def test_a_damaged_entry_is_made_anew_and_that_is_said_once(tmp_path: Path) -> None:
    Cache(root=tmp_path).make("kind", "key", write_one)
    (tmp_path / "kind" / "key" / "value").write_text("0")
    reported: list[tuple[str, str]] = []
    cache = Cache(root=tmp_path, notice=lambda stage, phrase, share: reported.append((stage, phrase)))
    assert cache.find("kind", "key") is None
    folder = cache.make("kind", "key", write_one)
    assert cache.find("kind", "key") == folder
    assert (folder / "value").read_text() == "1"
    assert reported == [("cache", "kind key is damaged (value has changed): it is made anew")]


def test_an_empty_folder_in_the_place_of_an_entry_is_no_entry(tmp_path: Path) -> None:
    (tmp_path / "kind" / "key").mkdir(parents=True)
    assert (Cache(root=tmp_path).make("kind", "key", write_one) / "value").read_text() == "1"


def test_a_link_in_the_place_of_an_entry_is_not_followed(tmp_path: Path) -> None:
    real = Cache(root=tmp_path / "other").make("kind", "key", write_one)
    (tmp_path / "cache" / "kind").mkdir(parents=True)
    (tmp_path / "cache" / "kind" / "key").symlink_to(real)
    assert Cache(root=tmp_path / "cache").find("kind", "key") is None


def test_a_link_in_the_place_of_a_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o700)
    (tmp_path / "cache" / "kind").symlink_to(tmp_path)
    with pytest.raises(
        ResourceError, match=r"cannot be written: Not a directory\. Free it, or name another one with E"
    ):
        Cache(root=tmp_path / "cache").make("kind", "key", write_one)


def test_who_waits_for_another_maker_says_so_and_finds_its_entry(tmp_path: Path) -> None:
    reported: list[str] = []
    heard, building = threading.Event(), threading.Event()

    def slow(folder: Path) -> None:
        building.set()
        assert heard.wait(20)
        write_one(folder)

    def hear(stage: str, phrase: str, share: float | None) -> None:
        reported.append(f"{stage}: {phrase}")
        heard.set()

    other = threading.Thread(target=lambda: Cache(root=tmp_path).make("kind", "key", slow))
    other.start()
    assert building.wait(20)
    cache = Cache(root=tmp_path, notice=hear)
    folder = cache.make("kind", "key", lambda folder: pytest.fail(f"built again in {folder}"))
    other.join()
    assert (folder / "value").read_text() == "1"
    assert set(reported) == {"waiting: another process is making the same; its result will be used"}


def test_waiting_ends_when_it_is_cancelled(tmp_path: Path) -> None:
    cancelled = threading.Event()
    cancelled.set()
    waiting = Cache(root=tmp_path, cancelled=cancelled)

    def build(folder: Path) -> None:
        with pytest.raises(KeyboardInterrupt):
            waiting.make("kind", "key", write_one)
        write_one(folder)

    Cache(root=tmp_path).make("kind", "key", build)


def test_in_a_shared_folder_an_entry_of_somebody_elses_is_not_found(tmp_path: Path) -> None:
    Cache(root=tmp_path).make("kind", "key", write_one)
    tmp_path.chmod(0o777)
    assert Cache(root=tmp_path).find("kind", "key") is None
    folder = Cache(root=tmp_path).make("kind", "key", write_one)
    assert folder == tmp_path / f"user-{os.geteuid()}" / "kind" / "key"


def test_scratch_lies_beside_the_entries_and_goes(tmp_path: Path) -> None:
    with Cache(root=tmp_path).scratch() as folder:
        assert folder.is_relative_to(tmp_path)
        assert list(folder.iterdir()) == []
    assert not folder.exists()


def test_without_a_home_folder_the_cache_lies_in_the_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("EDGEKIT_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert cache_folder() == Path(tempfile.gettempdir()) / f"edgekit-cache-{os.geteuid()}"


def test_the_home_of_a_user_who_has_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", "~nobodyhere/c")
    with pytest.raises(ConfigError) as caught:
        cache_folder()
    assert caught.value.message == (
        'EDGEKIT_CACHE_DIR="~nobodyhere/c": there is no such home folder or current folder. Give an absolute path.'
    )
